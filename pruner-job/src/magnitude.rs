//! Iterative magnitude pruning: which weights are masked. The smallest of the whole network leave; what was masked before has no
//! magnitude left and leaves first, so each mask is within the one before it. Pure: training under a mask is for
//! [`crate::training`].

use std::collections::{BTreeMap, BTreeSet};

use dnnshifter_network::{
    FloatTensor, Graph, Network, Operator, Shapes, graph::UnsupportedNodes, shapes::InvalidShape,
    tensor::InvalidTensor,
};
use dnnshifter_portfolio::{Fraction, plan::IterativeMagnitude};

/// Weights that are zero, and stay so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mask {
    /// For each weight tensor, whether each of its values is masked.
    masked: BTreeMap<String, Vec<bool>>,
}

/// Why a network cannot be masked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MagnitudeError {
    #[error(transparent)]
    Unsupported(#[from] UnsupportedNodes),
    #[error(transparent)]
    Shape(#[from] InvalidShape),
    #[error(transparent)]
    Weight(#[from] InvalidTensor),
    #[error(
        "the network has no weights that could be masked{}", if *last_layer_kept { ": only its last layer has any, and keepLastLayer keeps it" } else { "" }
    )]
    Nothing { last_layer_kept: bool },
}

/// The names of the weights that the method may mask, in order of execution; what the network lacks for it is said before any
/// work starts.
pub(crate) fn maskable_weights(
    network: &Network,
    method: &IterativeMagnitude,
) -> Result<Vec<String>, MagnitudeError> {
    let graph = Graph::of(network)?;
    Shapes::infer(network, &graph)?;
    let has_weight = |operator: &Operator| {
        matches!(operator, Operator::Conv(_) | Operator::Gemm { .. } | Operator::MatMul)
    };
    let layers = graph.nodes().iter().filter(|node| has_weight(&node.operator));
    let mut names: Vec<String> = layers.filter_map(|node| node.input(1).map(str::to_owned)).collect();
    if method.keep_last_layer {
        names.pop();
    }
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    if names.is_empty() {
        return Err(MagnitudeError::Nothing { last_layer_kept: method.keep_last_layer });
    }
    Ok(names)
}

impl Mask {
    /// Masks all but the share `density` of the weights of `trained`: the largest stay, of equal ones the first.
    pub(crate) fn of(
        trained: &Network,
        method: &IterativeMagnitude,
        density: Fraction,
    ) -> Result<Self, MagnitudeError> {
        let mut tensors = Vec::new();
        for name in maskable_weights(trained, method)? {
            if let Some(tensor) = trained.float(&name)? {
                tensors.push((name, tensor));
            }
        }
        // The bits of floats without sign are in the order of the floats.
        let magnitudes =
            || tensors.iter().flat_map(|(_, tensor)| tensor.values()).map(|value| value.abs().to_bits());
        let mut largest: Vec<u32> = magnitudes().collect();
        let kept = (largest.len() as f64 * density.as_f64()).round() as usize;
        let threshold = match kept.checked_sub(1).filter(|&last| last < largest.len()) {
            Some(last) => *largest.select_nth_unstable_by(last, |a, b| b.cmp(a)).1,
            None => u32::MAX,
        };
        let mut ties = kept.saturating_sub(magnitudes().filter(|&magnitude| magnitude > threshold).count());
        let mut is_masked = |value: &f32| {
            let magnitude = value.abs().to_bits();
            let is_tie = magnitude == threshold && ties > 0;
            ties -= usize::from(is_tie);
            magnitude < threshold || (magnitude == threshold && !is_tie)
        };
        let masked = tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.values().iter().map(&mut is_masked).collect()))
            .collect();
        Ok(Self { masked })
    }

    /// `network` with the masked weights zero.
    pub(crate) fn applied(&self, network: &Network) -> Result<Network, MagnitudeError> {
        let mut tensors = BTreeMap::new();
        for (name, masked) in &self.masked {
            if let Some(tensor) = network.float(name)? {
                let values = tensor.values().iter().zip(masked);
                let values = values.map(|(&value, &masked)| if masked { 0.0 } else { value }).collect();
                tensors.insert(name.clone(), FloatTensor::new(tensor.shape().to_vec(), values)?);
            }
        }
        Ok(network.clone().with_floats(&tensors))
    }

    /// For each weight tensor, whether each of its values in row-major order is masked.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, &[bool])> {
        self.masked.iter().map(|(name, masked)| (name.as_str(), masked.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{Architecture, tests::as_if_trained};

    fn method(keep_last_layer: bool) -> IterativeMagnitude {
        IterativeMagnitude { densities: vec![], rewind_steps: 0, keep_last_layer }
    }

    fn mask(network: &Network, keep_last_layer: bool, density: &str) -> Mask {
        Mask::of(network, &method(keep_last_layer), Fraction::parse(density).unwrap()).unwrap()
    }

    fn kept(mask: &Mask) -> usize {
        mask.tensors().flat_map(|(_, masked)| masked).filter(|&&masked| !masked).count()
    }

    fn all(mask: &Mask) -> usize {
        mask.tensors().map(|(_, masked)| masked.len()).sum()
    }

    #[test]
    fn the_largest_weights_of_the_whole_network_stay() {
        let network = as_if_trained(Architecture::ResNet20, "1x28x28");
        let mask = mask(&network, true, "0.1");
        assert_eq!(kept(&mask), (all(&mask) as f64 * 0.1).round() as usize);
        let magnitudes = |wanted: bool| -> Vec<f32> {
            let of = |(name, masked): (&str, &[bool])| -> Vec<f32> {
                let tensor = network.float(name).unwrap().unwrap();
                let values = tensor.values().iter().zip(masked);
                values.filter(|&(_, &masked)| masked == wanted).map(|(value, _)| value.abs()).collect()
            };
            mask.tensors().flat_map(of).collect()
        };
        let smallest_kept = magnitudes(false).into_iter().fold(f32::MAX, f32::min);
        assert!(magnitudes(true).into_iter().fold(0.0, f32::max) <= smallest_kept);
    }

    #[test]
    fn each_mask_is_within_the_one_before_it() {
        let network = as_if_trained(Architecture::Vgg16, "1x28x28");
        let larger = mask(&network, true, "0.3");
        let smaller = mask(&larger.applied(&network).unwrap(), true, "0.01");
        assert!(kept(&smaller) > 0);
        for ((_, larger), (_, smaller)) in larger.tensors().zip(smaller.tensors()) {
            assert!(larger.iter().zip(smaller).all(|(larger, smaller)| !larger || *smaller));
        }
    }

    #[test]
    fn the_last_layer_is_kept_if_asked_for() {
        let network = as_if_trained(Architecture::Vgg16, "1x28x28");
        let has_last = |mask: &Mask| mask.tensors().any(|(name, _)| name == "classifier.weight");
        assert!(!has_last(&mask(&network, true, "0.5")) && has_last(&mask(&network, false, "0.5")));
        let masked = mask(&network, true, "0.5").applied(&network).unwrap();
        let zeros = |network: &Network, name| {
            let tensor = network.float(name).unwrap().unwrap();
            tensor.values().iter().filter(|value| value.to_bits() == 0).count()
        };
        assert_eq!(zeros(&masked, "classifier.weight"), 0);
        assert!(zeros(&masked, "stage5.1.conv.weight") > 0);
    }

    #[test]
    fn equal_weights_leave_to_the_wanted_number() {
        let network = as_if_trained(Architecture::ResNet20, "1x28x28");
        let nothing = mask(&network, true, "0").applied(&network).unwrap();
        let mask = mask(&nothing, true, "0.25");
        assert_eq!(kept(&mask), (all(&mask) as f64 * 0.25).round() as usize);
    }
}
