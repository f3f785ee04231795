//! The engine that computes: two small traits, so that nothing else knows which one it is.
//!
//! An [`Engine`] opens a network's file; the [`Network`] it gives computes batches. Engines know nothing of requests,
//! variants or switching. [`onnx`] is ONNX Runtime; with a store ([`optimised`]) it maps networks that were optimised before.

mod ahead;
mod denormals;
mod machine;
mod mapped;
mod onnx;
mod optimise;
mod optimised;
#[cfg(test)]
pub(crate) mod suite;
mod version;

use std::{error::Error, path::Path};

use dnnshifter_portfolio::{Digest, VariantDescription, description::TensorDescription};

pub(crate) use self::{onnx::OnnxRuntime, optimise::optimise, optimised::OptimisedError};
use crate::values::{Part, Values};

/// While an engine opens a network that is not optimised it holds the file, its weights, and their packed copies: measured,
/// 59 MB took 200 to 240.
const PEAK_OF_OPENING: u64 = 4;

/// Opens networks.
pub(crate) trait Engine: Send + Sync {
    /// Opens the network in the file `path`, whose tensors are those of `interface`, optimised for this machine.
    fn prepare(&self, path: &Path, interface: &Interface) -> Result<Box<dyn Network>, EngineError>;

    /// What was kept of the network in `path` has given wrong outputs: it is thrown away, so that the next [`Self::prepare`] makes it
    /// anew. Whether there is hope in that: not where nothing was kept, or where this process has made it itself.
    fn distrust(&self, _path: &Path) -> bool {
        false
    }

    /// Digest of the network's file, as far as the engine reads it.
    fn digest(&self, _path: &Path) -> Option<Digest> {
        None
    }

    /// So many bytes of memory [`Self::prepare`] may take at its peak, for a network of `file_bytes` in the file `path`.
    fn peak_bytes(&self, _path: &Path, file_bytes: u64) -> u64 {
        file_bytes.saturating_mul(PEAK_OF_OPENING)
    }
}

/// A network that is ready to compute.
pub(crate) trait Network: Send {
    /// Computes a batch of `items`: `input` holds them one after the other, row-major; their outputs are appended to `output`. Both
    /// are of the types of its interface.
    fn run(&mut self, items: usize, input: Part<'_>, output: &mut Values) -> Result<(), EngineError>;

    /// So many items it computes at a time, at most: not every network takes a batch.
    fn most_items(&self) -> usize {
        usize::MAX
    }

    /// Gives back the memory that batches have taken; the next one takes it anew.
    fn shrink(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Bytes of its weights that are mapped from a file, instead of copied to private memory.
    fn mapped_bytes(&self) -> u64 {
        0
    }

    /// Whether all its weights are in memory already, so that the first inference waits for no disk.
    fn is_in_memory(&self) -> bool {
        false
    }
}

/// The tensors of a network, the same for all variants of a portfolio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    /// The input, without the batch dimension.
    pub(crate) input: TensorDescription,
    /// The output, without the batch dimension.
    pub(crate) output: TensorDescription,
}

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// There is no engine, or one that is too old.
    #[error(
        "failed to load ONNX Runtime from \"{path}\"; set ORT_DYLIB_PATH to libonnxruntime.so.1 of release 1.31.1"
    )]
    Library {
        /// Its library.
        path: String,
        /// What the dynamic loader said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The engine itself does not start.
    #[error("failed to start ONNX Runtime")]
    Start {
        /// What it said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The network could not be opened.
    #[error("failed to open the network {path}")]
    Open {
        /// Its file.
        path: String,
        /// What the engine said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The network could not be optimised ahead.
    #[error("failed to optimise the network {path}")]
    Optimise {
        /// Its file.
        path: String,
        /// What the process that did it said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The process that optimised it died.
    #[error("failed to optimise the network {path}: the process that did it died ({status})")]
    Died {
        /// Its file.
        path: String,
        /// What it died of.
        status: String,
    },
    /// The network's tensors are not those that were described.
    #[error("failed to open the network {path}: it has no {what} \"{name}\" of {datatype}")]
    Interface {
        /// Its file.
        path: String,
        /// Input or output.
        what: &'static str,
        /// The tensor that was described.
        name: String,
        /// Its type, as the protocol calls it.
        datatype: &'static str,
    },
    /// The network takes batches of one size only, and not of one item.
    #[error(
        "failed to open the network {path}: its {what} \"{name}\" is of exactly {items} items; export it with a first dimension that is free, or 1"
    )]
    Batch {
        /// Its file.
        path: String,
        /// Input or output.
        what: &'static str,
        /// The tensor.
        name: String,
        /// Its first dimension.
        items: i64,
    },
    /// An inference failed.
    #[error("failed to compute {items} items")]
    Run {
        /// The size of the batch.
        items: usize,
        /// What the engine said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// An inference gave another number of values than the description says.
    #[error("failed to compute {items} items: the network gave {given} values instead of {expected}")]
    Output {
        /// The size of the batch.
        items: usize,
        /// Values that came.
        given: usize,
        /// Values that should have come.
        expected: usize,
    },
}

impl Interface {
    /// The interface that a variant's description names.
    pub(crate) fn of(description: &VariantDescription) -> Self {
        Self { input: description.input.clone(), output: description.output.clone() }
    }

    /// Values of one input item.
    pub(crate) fn input_length(&self) -> usize {
        length(&self.input)
    }

    /// Values of one output item.
    pub(crate) fn output_length(&self) -> usize {
        length(&self.output)
    }
}

/// Values of one item of `tensor`; saturates, so that an absurd description never fits anything.
fn length(tensor: &TensorDescription) -> usize {
    tensor
        .shape
        .iter()
        .fold(1_usize, |product, side| product.saturating_mul(usize::try_from(*side).unwrap_or(usize::MAX)))
}
