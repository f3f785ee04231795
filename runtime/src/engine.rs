//! The engine that computes: two small traits, so that nothing else knows which one it is.
//!
//! An [`Engine`] opens a network's file; the [`Network`] it gives computes batches. Engines know nothing of requests,
//! variants or switching. [`onnx`] is ONNX Runtime; with a store ([`optimised`]) it maps networks that were optimised before.

mod denormals;
mod machine;
mod mapped;
mod onnx;
mod optimise;
mod optimised;
mod version;

use std::{error::Error, path::Path};

use dnnshifter_portfolio::{Digest, VariantDescription, description::TensorDescription};

pub(crate) use self::{onnx::OnnxRuntime, optimise::optimise};
use crate::{
    stamp::Stamp,
    values::{Part, Values},
};

/// While an engine opens a network that is not optimised it holds the file, its weights, and their packed copies: measured,
/// 59 MB took 200 to 240.
const PEAK_OF_OPENING: u64 = 4;

/// Opens networks.
pub(crate) trait Engine: Send + Sync {
    /// Opens the network in the file `path`, whose tensors are those of `interface`, optimised for this machine.
    fn prepare(&self, path: &Path, interface: &Interface) -> Result<Box<dyn Network>, EngineError>;

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

    /// Bytes of its weights that are mapped from a file, instead of copied to private memory.
    fn mapped_bytes(&self) -> u64 {
        0
    }

    /// The files that it is mapped from: where they are the same, it computes the same. None where it is not mapped.
    fn stamps(&self) -> &[Stamp] {
        &[]
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
