//! What the tests share: variants that need no file, on an engine that computes what it is told.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use dnnshifter_portfolio::{
    VariantDescription, VariantName, VariantProfile,
    description::{DESCRIPTION_FILE, MODEL_FILE},
    profile::Distribution,
};
use parking_lot::{Condvar, Mutex};

use crate::{
    cgroup::{Cgroup, Limits},
    engine::{Engine, EngineError, Interface, Network, OnnxRuntime},
    keeper::{Host, Keeper, Notes, attempts::Attempts, kept::KeptProfiles, memory::Footprint},
    lane::Lane,
    metrics::{Identity, Metrics},
    server::{Chooser, Intake, Service},
    switch::{Switch, Wanted},
    values::{Number, Part, Values, of_any_type},
    variant::{Resident, VariantFolder},
};

/// ONNX Runtime, which starts once a process.
pub(crate) static ONNX_RUNTIME: LazyLock<OnnxRuntime> = LazyLock::new(|| OnnxRuntime::start(1).unwrap());

/// Every output of the networks it opens is this number; they wait while its gate is shut.
#[derive(Clone, Default)]
pub(crate) struct Constant {
    value: f32,
    gate: Arc<(Mutex<bool>, Condvar)>,
    broken: Arc<AtomicBool>,
    overflows: Arc<AtomicBool>,
    runs: Arc<AtomicUsize>,
    /// Batches of so many items fail, and larger ones; zero means that none does.
    failing_from: Arc<AtomicUsize>,
}

impl Constant {
    pub(crate) fn of(value: f32) -> Self {
        Self { value, ..Self::default() }
    }

    /// From now on inferences wait, until [`Self::open`].
    pub(crate) fn shut(&self) {
        *self.gate.0.lock() = true;
    }

    /// Lets inferences go on.
    pub(crate) fn open(&self) {
        *self.gate.0.lock() = false;
        self.gate.1.notify_all();
    }

    /// From now on inferences panic.
    pub(crate) fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// From now on outputs are infinite.
    pub(crate) fn overflow(&self) {
        self.overflows.store(true, Ordering::SeqCst);
    }

    /// From now on batches of so many items and more fail.
    pub(crate) fn fail_from(&self, items: usize) {
        self.failing_from.store(items, Ordering::SeqCst);
    }

    /// Inferences so far.
    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Engine for Constant {
    fn prepare(&self, _path: &Path, _interface: &Interface) -> Result<Box<dyn Network>, EngineError> {
        Ok(Box::new(self.clone()))
    }
}

impl Network for Constant {
    fn run(&mut self, items: usize, _input: Part<'_>, output: &mut Values) -> Result<(), EngineError> {
        self.gate.1.wait_while(&mut self.gate.0.lock(), |shut| *shut);
        assert!(!self.broken.load(Ordering::SeqCst), "the engine breaks down, as it was told");
        if (1..=items).contains(&self.failing_from.load(Ordering::SeqCst)) {
            return Err(EngineError::Run { items, source: "it fails, as it was told".into() });
        }
        self.runs.fetch_add(1, Ordering::SeqCst);
        let value = if self.overflows.load(Ordering::SeqCst) { f32::INFINITY } else { self.value };
        of_any_type!(
            output,
            values => values.resize(values.len() + items * 3, Number::from_f32(value)),
            texts => texts.resize(texts.len() + items * 3, value.to_string())
        );
        Ok(())
    }
}

/// Opens networks whose weights are in memory, and whose outputs are zero.
struct InMemory;

impl Engine for InMemory {
    fn prepare(&self, _path: &Path, _interface: &Interface) -> Result<Box<dyn Network>, EngineError> {
        Ok(Box::new(Self))
    }
}

impl Network for InMemory {
    fn run(&mut self, items: usize, input: Part<'_>, output: &mut Values) -> Result<(), EngineError> {
        Constant::of(0.0).run(items, input, output)
    }

    fn is_in_memory(&self) -> bool {
        true
    }
}

pub(crate) fn name(name: &str) -> VariantName {
    VariantName::parse(name).unwrap()
}

pub(crate) fn names(names: &[&str]) -> Vec<VariantName> {
    names.iter().copied().map(name).collect()
}

/// A variant of images of 2x2 with three scores, all of which should be `value`.
pub(crate) fn description(variant: &str, value: f32) -> VariantDescription {
    let text = format!(
        r#"{{"version":"dnnshifter.io/variant/v1","name":"{variant}","revision":"1","accuracy":"0.9","parameters":15,"bytes":1000,
        "macs":12,"input":{{"name":"image","shape":[2,2]}},"output":{{"name":"scores","shape":[3]}},
        "check":{{"input":[1,2,3,4],"output":[{value},{value},{value}]}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// A variant whose outputs are all `value`, loaded.
pub(crate) fn resident(variant: &str, value: f32) -> Resident {
    resident_on(&Constant::of(value), variant)
}

pub(crate) fn resident_on(engine: &Constant, variant: &str) -> Resident {
    Resident::load(engine, VariantFolder::without_file(description(variant, engine.value))).unwrap()
}

/// The same, with weights that are found in memory.
pub(crate) fn resident_in_memory(variant: &str) -> Resident {
    Resident::load(&InMemory, VariantFolder::without_file(description(variant, 0.0))).unwrap()
}

/// A variant that was measured.
pub(crate) fn profile(variant: &str) -> VariantProfile {
    VariantProfile {
        name: name(variant),
        wall: Distribution::default(),
        cpu: Distribution::default(),
        protocol_cpu_us: 100,
        anonymous_bytes: 0,
        mapped_bytes: 0,
        warm_us: 0,
        throttled_periods: 0,
        digest: None,
    }
}

pub(crate) fn wanted(variant: &str) -> Wanted {
    Wanted { variant: name(variant), reason: "Test".to_owned(), is_ceiling: true }
}

/// A service of the model `m`, with these variants loaded, the most accurate first, the first of which serves. Requests never compute
/// themselves: they would hold up a test's only thread.
pub(crate) fn service(chooser: Chooser, variants: Vec<Resident>) -> Arc<Service> {
    service_at_once(chooser, variants, Duration::ZERO)
}

/// The same, but requests may compute themselves what takes no more than `longest_at_once`.
pub(crate) fn service_at_once(
    chooser: Chooser,
    variants: Vec<Resident>,
    longest_at_once: Duration,
) -> Arc<Service> {
    let metrics = Metrics::new(&Identity::default()).unwrap();
    let switch = Arc::new(Switch::new(Arc::clone(&metrics)));
    let order: Vec<_> = variants.iter().map(|variant| variant.name().clone()).collect();
    let first = order.first().map(|first| wanted(first.as_str()));
    switch.direct(&order, first, Instant::now());
    for variant in variants {
        switch.loaded(variant, Footprint::default());
    }
    let lane = Arc::new(Lane::start(Arc::clone(&switch), longest_at_once).unwrap());
    Service::new("m".to_owned(), chooser, (switch, lane, Intake::default()), metrics)
}

/// A keeper whose thread does not run, of these variants, the most accurate first, the first of which is wanted.
pub(crate) fn keeper(
    engine: Arc<dyn Engine>,
    models: &Path,
    order: &[&str],
    memory_bytes: Option<u64>,
) -> Keeper {
    let metrics = Metrics::new(&Identity::default()).unwrap();
    let switch = Arc::new(Switch::new(Arc::clone(&metrics)));
    switch.direct(&names(order), order.first().map(|first| wanted(first)), Instant::now());
    let lane = Arc::new(Lane::start(Arc::clone(&switch), Duration::ZERO).unwrap());
    let limits = Limits { memory_bytes, ..Limits::default() };
    Keeper {
        engine,
        threads: 1,
        models: models.to_owned(),
        switch,
        lane,
        cgroup: Cgroup::of_this_process(models),
        host: Host { limits, ..Host::default() },
        protocol_cost: Box::new(|_| None),
        attempts: Attempts::default(),
        kept: KeptProfiles::default(),
        metrics,
        notes: Notes::default(),
    }
}

/// A variant's folder in `models`.
pub(crate) fn write_variant(models: &Path, description: &VariantDescription, network: &[u8]) {
    let folder = models.join(description.name.as_str());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(DESCRIPTION_FILE), serde_json::to_string(description).unwrap()).unwrap();
    fs::write(folder.join(MODEL_FILE), network).unwrap();
}

/// Held by tests that give code back: those of one process share it.
pub(crate) static GIVING_BACK: Mutex<()> = Mutex::new(());

/// Long enough never to pass in a test, for tests that are about arithmetic and not about time.
pub(crate) const LONG: Duration = Duration::from_mins(10);

/// The root of a file system that tells of half a CPU, which was used up seven times.
pub(crate) fn half_a_cpu() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let files = [
        ("proc/self/cgroup", "0::/\n"),
        ("proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"),
        ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
        ("sys/fs/cgroup/cpu.stat", "nr_throttled 7\n"),
    ];
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}
