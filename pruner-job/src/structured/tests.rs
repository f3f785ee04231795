//! Slicing is exact, repair brings answers back, and networks that cannot be pruned are refused by name.

use std::collections::BTreeMap;

use dnnshifter_network::{
    Cost, FloatTensor,
    channels::{ChannelAxis, LayerWork, Segment},
};
use dnnshifter_portfolio::{
    Fraction,
    plan::{ImportanceCriterion, Normalization},
};

use super::*;
use crate::{
    architecture::{
        Architecture,
        tests::{as_if_trained, random_inputs},
    },
    data::{LabelledImages, Pixels},
    engine::tests::ENGINE,
    interpreter::tests::{
        CLASSIFIERS,
        compaction::zoo::{Architecture as Zoo, sketch::Norms},
    },
};

/// Every third channel of each group.
fn doomed(channel: usize) -> bool {
    channel.is_multiple_of(3)
}

pub(super) fn channels(network: &Network) -> Channels {
    prunable_channels(network, ImportanceCriterion::Taylor).unwrap()
}

fn all_kept(channels: &Channels) -> Vec<Vec<usize>> {
    channels.groups.iter().map(|group| (0..group.channels).collect()).collect()
}

/// The network in which the doomed channels of groups are zero, and all that belongs to them.
pub(super) fn masked(network: &Network, channels: &Channels, doomed: impl Fn(usize) -> bool) -> Network {
    let mut tensors: BTreeMap<String, FloatTensor> = BTreeMap::new();
    for ChannelAxis { tensor, axis, segments } in &channels.axes {
        let old = match tensors.remove(tensor) {
            Some(changed) => changed,
            None => network.float(tensor).unwrap().unwrap(),
        };
        let entry_is_doomed: Vec<bool> = segments
            .iter()
            .flat_map(|&Segment { group, channels, entries }| {
                (0..channels * entries).map(move |entry| group.is_some().then_some(entry / entries))
            })
            .map(|channel| channel.is_some_and(&doomed))
            .collect();
        let inner: usize = old.shape()[axis + 1..].iter().product();
        let entry = |place: usize| place / inner % entry_is_doomed.len();
        let values = old.values().iter().enumerate();
        let values = values.map(|(place, &value)| if entry_is_doomed[entry(place)] { 0.0 } else { value });
        let masked = FloatTensor::new(old.shape().to_vec(), values.collect()).unwrap();
        tensors.insert(tensor.clone(), masked);
    }
    network.clone().with_floats(&tensors)
}

fn answers(network: &Network, inputs: &[f32]) -> Vec<f32> {
    ENGINE.open(&network.write(), network.input()).unwrap().run(inputs).unwrap()
}

fn check_slicing(network: &Network) {
    let channels = channels(network);
    let kept: Vec<Vec<usize>> = all_kept(&channels)
        .iter()
        .map(|group| group.iter().copied().filter(|&channel| !doomed(channel)).collect())
        .collect();
    let sliced = keep_channels(network, &channels, &kept).unwrap();
    let inputs = random_inputs(2 * network.input().shape.iter().product::<usize>());
    let wanted = answers(&masked(network, &channels, doomed), &inputs);
    let scale = wanted.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
    for (a, b) in answers(&sliced, &inputs).iter().zip(&wanted) {
        assert!((a - b).abs() <= 1e-5 * scale, "{a} {b}");
    }
    let cost = |network: &Network| {
        let graph = Graph::of(network).unwrap();
        Cost::of(network, &graph, &Shapes::infer(network, &graph).unwrap()).unwrap()
    };
    assert!(cost(&sliced).macs < cost(network).macs);
    let again = self::channels(&sliced);
    assert!(again.groups.iter().zip(&kept).all(|(group, kept)| group.channels == kept.len()));
}

#[test]
fn a_sliced_network_computes_what_the_masked_one_does() {
    check_slicing(&as_if_trained(Architecture::Vgg16, "1x28x28"));
}

#[test]
fn channels_that_are_added_leave_together() {
    let network = as_if_trained(Architecture::ResNet20, "1x28x28");
    let channels = channels(&network);
    // Three streams of sums, and one layer within each of nine blocks.
    assert_eq!(channels.groups.len(), 3 + 9);
    let writers: Vec<usize> = channels.groups.iter().map(|group| group.writers.len()).collect();
    assert_eq!(writers.iter().filter(|&&writers| writers == 4).count(), 3, "{writers:?}");
    check_slicing(&network);
}

#[test]
fn channels_leave_every_classifier_of_the_zoo() {
    for (architecture, norms) in prunable() {
        let network = Network::from_model(architecture.small(norms, 1)).unwrap();
        let share = macs_that_can_leave(&network);
        // Shuffles keep much of it.
        let least = if architecture == Zoo::ShuffleNetV2 { 0.4 } else { 0.9 };
        assert!(share >= least, "{architecture:?}: {share}");
        check_slicing(&network);
    }
}

/// The classifiers of the zoo of which channels can leave: of the other one all go through groups or shuffles.
pub(super) fn prunable() -> impl Iterator<Item = (Zoo, Norms)> {
    let architectures = CLASSIFIERS.into_iter().filter(|&architecture| architecture != Zoo::ShuffleNetV1);
    architectures.flat_map(|architecture| [(architecture, Norms::Kept), (architecture, Norms::Folded)])
}

/// The share of the multiply-accumulates that falls with channels that can leave.
fn macs_that_can_leave(network: &Network) -> f64 {
    let work = channels(network).work;
    let falls = |layer: &LayerWork| layer.factors.iter().flatten().any(|segment| segment.group.is_some());
    let all: u64 = work.iter().map(|layer| layer.macs).sum();
    work.iter().filter(|layer| falls(layer)).map(|layer| layer.macs).sum::<u64>() as f64 / all as f64
}

#[test]
fn no_ratio_makes_variants_that_are_as_fast_as_their_neighbours() {
    let least = |latency_ratio_hundredths| {
        let criterion = ImportanceCriterion::Taylor;
        least_ratio(&StructuredPruning {
            criterion,
            channel_multiple: 8,
            latency_ratio_hundredths,
            fine_tuning_epochs: 1,
        })
    };
    assert!((least(110) - 1.05).abs() < 1e-9 && (least(130) - 1.15).abs() < 1e-9);
    assert!((least(200) - 1.7).abs() < 1e-9);
}

#[test]
fn whole_vectors_are_kept_where_they_leave_a_choice_or_half_ones_hardly_gain_more() {
    let best = |grids: &[(usize, f64)]| best_grid(grids, 1.5, 1.275);
    assert_eq!(best(&[(16, 1.8), (8, 2.4)]), Some((16, 1.8)));
    assert_eq!(best(&[(16, 1.75), (8, 2.4)]), Some((16, 1.75)));
    assert_eq!(best(&[(16, 1.7), (8, 2.0)]), Some((8, 2.0)));
    assert_eq!(best(&[(16, 1.7), (8, 1.72)]), Some((16, 1.7)), "a gain that may be noise");
    assert_eq!(best(&[(16, 1.3), (8, 2.0)]), Some((8, 2.0)));
    assert_eq!(best(&[(16, 1.27), (8, 1.3)]), Some((8, 1.3)), "the other is worth no variant");
    assert_eq!(best(&[(16, 1.2), (8, 1.2)]), None);
}

#[test]
fn what_is_aimed_at_is_wanted_or_almost_all_that_is_possible() {
    let aimed = |most| aimed_ratio(most, 1.5, 1.275);
    assert_eq!(aimed(2.0), Some(1.5));
    assert_eq!(aimed(1.5), Some(1.5));
    assert!((aimed(1.4).unwrap() - 1.358).abs() < 1e-9);
    // With what is left for a later measurement to come out lower; and never more than is possible.
    assert!((aimed(1.33).unwrap() - 1.275 / 0.97).abs() < 1e-9);
    assert_eq!(aimed(1.28), Some(1.28));
    assert_eq!(aimed(1.27), None);
}

#[test]
fn the_fewest_that_are_enough_are_found_and_all_where_only_those_are() {
    for most in 0..9 {
        for wanted in 0..=most {
            let mut asked = 0;
            let found = fewest(most, |count| {
                asked += 1;
                Ok(count >= wanted)
            });
            assert_eq!(found.unwrap(), wanted);
            assert!(asked <= 4, "{asked}");
        }
        assert_eq!(fewest(most, |_| Ok(false)).unwrap(), most);
    }
}

#[test]
fn channels_that_were_flattened_leave_with_all_their_features() {
    check_slicing(&as_if_trained(Architecture::Vgg16, "1x64x64"));
}

pub(super) fn samples(network: &Network, count: usize) -> Samples {
    let [channels, height, width] = network.input().shape[..] else { panic!("images") };
    let pixels = random_inputs(count * channels * height * width);
    let pixels = pixels.iter().map(|value| (value * 127.0 + 128.0) as u8).collect();
    let labels = (0..count).map(|image| (image % 10) as u16).collect();
    let images = LabelledImages { shape: [channels, height, width], pixels: Pixels::Bytes(pixels), labels };
    let half = Fraction::parse("0.5").unwrap();
    Samples::new(&images, Normalization { mean: half, deviation: half }).unwrap()
}

/// How far answers are from those of `network` when the channels that are not in `kept` leave it, unrepaired and repaired.
fn error_before_and_after_repair(network: &Network, kept: &[Vec<usize>]) -> (f32, f32) {
    let (channels, samples) = (channels(network), samples(network, 64));
    let smaller = keep_channels(network, &channels, kept).unwrap();
    let larger = &TrainableNetwork::of(network).unwrap();
    let repair = Repair { larger, smaller: &smaller, channels: &channels, kept, samples: &samples };
    let repaired = repair.repaired().unwrap();
    let inputs = samples.inputs(64).unwrap();
    let wanted = answers(network, &inputs);
    let error = |network| -> f32 {
        let squares =
            answers(network, &inputs).iter().zip(&wanted).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        (squares / wanted.iter().map(|value| value.powi(2)).sum::<f32>()).sqrt()
    };
    (error(&smaller), error(&repaired))
}

#[test]
fn repair_brings_answers_back_towards_those_of_the_larger_network() {
    for architecture in
        [Zoo::Vgg, Zoo::ResNetBasic, Zoo::ResNetBottleneck, Zoo::MobileNetV2, Zoo::MobileNetV3]
    {
        let network = Network::from_model(architecture.small(Norms::Kept, 1)).unwrap();
        let channels = channels(&network);
        let kept: Vec<Vec<usize>> = all_kept(&channels)
            .iter()
            .map(|group| group.iter().copied().filter(|&channel| !doomed(channel)).collect())
            .collect();
        let (before, after) = error_before_and_after_repair(&network, &kept);
        assert!(after < 0.7 * before, "{architecture:?}: {before} {after}");
    }
}

#[test]
fn repair_changes_nothing_where_nothing_has_left() {
    let network = as_if_trained(Architecture::ResNet20, "1x28x28");
    let (_, after) = error_before_and_after_repair(&network, &all_kept(&channels(&network)));
    assert!(after < 1e-4, "{after}");
}

#[test]
fn a_network_that_nothing_can_leave_is_not_measured() {
    let network = as_if_trained(Architecture::Vgg16, "1x28x28");
    let widest = channels(&network).groups.iter().map(|group| group.channels).max().unwrap();
    let method = StructuredPruning {
        criterion: ImportanceCriterion::Taylor,
        channel_multiple: widest as u16,
        latency_ratio_hundredths: 150,
        fine_tuning_epochs: 1,
    };
    // Without images it could not even be judged.
    let samples = &samples(&network, 0);
    let pruner = Pruner { engine: &ENGINE, method: &method, samples };
    assert_eq!(pruner.shrink(&network).unwrap(), None);
}
