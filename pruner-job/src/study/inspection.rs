//! What must be true of a model before any work starts, whatever the method; what is not is said with the tensor or node, the
//! reason and a way out.

use std::path::Path;

use bytes::Bytes;
use dnnshifter_network::{
    Network,
    network::{InvalidModel, weights::KnownWeights},
};
use dnnshifter_portfolio::{PruningPlan, plan::PruningMethod};

use crate::{
    external::{self, UnreadableModel},
    magnitude::{MagnitudeError, maskable_weights},
    structured::{StructuredError, prunable_channels},
};

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableModel {
    #[error(transparent)]
    Read(#[from] UnreadableModel),
    #[error(transparent)]
    Structured(#[from] StructuredError),
    #[error(transparent)]
    Magnitude(#[from] MagnitudeError),
    #[error(transparent)]
    Weight(#[from] InvalidModel),
    #[error(
        "its output \"{output}\" has shape {shape:?} beside the batch, but a classifier answers with one number for each of at least two classes; take a model that ends so"
    )]
    NotAClassifier { output: String, shape: Vec<usize> },
}

/// The plan's model, whose file holds `model`, if the method can work on it.
pub(super) fn usable(model: Bytes, plan: &PruningPlan) -> Result<Network, UnusableModel> {
    let network = external::import(model, Path::new(&plan.model.path))?;
    match network.output().shape.as_slice() {
        [classes] if *classes >= 2 => {}
        shape => {
            let output = network.output().name.clone();
            return Err(UnusableModel::NotAClassifier { output, shape: shape.to_vec() });
        }
    }
    match &plan.method {
        PruningMethod::Structured(method) => drop(prunable_channels(&network, method.criterion)?),
        PruningMethod::IterativeMagnitude(method) => drop(maskable_weights(&network, method)?),
    }
    KnownWeights::checked(network.model())?;
    if has_folded_norms(&network) {
        tracing::warn!(
            "the model has convolutions but no BatchNormalization: its exporter folded it. It is trained without, which takes a smaller learningRate and may cost accuracy; to train with it, export the model with it kept (torch.onnx.export(..., dynamo=False, training=TrainingMode.PRESERVE))"
        );
    }
    Ok(network)
}

/// Whether what should train with batch norm was exported as if it had none.
fn has_folded_norms(network: &Network) -> bool {
    let has = |operator: &str| network.nodes().iter().any(|node| node.op_type() == operator);
    has("Conv") && !has("BatchNormalization")
}
