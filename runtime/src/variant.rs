//! A variant on this node: its folder, and what becomes of it once it is loaded.
//!
//! [`read`] takes a folder apart and refuses what is not what it says it is; [`Resident::load`] opens the network and holds it
//! against its check vector. Neither decides which variant serves: that is [`switch`](crate::switch).

mod error;
mod folder;

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use dnnshifter_portfolio::{
    VariantDescription, VariantName,
    description::{CheckValues, CheckVector},
};
use parking_lot::Mutex;

pub(crate) use self::{
    error::VariantError,
    folder::{VariantFolder, found_in, read},
};
use crate::{
    chain::chain,
    engine::{Engine, EngineError, Interface, Network},
    values::Values,
};

/// A batch is computed in parts of at most so many items, so that the memory of an inference is bounded.
pub(crate) const LARGEST_PART: usize = 8;

/// The weight of the newest measurement in the running mean of the service time.
const SERVICE_WEIGHT: f64 = 1.0 / 16.0;

/// What was in memory so long ago is believed to be there still: the kernel takes pages that are used away last.
const LATELY: Duration = Duration::from_secs(1);

/// After so many inferences in a row that failed, it is doubtful whether the requests are at fault.
const DOUBTFUL: u32 = 3;

/// Where its check vector held nevertheless, the requests are at fault for so long: who sends bad ones must not keep the keeper busy.
const ACQUITTED: Duration = Duration::from_secs(10);

/// The times of so many inferences of one item are kept.
const RECENT_TIMES: usize = 512;

/// A variant that is loaded, checked and warm.
pub(crate) struct Resident {
    /// What the variant says of itself.
    pub(crate) description: VariantDescription,
    /// Its tensors.
    pub(crate) interface: Interface,
    /// The input of its check vector.
    check_input: Values,
    network: Mutex<Box<dyn Network>>,
    /// It computes so many items at once: what it was seen to take memory for.
    largest_part: usize,
    /// Inferences that have failed since the last one that did not.
    failures: AtomicU32,
    /// When they were found not to be its fault.
    acquitted: Mutex<Option<Instant>>,
    /// The latest times of one item alone, in microseconds, the oldest first.
    recent_us: Mutex<VecDeque<u32>>,
    /// Running mean of the time that one item takes, in nanoseconds.
    service_ns: AtomicU64,
    /// Whether that time is of the first inference, which also reads the weights from the disk: the next one replaces it.
    cold: AtomicBool,
    /// When it computed last, in nanoseconds since `loaded_at`; and when it did, or was found to be in memory.
    used_ns: AtomicU64,
    seen_ns: AtomicU64,
    loaded_at: Instant,
}

impl Resident {
    /// Opens the network, computes the check vector, and refuses what does not hold: always, since its files may have been damaged
    /// after they were last seen. That one inference also makes it warm: all weights have been read.
    pub(crate) fn load(engine: &dyn Engine, folder: VariantFolder) -> Result<Self, VariantError> {
        let resident = Self::open(engine, folder)?;
        resident.prove()?;
        resident.cold.store(true, Ordering::Relaxed);
        Ok(resident)
    }

    fn open(engine: &dyn Engine, folder: VariantFolder) -> Result<Self, VariantError> {
        let VariantFolder { description, network, .. } = folder;
        let interface = Interface::of(&description);
        let network = engine.prepare(&network, &interface)?;
        Ok(Self {
            check_input: Values::of_check(interface.input.datatype, &description.check.input),
            interface,
            network: Mutex::new(network),
            largest_part: 1,
            failures: AtomicU32::new(0),
            acquitted: Mutex::default(),
            recent_us: Mutex::default(),
            service_ns: AtomicU64::new(0),
            cold: AtomicBool::new(false),
            used_ns: AtomicU64::new(0),
            seen_ns: AtomicU64::new(0),
            loaded_at: Instant::now(),
            description,
        })
    }

    /// Computes the check vector, and says whether the outputs are what they should be.
    pub(crate) fn prove(&self) -> Result<(), VariantError> {
        let output = self.run(1, &self.check_input)?;
        self.hold_against_check(&output.to_check())
    }

    /// Whether it may be at fault that inferences failed.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= DOUBTFUL
            && self.acquitted.lock().is_none_or(|since| since.elapsed() >= ACQUITTED)
    }

    /// It is not.
    pub(crate) fn acquit(&self) {
        *self.acquitted.lock() = Some(Instant::now());
    }

    /// Computes larger and larger parts, up to [`LARGEST_PART`] or what the network takes, as long as `has_room` for one of twice the
    /// last size. Their memory is then given back once `measure` has looked at it. One that fails ends it.
    pub(crate) fn stretch<T>(
        mut self,
        has_room: impl Fn() -> bool,
        measure: impl FnOnce() -> T,
    ) -> (Self, T) {
        let most_items = self.network.get_mut().most_items().min(LARGEST_PART);
        while self.largest_part < most_items && has_room() {
            if let Err(error) = self.try_part(self.largest_part * 2) {
                tracing::warn!(variant = %self.name(), error = chain(&error), "a variant computes no larger parts of a batch");
                break;
            }
            self.largest_part *= 2;
        }
        let measured = measure();
        if let Err(error) = self.network.get_mut().shrink() {
            tracing::warn!(variant = %self.name(), error = chain(&error), "a variant gives no memory back");
        }
        (self, measured)
    }

    fn try_part(&self, items: usize) -> Result<(), EngineError> {
        let (input, output) = (&self.interface.input, &self.interface.output);
        let input = Values::zeros(input.datatype, self.interface.input_length().saturating_mul(items));
        let mut output = Values::with_capacity(output.datatype, 0);
        self.network.lock().run(items, input.whole(), &mut output)
    }

    /// It may compute parts of so many items from now on, as it was seen to do before.
    pub(crate) fn computing_parts_of(self, largest_part: usize) -> Self {
        Self { largest_part, ..self }
    }

    /// So many items it computes at once.
    pub(crate) fn largest_part(&self) -> usize {
        self.largest_part
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
        let outcome = self.try_run(items, input);
        match &outcome {
            Ok(_) => self.failures.store(0, Ordering::Relaxed),
            Err(_) => _ = self.failures.fetch_add(1, Ordering::Relaxed),
        }
        outcome
    }

    fn try_run(&self, items: usize, input: &Values) -> Result<Values, EngineError> {
        let length = self.interface.input_length().max(1);
        let capacity = items.saturating_mul(self.interface.output_length());
        let mut output = Values::with_capacity(self.interface.output.datatype, capacity);
        let mut network = self.network.lock();
        let started = Instant::now();
        for part in input.parts(length.saturating_mul(self.largest_part)) {
            network.run(part.len() / length, part, &mut output)?;
        }
        drop(network);
        self.learn(started.elapsed(), items);
        Ok(output)
    }

    /// Computes the check vector, so that weights and code are where the processor finds them at once. Where that fails, no request is
    /// at fault.
    pub(crate) fn warm(&self) -> Result<(), EngineError> {
        let outcome = self.run(1, &self.check_input).map(drop);
        if outcome.is_err() {
            self.failures.fetch_max(DOUBTFUL, Ordering::Relaxed);
            *self.acquitted.lock() = None;
        }
        outcome
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

    /// Pretends that it was loaded, and computed last, so long ago.
    #[cfg(test)]
    pub(crate) fn aged(self, age: Duration) -> Self {
        let (used_ns, seen_ns) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { loaded_at: Instant::now().checked_sub(age).unwrap(), used_ns, seen_ns, ..self }
    }

    /// Whether all its weights are found in memory, which counts from now on.
    pub(crate) fn look(&self) -> bool {
        let found = self.network.lock().is_in_memory();
        if found {
            self.seen_ns.store(self.age_ns(), Ordering::Relaxed);
        }
        found
    }

    /// Whether it would compute at once: nobody else uses it, and it was lately in memory.
    pub(crate) fn is_at_hand(&self) -> bool {
        self.unseen() < LATELY && !self.network.is_locked()
    }

    /// How long it has not computed.
    pub(crate) fn idle(&self) -> Duration {
        self.since(&self.used_ns)
    }

    /// How long it has neither computed nor been found in memory.
    pub(crate) fn unseen(&self) -> Duration {
        self.since(&self.seen_ns)
    }

    fn since(&self, nanoseconds: &AtomicU64) -> Duration {
        self.loaded_at.elapsed().saturating_sub(Duration::from_nanos(nanoseconds.load(Ordering::Relaxed)))
    }

    fn age_ns(&self) -> u64 {
        u64::try_from(self.loaded_at.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Only the thread that holds the network computes, so that no update is lost but by a rare race that does no harm.
    fn learn(&self, elapsed: Duration, items: usize) {
        let now = self.age_ns();
        self.used_ns.store(now, Ordering::Relaxed);
        self.seen_ns.store(now, Ordering::Relaxed);
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

    fn hold_against_check(&self, output: &CheckValues) -> Result<(), VariantError> {
        let check = &self.description.check;
        if check.holds(output) {
            return Ok(());
        }
        let (CheckValues::Numbers(expected), CheckValues::Numbers(given)) = (&check.output, output) else {
            return Err(VariantError::CheckTexts);
        };
        let scale = expected.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
        let difference = given.iter().zip(expected).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max);
        Err(VariantError::Check { difference, allowed: CheckVector::TOLERANCE })
    }
}

#[cfg(test)]
mod tests;
