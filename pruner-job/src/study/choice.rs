//! What a choice among networks came to: what was measured of each, and which became variants. Kept as the last step of a plan,
//! and what [`crate::report`] is written from.

use bytes::Bytes;
use dnnshifter_network::{Network, network::label, onnx::NodeProto};
use dnnshifter_portfolio::{Fraction, VariantDescription};
use serde::{Deserialize, Serialize};

use super::{StudyError, Trained};
use crate::{describe::cost, selection::Candidate, training::EpochResult, variant::Variant};

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
    /// The file's bytes, and those of the values that one input takes at the same time.
    pub(crate) memory_bytes: u64,
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
    /// What was measured of `trained`, which `served` serves.
    pub(super) fn of(trained: &Trained, served: &Network, latency_us: u64) -> Result<Self, StudyError> {
        let cost = cost(served)?;
        let bytes = served.write().len() as u64;
        Ok(Self {
            validation_accuracy: trained.accuracy,
            latency_us,
            bytes,
            memory_bytes: bytes + size_of::<f32>() as u64 * cost.live_values,
            macs: cost.macs,
            widths: widths(served),
            curve: trained.curve.clone(),
        })
    }

    /// What the choice goes by.
    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            accuracy: self.validation_accuracy,
            latency_us: self.latency_us,
            memory_bytes: self.memory_bytes,
        }
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

fn widths(network: &Network) -> Vec<LayerWidth> {
    let width = |node: &NodeProto| {
        let transposed =
            node.attribute.iter().any(|attribute| attribute.name() == "transB" && attribute.i() != 0);
        let axis = match node.op_type() {
            "Conv" => 0,
            "Gemm" => usize::from(!transposed),
            "MatMul" => 1,
            _ => return None,
        };
        let shape = network.float_shape(node.input.get(1)?).ok()??;
        Some(LayerWidth { layer: label(node), channels: *shape.get(axis)? })
    };
    network.nodes().iter().filter_map(width).collect()
}
