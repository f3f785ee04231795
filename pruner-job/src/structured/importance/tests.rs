//! Both criteria find what does nothing, and `Taylor` is what its definition says.

use dnnshifter_network::{Graph, Network, Operator};
use tch::Kind;

use super::{
    super::tests::{channels, masked, prunable, samples},
    *,
};
use crate::architecture::{Architecture, tests::as_if_trained};

#[test]
fn both_criteria_find_channels_that_do_nothing() {
    let network = as_if_trained(Architecture::Vgg16, "1x28x28");
    let channels = channels(&network);
    let trainable = TrainableNetwork::of(&masked(&network, &channels, |channel| channel == 1)).unwrap();
    let samples = samples(&network, 8);
    for criterion in [ImportanceCriterion::Taylor, ImportanceCriterion::BatchNormScale] {
        let judged = Judged { network: &trainable, groups: &channels.groups, samples: &samples };
        let importance = judged.importance(criterion).unwrap();
        for (group, values) in channels.groups.iter().zip(&importance) {
            assert_eq!(values.len(), group.channels);
            assert!(values[1].abs() < 1e-12, "{criterion:?} {}", group.name);
            assert!(values.iter().sum::<f64>() > 0.0, "{criterion:?} {}", group.name);
        }
    }
}

/// The parameters that make a channel last, each with its axis of channels: scale and shift, or weight and bias.
fn parameters(graph: &Graph, writer: &Writer) -> Vec<(String, usize)> {
    let last = last_tensor(writer);
    let node = graph.nodes().iter().find(|node| node.input(1) == Some(last)).unwrap();
    let axis = usize::from(matches!(node.operator, Operator::MatMul | Operator::Gemm { transposed: false }));
    let second = node.input(2).map(|name| (name.to_owned(), 0));
    [(last.to_owned(), axis)].into_iter().chain(second).collect()
}

/// Importance as its definition has it: from the gradients of the parameters, over each four images.
fn importance_by_parameters(
    network: &TrainableNetwork,
    graph: &Graph,
    groups: &[ChannelGroup],
    samples: &Samples,
) -> Vec<Vec<f64>> {
    let mut sums: Vec<Vec<f64>> = groups.iter().map(|group| vec![0.0; group.channels]).collect();
    for indices in samples.in_order(4).unwrap() {
        let (images, labels) = samples.batch(&indices).unwrap();
        for (group, sums) in groups.iter().zip(&mut sums) {
            let parameters: Vec<(Tensor, usize)> = group
                .writers
                .iter()
                .flat_map(|writer| parameters(graph, writer))
                .map(|(name, axis)| (network.parameters()[&name].tensor.shallow_clone(), axis))
                .collect();
            let answers = network.logits(&images, Mode::Evaluation).unwrap();
            let loss = 4.0 * cross_entropy(&answers, &labels).unwrap();
            let tensors: Vec<&Tensor> = parameters.iter().map(|(tensor, _)| tensor).collect();
            let gradients = Tensor::run_backward(&[loss], &tensors, false, false);
            for (channel, sum) in sums.iter_mut().enumerate() {
                let entries =
                    |tensor: &Tensor, axis: usize| tensor.detach().select(axis as i64, channel as i64);
                let change = parameters.iter().zip(&gradients).map(|((tensor, axis), gradient)| {
                    (entries(tensor, *axis) * entries(gradient, *axis)).sum(Kind::Double).double_value(&[])
                });
                *sum += change.sum::<f64>().powi(2);
            }
        }
    }
    sums
}

#[test]
fn as_many_images_are_judged_however_many_are_computed_at_a_time() {
    assert_eq!([1, 1 << 17, 800_000, 1 << 30].map(images_at_a_time), [64, 64, 8, 4]);
    let network = as_if_trained(Architecture::Vgg16, "1x28x28");
    let (channels, samples) = (channels(&network), samples(&network, 67));
    let trainable = TrainableNetwork::of(&network).unwrap();
    let judged = Judged { network: &trainable, groups: &channels.groups, samples: &samples };
    let at_once = judged.taylor(64).unwrap();
    for at_a_time in [4, 8, 16] {
        let found = judged.taylor(at_a_time).unwrap();
        for (wanted, found) in at_once.iter().flatten().zip(found.iter().flatten()) {
            assert!((wanted - found).abs() <= 1e-3 * wanted, "{at_a_time}: {wanted} {found}");
        }
    }
}

#[test]
fn importance_is_what_its_definition_says() {
    for (architecture, norms) in prunable() {
        let network = Network::from_model(architecture.small(norms, 1)).unwrap();
        let channels = channels(&network);
        // The rest of three is left out.
        let (fours, rest) = (samples(&network, 8), samples(&network, 11));
        let trainable = TrainableNetwork::of(&network).unwrap();
        let wanted =
            importance_by_parameters(&trainable, &Graph::of(&network).unwrap(), &channels.groups, &fours);
        let judged = Judged { network: &trainable, groups: &channels.groups, samples: &rest };
        let found = judged.importance(ImportanceCriterion::Taylor).unwrap();
        for ((group, wanted), found) in channels.groups.iter().zip(&wanted).zip(&found) {
            let largest = wanted.iter().copied().fold(0.0, f64::max);
            let alike = |(wanted, found): (&f64, &f64)| (wanted - found).abs() <= 1e-3 * largest;
            assert!(
                largest > 0.0 && wanted.iter().zip(found).all(alike),
                "{architecture:?} {norms:?} {}: {wanted:?} {found:?}",
                group.name
            );
        }
    }
}
