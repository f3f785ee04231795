//! A network of the same layers with new weights: what conventional training of a variant starts from.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Result;
use dnnshifter_network::{FloatTensor, Graph, Network, Operator};
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Writes the network at `from` to `to` with weights drawn anew (uniform with variance 2 / fan-in) and batch norms of no effect.
pub(super) fn redraw(from: &Path, to: &Path, seed: u64) -> Result<()> {
    let network = Network::read(fs::read(from)?.into())?;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut tensors = BTreeMap::new();
    for node in Graph::of(&network)?.nodes() {
        // Nothing else learns; what a Pad reads, say, is no weight.
        let learns =
            matches!(node.operator, Operator::Conv(_) | Operator::Gemm { .. } | Operator::BatchNorm { .. });
        if !learns {
            continue;
        }
        for (position, name) in node.inputs.iter().enumerate().skip(1) {
            let Some(old) = network.float(name)? else { continue };
            let fan_in: usize = old.shape().iter().skip(1).product();
            let bound = (6.0 / fan_in.max(1) as f32).sqrt();
            let mut value = || match (&node.operator, position) {
                (Operator::Conv(_) | Operator::Gemm { .. }, 1) => random.random_range(-bound..bound),
                (Operator::BatchNorm { .. }, 1 | 4) => 1.0,
                _ => 0.0,
            };
            let values = old.values().iter().map(|_| value()).collect();
            tensors.insert(name.clone(), FloatTensor::new(old.shape().to_vec(), values)?);
        }
    }
    Ok(fs::write(to, network.with_floats(&tensors).write())?)
}
