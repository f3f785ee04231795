//! Why a variant cannot be used.

use std::time::Duration;

use crate::{engine::EngineError, protocol::LARGEST_ITEM_BYTES, values::MOST_TEXTS};

/// Why a variant cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VariantError {
    /// A file could not be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The description is too large to be one.
    #[error("failed to read {path}: {bytes} bytes are too many for a description")]
    TooLarge {
        /// The file.
        path: String,
        /// Its size.
        bytes: u64,
    },
    /// The description cannot be parsed.
    #[error("failed to parse {path}")]
    Parse {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The description is of another version, or of another variant.
    #[error("failed to accept {path}: {what} is \"{found}\", but \"{expected}\" was expected")]
    Foreign {
        /// The file.
        path: String,
        /// The field.
        what: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// No request could have all its texts.
    #[error(
        "failed to accept {path}: an item has {given} texts, but a request may have at most {MOST_TEXTS}"
    )]
    Texts {
        /// The file.
        path: String,
        /// Texts of an item.
        given: usize,
    },
    /// No request could have one of its items.
    #[error(
        "failed to accept {path}: an item has {bytes} bytes, but a request may have at most {LARGEST_ITEM_BYTES}"
    )]
    LargeItems {
        /// The file.
        path: String,
        /// Bytes of an item.
        bytes: usize,
    },
    /// The engine refused it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It does not give the output that its description promises.
    #[error(
        "failed to check the variant: its output is not that of its check vector (difference {difference:.1e}, allowed {allowed:.0e})"
    )]
    Check {
        /// The largest difference, relative to the largest output.
        difference: f32,
        /// What is allowed.
        allowed: f32,
    },
    /// It does not give the texts that its description promises.
    #[error("failed to check the variant: its output texts are not those of its check vector")]
    CheckTexts,
    /// The check vector has numbers for texts, or texts for numbers.
    #[error(
        "failed to accept {path}: its check vector must have texts for the tensors of BYTES, and numbers for all others"
    )]
    CheckKind {
        /// The file.
        path: String,
    },
    /// The check vector does not fit the tensors.
    #[error("failed to accept {path}: its check vector has {found} values, its tensors {expected}")]
    CheckSize {
        /// The file.
        path: String,
        /// Values of input and output of the check vector.
        found: usize,
        /// Values of one item of input and output.
        expected: usize,
    },
    /// Its tensors are not those of the portfolio's other variants.
    #[error(
        "failed to accept the variant: its tensors are not those of the variants that are already loaded"
    )]
    Interface,
    /// The process that loaded it before died of it.
    #[error(
        "failed to load the variant: loading it has ended the process before (deaths: {deaths}); it is tried again in {} s",
        rest.as_secs()
    )]
    Died {
        /// How many processes died.
        deaths: u32,
        /// It is not tried before.
        rest: Duration,
    },
    /// It would not fit in memory.
    #[error(
        "failed to load the variant: it needs about {needed_bytes} of {free_bytes} bytes that are left of the memory limit"
    )]
    Memory {
        /// An estimate.
        needed_bytes: u64,
        /// What is left.
        free_bytes: u64,
    },
}
