//! A variant on this node: its folder, and what becomes of it once it is loaded.
//!
//! [`read`] takes a folder apart and refuses what is not what it says it is; [`Resident::load`] opens the network and holds it
//! against its check vector. Neither decides which variant serves: that is [`switch`](crate::switch).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use dnnshifter_portfolio::{
    VariantDescription, VariantName,
    description::{CheckVector, DESCRIPTION_FILE, DESCRIPTION_VERSION, MODEL_FILE},
};
use parking_lot::Mutex;

use crate::engine::{Engine, EngineError, Interface, Network};

/// A description of more bytes than this is none: the largest part is the check vector, and a million values are 10 MB.
const LARGEST_DESCRIPTION_BYTES: u64 = 32 << 20;

/// A batch is computed in parts of at most so many items, so that the memory of an inference is bounded.
const LARGEST_PART: usize = 8;

/// The weight of the newest measurement in the running mean of the service time.
const SERVICE_WEIGHT: f64 = 1.0 / 16.0;

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

/// A variant's folder that was read: a description, and the path of the network.
#[derive(Debug)]
pub(crate) struct VariantFolder {
    /// What the variant says of itself.
    pub(crate) description: VariantDescription,
    network: PathBuf,
    /// The size of the file, which counts: that in the description is only a word of whoever wrote it.
    network_bytes: u64,
}

impl VariantFolder {
    /// For engines that open no file.
    pub(crate) fn without_file(description: VariantDescription) -> Self {
        Self { description, network: PathBuf::new(), network_bytes: 0 }
    }

    /// Bytes of the network: those of its file, or those that the description names, whichever are more.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.network_bytes.max(self.description.bytes)
    }
}

/// Reads the folder of the variant `name`, and refuses one of another name or version.
pub(crate) fn read(models: &Path, name: &VariantName) -> Result<VariantFolder, VariantError> {
    let folder = models.join(name.as_str());
    let (path, network) = (folder.join(DESCRIPTION_FILE), folder.join(MODEL_FILE));
    let shown = path.display().to_string();
    let bytes = size(&path)?;
    if bytes > LARGEST_DESCRIPTION_BYTES {
        return Err(VariantError::TooLarge { path: shown, bytes });
    }
    let text = fs::read(&path).map_err(|source| VariantError::Read { path: shown.clone(), source })?;
    let description: VariantDescription = serde_json::from_slice(&text)
        .map_err(|source| VariantError::Parse { path: shown.clone(), source })?;
    expect("version", &description.version, DESCRIPTION_VERSION, &shown)?;
    expect("name", description.name.as_str(), name.as_str(), &shown)?;
    let description = with_fitting_check(description, shown)?;
    Ok(VariantFolder { description, network_bytes: size(&network)?, network })
}

fn size(path: &Path) -> Result<u64, VariantError> {
    let failed = |source| VariantError::Read { path: path.display().to_string(), source };
    fs::metadata(path).map(|metadata| metadata.len()).map_err(failed)
}

fn expect(what: &'static str, found: &str, expected: &str, path: &str) -> Result<(), VariantError> {
    if found == expected {
        return Ok(());
    }
    let (path, found, expected) = (path.to_owned(), found.to_owned(), expected.to_owned());
    Err(VariantError::Foreign { path, what, found, expected })
}

fn with_fitting_check(
    description: VariantDescription,
    path: String,
) -> Result<VariantDescription, VariantError> {
    let interface = Interface::of(&description);
    let lengths = (description.check.input.len(), description.check.output.len());
    if lengths == (interface.input_length(), interface.output_length()) {
        return Ok(description);
    }
    let expected = interface.input_length().saturating_add(interface.output_length());
    Err(VariantError::CheckSize { path, found: lengths.0 + lengths.1, expected })
}

/// Names of the variants that have a folder in `models`, the largest first: by their work, as the accuracy of neighbours may be
/// the other way round by chance. Folders that are none are left out.
pub(crate) fn found_in(models: &Path) -> Result<Vec<VariantName>, VariantError> {
    let failed = |source| VariantError::Read { path: models.display().to_string(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(models).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_str().and_then(|name| VariantName::parse(name).ok());
        match name.map(|name| read(models, &name)) {
            Some(Ok(folder)) => found.push(folder.description),
            Some(Err(error)) => tracing::debug!(error = %error, "a folder that is no variant was left out"),
            None => {}
        }
    }
    found.sort_by(|a, b| b.macs.cmp(&a.macs).then_with(|| b.accuracy.cmp(&a.accuracy)));
    Ok(found.into_iter().map(|description| description.name).collect())
}

/// A variant that is loaded, checked and warm.
pub(crate) struct Resident {
    /// What the variant says of itself.
    pub(crate) description: VariantDescription,
    /// Its tensors.
    pub(crate) interface: Interface,
    network: Mutex<Box<dyn Network>>,
    /// Running mean of the time that one item takes, in nanoseconds.
    service_ns: AtomicU64,
    /// When it computed last, in nanoseconds since `loaded_at`.
    used_ns: AtomicU64,
    loaded_at: Instant,
}

impl Resident {
    /// Opens the network, computes the check vector twice (the second time warm), and refuses what does not hold.
    pub(crate) fn load(engine: &dyn Engine, folder: VariantFolder) -> Result<Self, VariantError> {
        let VariantFolder { description, network, .. } = folder;
        let interface = Interface::of(&description);
        let network = engine.prepare(&network, &interface)?;
        let resident = Self {
            interface,
            network: Mutex::new(network),
            service_ns: AtomicU64::new(0),
            used_ns: AtomicU64::new(0),
            loaded_at: Instant::now(),
            description,
        };
        let output = resident.run(1, &resident.description.check.input)?;
        resident.hold_against_check(&output)?;
        resident.service_ns.store(0, Ordering::Relaxed);
        resident.warm()?;
        Ok(resident)
    }

    /// The variant's name.
    pub(crate) fn name(&self) -> &VariantName {
        &self.description.name
    }

    /// Computes a batch of `items`.
    pub(crate) fn run(&self, items: usize, input: &[f32]) -> Result<Vec<f32>, EngineError> {
        let length = self.interface.input_length().max(1);
        let mut output = Vec::with_capacity(items.saturating_mul(self.interface.output_length()));
        let mut network = self.network.lock();
        let started = Instant::now();
        for part in input.chunks(length.saturating_mul(LARGEST_PART)) {
            network.run(part.len() / length, part, &mut output)?;
        }
        drop(network);
        self.learn(started.elapsed(), items);
        Ok(output)
    }

    /// Computes the check vector, so that weights and code are where the processor finds them at once.
    pub(crate) fn warm(&self) -> Result<(), EngineError> {
        self.run(1, &self.description.check.input).map(drop)
    }

    /// The running mean of the time that one item takes.
    pub(crate) fn service_time(&self) -> Duration {
        Duration::from_nanos(self.service_ns.load(Ordering::Relaxed))
    }

    /// Pretends that an item takes so long.
    #[cfg(test)]
    pub(crate) fn taking(self, service_time: Duration) -> Self {
        self.service_ns.store(service_time.as_nanos() as u64, Ordering::Relaxed);
        self
    }

    /// How long it has not computed.
    pub(crate) fn idle(&self) -> Duration {
        let used = Duration::from_nanos(self.used_ns.load(Ordering::Relaxed));
        self.loaded_at.elapsed().saturating_sub(used)
    }

    /// Only the thread that holds the network computes, so that no update is lost but by a rare race that does no harm.
    fn learn(&self, elapsed: Duration, items: usize) {
        let used = u64::try_from(self.loaded_at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.used_ns.store(used, Ordering::Relaxed);
        let newest = elapsed.as_nanos() as f64 / items.max(1) as f64;
        let known = self.service_ns.load(Ordering::Relaxed);
        let mean = if known == 0 { newest } else { known as f64 + (newest - known as f64) * SERVICE_WEIGHT };
        self.service_ns.store(mean as u64, Ordering::Relaxed);
    }

    fn hold_against_check(&self, output: &[f32]) -> Result<(), VariantError> {
        let check = &self.description.check;
        if check.holds(output) {
            return Ok(());
        }
        let scale = check.output.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
        let difference =
            output.iter().zip(&check.output).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max);
        Err(VariantError::Check { difference, allowed: CheckVector::TOLERANCE })
    }
}

#[cfg(test)]
mod tests;
