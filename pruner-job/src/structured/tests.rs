//! Slicing is exact, importance finds what matters, and networks that cannot be pruned are refused by name.

use std::collections::BTreeMap;

use dnnshifter_network::{Cost, FloatTensor};
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
};

/// Every third channel of each group.
fn doomed(channel: usize) -> bool {
    channel.is_multiple_of(3)
}

/// The network in which the doomed channels are zero: their scale and shift are.
fn masked(network: &Network, groups: &[ChannelGroup], doomed: impl Fn(usize) -> bool) -> Network {
    let mut tensors = BTreeMap::new();
    for norm in groups.iter().filter_map(|group| group.batch_norm.as_ref()) {
        for name in [&norm.scale, &norm.shift] {
            let old = network.float(name).unwrap().unwrap();
            let values = old.values().iter().enumerate();
            let values = values.map(|(channel, &value)| if doomed(channel) { 0.0 } else { value }).collect();
            tensors.insert(name.clone(), FloatTensor::new(old.shape().to_vec(), values).unwrap());
        }
    }
    network.clone().with_floats(&tensors)
}

fn answers(network: &Network, inputs: &[f32]) -> Vec<f32> {
    ENGINE.open(&network.write(), network.input()).unwrap().run(inputs).unwrap()
}

fn check_slicing(input: &str) {
    let network = as_if_trained(Architecture::Vgg16, input);
    let groups = prunable_groups(&network).unwrap();
    let kept: Vec<Vec<usize>> = groups
        .iter()
        .map(|group| (0..group.channels).filter(|&channel| !doomed(channel)).collect())
        .collect();
    let sliced = keep_channels(&network, &groups, &kept).unwrap();
    let inputs = random_inputs(2 * network.input().shape.iter().product::<usize>());
    let wanted = answers(&masked(&network, &groups, doomed), &inputs);
    let scale = wanted.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
    for (a, b) in answers(&sliced, &inputs).iter().zip(&wanted) {
        assert!((a - b).abs() <= 1e-5 * scale, "{a} {b}");
    }
    let cost = |network: &Network| {
        let graph = Graph::of(network).unwrap();
        Cost::of(network, &graph, &Shapes::infer(network, &graph).unwrap()).unwrap()
    };
    assert!(cost(&sliced).macs * 2 < cost(&network).macs);
    let again = prunable_groups(&sliced).unwrap();
    assert!(again.iter().zip(&kept).all(|(group, kept)| group.channels == kept.len()));
}

#[test]
fn a_sliced_network_computes_what_the_masked_one_does() {
    check_slicing("1x28x28");
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
fn channels_that_were_flattened_leave_with_all_their_features() {
    check_slicing("1x64x64");
}

#[test]
fn residual_networks_are_refused_by_node() {
    let refused = prunable_groups(&as_if_trained(Architecture::ResNet20, "1x28x28")).unwrap_err();
    assert!(matches!(refused, StructuredError::Entangled(_)));
    assert!(refused.to_string().contains("stem.relu") || refused.to_string().contains(".add"), "{refused}");
}

#[test]
fn both_criteria_find_channels_that_do_nothing() {
    let network = as_if_trained(Architecture::Vgg16, "1x28x28");
    let groups = prunable_groups(&network).unwrap();
    let trainable = TrainableNetwork::of(&masked(&network, &groups, |channel| channel == 1)).unwrap();
    let pixels = random_inputs(8 * 28 * 28).iter().map(|value| (value * 127.0 + 128.0) as u8).collect();
    let images =
        LabelledImages { shape: [1, 28, 28], pixels: Pixels::Bytes(pixels), labels: (0..8).collect() };
    let half = Fraction::parse("0.5").unwrap();
    let samples = Samples::new(&images, Normalization { mean: half, deviation: half }).unwrap();
    for criterion in [ImportanceCriterion::Taylor, ImportanceCriterion::BatchNormScale] {
        let judged = Judged { network: &trainable, groups: &groups, samples: &samples };
        let importance = judged.importance(criterion).unwrap();
        for (group, values) in groups.iter().zip(&importance) {
            assert_eq!(values.len(), group.channels);
            assert!(values[1].abs() < 1e-12, "{criterion:?} {}", group.name);
            assert!(values.iter().sum::<f64>() > 0.0, "{criterion:?} {}", group.name);
        }
    }
}
