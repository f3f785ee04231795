//! What a choice among networks came to: what was measured of each, and which became variants. Kept as the last step of a plan,
//! and what [`crate::report`] is written from.

use bytes::Bytes;
use dnnshifter_network::{Graph, Network, Operator};
use dnnshifter_portfolio::{Fraction, VariantDescription};
use serde::{Deserialize, Serialize};

use super::{StudyError, Trained};
use crate::{
    describe::{DescribeError, cost},
    training::EpochResult,
    variant::Variant,
};

/// All networks that were made, and the variants among them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Choice {
    /// The slowest first.
    pub(crate) chosen: Vec<Chosen>,
    /// By position, the dense network first.
    pub(crate) measured: Vec<Measured>,
}

/// A variant that was chosen: its position among the networks that were made, and what is known of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Chosen {
    pub(crate) position: usize,
    pub(crate) description: VariantDescription,
    pub(crate) latency_us: u64,
    pub(crate) maximum_difference: f64,
}

/// What was measured of a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measured {
    pub(crate) validation_accuracy: Fraction,
    /// Median latency of one input in microseconds, all networks in turns.
    pub(crate) latency_us: u64,
    /// Bytes of the ONNX file.
    pub(crate) bytes: u64,
    pub(crate) macs: u64,
    pub(crate) widths: Vec<LayerWidth>,
    pub(crate) curve: Vec<EpochResult>,
}

/// How wide a layer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerWidth {
    pub(crate) layer: String,
    /// Output channels, or features.
    pub(crate) channels: usize,
}

impl Measured {
    pub(super) fn of(trained: &Trained, latency_us: u64) -> Result<Self, StudyError> {
        let cost = cost(&trained.network)?;
        Ok(Self {
            validation_accuracy: trained.accuracy,
            latency_us,
            bytes: trained.network.write().len() as u64,
            macs: cost.macs,
            widths: widths(&trained.network)?,
            curve: trained.curve.clone(),
        })
    }
}

impl Chosen {
    /// The variant as it belongs to `revision`, with its ONNX file.
    pub(crate) fn to_variant(&self, revision: &str, model: Bytes) -> Variant {
        let mut description = self.description.clone();
        revision.clone_into(&mut description.revision);
        Variant {
            description,
            latency_us: self.latency_us,
            maximum_difference: self.maximum_difference,
            model,
        }
    }
}

fn widths(network: &Network) -> Result<Vec<LayerWidth>, DescribeError> {
    let mut widths = Vec::new();
    for node in Graph::of(network)?.nodes() {
        let axis = match node.operator {
            Operator::Conv(_) | Operator::Gemm { transposed: true } => 0,
            Operator::Gemm { transposed: false } => 1,
            _ => continue,
        };
        let weight = node.input(1).map(|name| network.float(name)).transpose()?.flatten();
        let channels = weight.and_then(|weight| weight.shape().get(axis).copied()).unwrap_or(0);
        widths.push(LayerWidth { layer: node.name.clone(), channels });
    }
    Ok(widths)
}
