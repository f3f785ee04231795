//! ONNX Runtime as an [`Engine`], through `ort`.
//!
//! One pool of threads for the whole process, sized by the CPU quota, that never spins: under a quota of half a CPU two
//! spinning threads cost 8.4 ms of CPU a request and a p99 of 70 ms where one thread without spinning gives 9.5 ms. Denormal
//! numbers count as zero: they are slow, and pruned networks have them. With a store, networks are optimised once and mapped: a
//! loaded one takes 3 MB of private memory instead of four times its weights, and is there in milliseconds.

mod tensor;

use std::{env, path::Path, thread};

use dnnshifter_portfolio::Digest;
use ort::{
    environment::{Environment, EnvironmentBuilder, GlobalThreadPoolOptions},
    session::{RunOptions, Session, builder::GraphOptimizationLevel},
};

use self::tensor::{append, append_texts, is, tensor};
use super::{
    Engine, EngineError, Interface, Network, PEAK_OF_OPENING,
    denormals::DenormalsAsZero,
    machine,
    mapped::Mapped,
    optimise,
    optimised::{self, OptimisedError, OptimisedNetworks},
    version,
};
use crate::{
    stamp::Stamp,
    values::{Part, Values, of_any_type},
};

/// The variable that names ONNX Runtime's library, as `ort` itself reads it.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// What the dynamic loader looks for if the variable is not set.
const LIBRARY: &str = "libonnxruntime.so.1";

/// Folder of the optimised networks within the store.
const FOLDER: &str = "optimised";

/// Private memory of a session whose weights are mapped: 3 MB were measured for VGG-16, 42 for ResNet-50 at 224x224.
const SESSION_BYTES: u64 = 16 << 20;

/// ONNX Runtime, once a process.
pub(crate) struct OnnxRuntime {
    environment: Environment,
    release: String,
    optimised: Option<OptimisedNetworks>,
}

/// A session, and the number of values that one item of its output has.
struct OnnxNetwork {
    session: Session,
    input_name: String,
    output_name: String,
    input_shape: Vec<i64>,
    output_length: usize,
    mapped: Mapped,
}

impl OnnxRuntime {
    /// Loads the library that `ORT_DYLIB_PATH` names, and starts it with `threads` threads for each operator.
    pub(crate) fn start(threads: usize) -> Result<Self, EngineError> {
        let environment = environment(threads.max(1))?;
        let release = version::release_of(&library()).unwrap_or_else(|| "unknown".to_owned());
        Ok(Self { environment, release, optimised: None })
    }

    /// So many threads as whole CPUs are granted: the quota (in CPUs) rounded down, at least one.
    pub(crate) fn threads_for(quota: Option<f64>) -> usize {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        quota.map_or(1, |quota| (quota.floor() as usize).clamp(1, processors))
    }

    /// The library's release, as `1.31.1`.
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// Tells this build of the engine on this processor from others.
    pub(crate) fn machine_key() -> String {
        machine::key(ort::info())
    }

    /// Keeps optimised networks in a folder of `store` from now on.
    pub(crate) fn keeping_in(self, store: &Path) -> Self {
        let optimised = OptimisedNetworks::new(store.join(FOLDER), machine::key(ort::info()));
        Self { optimised: Some(optimised), ..self }
    }

    /// Opens the optimised form of the network in `path`, and says what is mapped. `None` where there is none.
    fn mapped(&self, path: &Path) -> Result<Option<(Session, Mapped)>, EngineError> {
        let Some(optimised) = &self.optimised else { return Ok(None) };
        let making = |directory: &Path| {
            let program = env::current_exe().map_err(|source| EngineError::Optimise {
                path: path.display().to_string(),
                source: source.into(),
            })?;
            optimise::in_another_process(&program, path, directory)
        };
        let file = match optimised.find_or_make(path, making) {
            Ok(file) => file,
            // It would kill this process, too.
            Err(OptimisedError::Engine(died @ EngineError::Died { .. })) => return Err(died),
            Err(error) => {
                tracing::warn!(
                    error = crate::keeper::chain(&error),
                    "the network is optimised in memory instead"
                );
                return Ok(None);
            }
        };
        // Before it is opened: what changes after that look is another file.
        let mapped = Mapped::beside(&file);
        match self.session(&file, GraphOptimizationLevel::Disable) {
            Ok(session) => Ok(Some((session, mapped))),
            Err(error) => {
                tracing::warn!(%error, "an optimised network does not open, and is thrown away");
                if let Err(error) = optimised.discard(path) {
                    tracing::warn!(%error, "failed to throw away an optimised network");
                }
                Ok(None)
            }
        }
    }

    fn open(&self, path: &Path) -> Result<(Session, Mapped), EngineError> {
        if let Some(mapped) = self.mapped(path)? {
            return Ok(mapped);
        }
        self.session(path, GraphOptimizationLevel::All)
            .map(|session| (session, Mapped::default()))
            .map_err(|source| EngineError::Open { path: path.display().to_string(), source: source.into() })
    }

    fn session(&self, path: &Path, level: GraphOptimizationLevel) -> ort::Result<Session> {
        Session::builder(&self.environment)?
            .with_optimization_level(level)?
            .with_parallel_execution(false)?
            .commit_from_file(path)
    }
}

/// The library's path, or the name that the dynamic loader looks for.
fn library() -> String {
    let path = env::var(LIBRARY_VARIABLE).ok().filter(|path| !path.is_empty());
    path.unwrap_or_else(|| LIBRARY.to_owned())
}

/// Loads the library, and makes the engine's only environment of this process. Without the first, `ort` would look for a library
/// by itself, and panic where there is none.
pub(super) fn environment(threads: usize) -> Result<Environment, EngineError> {
    let path = library();
    let library =
        ort::init_from(&path).map_err(|source| EngineError::Library { path, source: source.into() })?;
    started(library, threads).map_err(|source| EngineError::Start { source: source.into() })
}

fn started(library: EnvironmentBuilder, threads: usize) -> ort::Result<Environment> {
    let pool = GlobalThreadPoolOptions::default()
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_spin_control(false)?
        .with_flush_to_zero()?;
    library.with_name("dnnshifter").with_telemetry(false).with_global_thread_pool(pool).build()
}

impl Engine for OnnxRuntime {
    fn prepare(&self, path: &Path, interface: &Interface) -> Result<Box<dyn Network>, EngineError> {
        let shown = || path.display().to_string();
        let (session, mapped) = self.open(path)?;
        let (input, output) = (&interface.input, &interface.output);
        for (what, tensor, outlets) in
            [("input", input, session.inputs()), ("output", output, session.outputs())]
        {
            if !outlets.iter().any(|outlet| is(outlet, tensor)) {
                let (name, datatype) = (tensor.name.clone(), tensor.datatype.as_str());
                return Err(EngineError::Interface { path: shown(), what, name, datatype });
            }
        }
        let mut network = OnnxNetwork {
            input_name: input.name.clone(),
            output_name: output.name.clone(),
            input_shape: input.shape.iter().map(|side| i64::try_from(*side).unwrap_or(i64::MAX)).collect(),
            output_length: interface.output_length(),
            mapped,
            session,
        };
        // A mapped one has taken none.
        if network.mapped.weights_bytes == 0 {
            network.give_back_memory(&Values::zeros(input.datatype, interface.input_length()))?;
        }
        Ok(Box::new(network))
    }

    fn digest(&self, path: &Path) -> Option<Digest> {
        let digest = match &self.optimised {
            Some(optimised) => optimised.digest(path),
            None => optimised::digest(path),
        };
        Digest::parse(&format!("sha256:{}", digest.ok()?)).ok()
    }

    fn peak_bytes(&self, path: &Path, file_bytes: u64) -> u64 {
        let mapped = self.optimised.as_ref().is_some_and(|optimised| optimised.find(path).is_some());
        if mapped {
            file_bytes.saturating_add(SESSION_BYTES)
        } else {
            file_bytes.saturating_mul(PEAK_OF_OPENING)
        }
    }
}

impl OnnxNetwork {
    /// Computes once and lets the arena shrink: what optimising and packing weights took is given back.
    fn give_back_memory(&mut self, input: &Values) -> Result<(), EngineError> {
        let shrinking = || -> ort::Result<RunOptions> {
            let mut options = RunOptions::new()?;
            options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
            Ok(options)
        };
        let failed = |source: ort::Error| EngineError::Run { items: 1, source: source.into() };
        let options = shrinking().map_err(failed)?;
        let tensor = tensor(self.shape(1), input.whole()).map_err(failed)?;
        let inputs = ort::inputs![self.input_name.as_str() => tensor];
        self.session.run_with_options(inputs, &options).map(drop).map_err(failed)
    }

    fn shape(&self, items: usize) -> Vec<i64> {
        std::iter::once(items as i64).chain(self.input_shape.iter().copied()).collect()
    }
}

impl Network for OnnxNetwork {
    fn run(&mut self, items: usize, input: Part<'_>, output: &mut Values) -> Result<(), EngineError> {
        let failed = |source: ort::Error| EngineError::Run { items, source: source.into() };
        let expected = items.saturating_mul(self.output_length);
        let tensor = tensor(self.shape(items), input).map_err(failed)?;
        let inputs = ort::inputs![self.input_name.as_str() => tensor];
        let flushing = DenormalsAsZero::begin();
        let outputs = self.session.run(inputs);
        drop(flushing);
        let outputs = outputs.map_err(failed)?;
        let Some(value) = outputs.get(self.output_name.as_str()) else {
            return Err(EngineError::Output { items, given: 0, expected });
        };
        let given = of_any_type!(
            output,
            values => append(value, expected, values),
            texts => append_texts(value, expected, texts)
        );
        let given = given.map_err(failed)?;
        if given != expected {
            return Err(EngineError::Output { items, given, expected });
        }
        Ok(())
    }

    fn mapped_bytes(&self) -> u64 {
        self.mapped.weights_bytes
    }

    fn stamps(&self) -> &[Stamp] {
        &self.mapped.stamps
    }

    fn is_in_memory(&self) -> bool {
        self.mapped.is_in_memory()
    }
}
