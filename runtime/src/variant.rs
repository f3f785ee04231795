//! A variant on this node: its folder, and what becomes of it once it is loaded.
//!
//! [`read`] takes a folder apart and refuses what is not what it says it is; [`Resident::load`] opens the network and holds it
//! against its check vector. Neither decides which variant serves: that is [`switch`](crate::switch).

mod error;

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use dnnshifter_portfolio::{
    VariantDescription, VariantName,
    description::{CheckVector, DESCRIPTION_FILE, DESCRIPTION_VERSION, MODEL_FILE},
};
use parking_lot::Mutex;

pub(crate) use self::error::VariantError;
use crate::{
    engine::{Engine, EngineError, Interface, Network},
    values::Values,
};

/// A description of more bytes than this is none: the largest part is the check vector, and a million values are 10 MB.
const LARGEST_DESCRIPTION_BYTES: u64 = 32 << 20;

/// A batch is computed in parts of at most so many items, so that the memory of an inference is bounded.
const LARGEST_PART: usize = 8;

/// The weight of the newest measurement in the running mean of the service time.
const SERVICE_WEIGHT: f64 = 1.0 / 16.0;

/// The times of so many inferences of one item are kept.
const RECENT_TIMES: usize = 512;

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

    /// The network's file.
    pub(crate) fn network(&self) -> &Path {
        &self.network
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
    /// The input of its check vector.
    check_input: Values,
    network: Mutex<Box<dyn Network>>,
    /// The latest times of one item alone, in microseconds, the oldest first.
    recent_us: Mutex<VecDeque<u32>>,
    /// Running mean of the time that one item takes, in nanoseconds.
    service_ns: AtomicU64,
    /// Whether that time is of the first inference, which also reads the weights from the disk: the next one replaces it.
    cold: AtomicBool,
    /// When it computed last, in nanoseconds since `loaded_at`.
    used_ns: AtomicU64,
    loaded_at: Instant,
}

impl Resident {
    /// Opens the network, computes the check vector, and refuses what does not hold. That one inference also makes it warm: all
    /// weights have been read.
    pub(crate) fn load(engine: &dyn Engine, folder: VariantFolder) -> Result<Self, VariantError> {
        let VariantFolder { description, network, .. } = folder;
        let interface = Interface::of(&description);
        let network = engine.prepare(&network, &interface)?;
        let resident = Self {
            check_input: Values::of_numbers(interface.input.datatype, &description.check.input),
            interface,
            network: Mutex::new(network),
            recent_us: Mutex::default(),
            service_ns: AtomicU64::new(0),
            cold: AtomicBool::new(false),
            used_ns: AtomicU64::new(0),
            loaded_at: Instant::now(),
            description,
        };
        let output = resident.run(1, &resident.check_input)?;
        resident.hold_against_check(&output.numbers())?;
        resident.cold.store(true, Ordering::Relaxed);
        Ok(resident)
    }

    /// The variant's name.
    pub(crate) fn name(&self) -> &VariantName {
        &self.description.name
    }

    /// Bytes of its weights that are mapped from a file.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.network.lock().mapped_bytes()
    }

    /// Computes a batch of `items`.
    pub(crate) fn run(&self, items: usize, input: &Values) -> Result<Values, EngineError> {
        let length = self.interface.input_length().max(1);
        let capacity = items.saturating_mul(self.interface.output_length());
        let mut output = Values::with_capacity(self.interface.output.datatype, capacity);
        let mut network = self.network.lock();
        let started = Instant::now();
        for part in input.parts(length.saturating_mul(LARGEST_PART)) {
            network.run(part.len() / length, part, &mut output)?;
        }
        drop(network);
        self.learn(started.elapsed(), items);
        Ok(output)
    }

    /// Computes the check vector, so that weights and code are where the processor finds them at once.
    pub(crate) fn warm(&self) -> Result<(), EngineError> {
        self.run(1, &self.check_input).map(drop)
    }

    /// The running mean of the time that one item takes.
    pub(crate) fn service_time(&self) -> Duration {
        Duration::from_nanos(self.service_ns.load(Ordering::Relaxed))
    }

    /// The times of one item alone since they were asked for last, in microseconds: the latest ones, if there were many.
    pub(crate) fn take_recent_us(&self) -> Vec<u32> {
        std::mem::take(&mut *self.recent_us.lock()).into()
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
        let replaces = self.cold.swap(false, Ordering::Relaxed) || known == 0;
        let mean = if replaces { newest } else { known as f64 + (newest - known as f64) * SERVICE_WEIGHT };
        self.service_ns.store(mean as u64, Ordering::Relaxed);
        if items == 1 {
            let mut recent = self.recent_us.lock();
            if recent.len() == RECENT_TIMES {
                recent.pop_front();
            }
            recent.push_back(u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX));
        }
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
