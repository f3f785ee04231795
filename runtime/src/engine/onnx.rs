//! ONNX Runtime as an [`Engine`], through `ort`.
//!
//! One pool of threads for the whole process, sized by the CPU quota, that never spins: under a quota of half a CPU two
//! spinning threads cost 8.4 ms of CPU a request and a p99 of 70 ms where one thread without spinning gives 9.5 ms. Denormal
//! numbers count as zero: they are slow, and pruned networks have them. With a store, networks are optimised once and mapped: a
//! loaded one takes 3 MB of private memory instead of four times its weights, and is there in milliseconds.

mod library;
mod tensor;

use std::{path::Path, sync::Arc};

use dnnshifter_portfolio::{Digest, description::Datatype};
use ort::{
    environment::Environment,
    session::{RunOptions, Session, builder::GraphOptimizationLevel},
};

pub(super) use self::library::environment;
use self::tensor::{append, append_texts, fixed_items, is, tensor};
#[cfg(test)]
use super::optimise;
use super::{
    Engine, EngineError, Interface, Network, OptimisedError, PEAK_OF_OPENING, ahead::Ahead,
    denormals::DenormalsAsZero, machine, mapped::Mapped, optimised, version,
};
use crate::values::{Part, Values, of_any_type};

/// Private memory of a session whose weights are mapped: 3 MB were measured for VGG-16, 42 for ResNet-50 at 224x224.
const SESSION_BYTES: u64 = 16 << 20;

/// ONNX Runtime, once a process; clones share it.
#[derive(Clone)]
pub(crate) struct OnnxRuntime {
    environment: Environment,
    release: String,
    ahead: Option<Arc<Ahead>>,
}

/// A session, and the number of values that one item of its output has.
struct OnnxNetwork {
    session: Session,
    input_name: String,
    output_name: String,
    datatype: Datatype,
    input_shape: Vec<i64>,
    input_length: usize,
    output_length: usize,
    most_items: usize,
    mapped: Mapped,
}

impl OnnxRuntime {
    /// Loads the library that `ORT_DYLIB_PATH` names, and starts it with `threads` threads for each operator.
    pub(crate) fn start(threads: usize) -> Result<Self, EngineError> {
        let environment = environment(threads.max(1))?;
        let release = version::release_of(&library::path()).unwrap_or_else(|| "unknown".to_owned());
        Ok(Self { environment, release, ahead: None })
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
        let ahead = Ahead::kept_in(store, ort::info());
        Self { ahead: Some(Arc::new(ahead)), ..self }
    }

    /// The same for tests, which have no program of ours to do it.
    #[cfg(test)]
    pub(crate) fn keeping_in_by_itself(&self, store: &Path) -> Self {
        let environment = self.environment.clone();
        let here = move |network: &Path, directory: &Path| optimise::here(&environment, network, directory);
        Self { ahead: Some(Arc::new(Ahead::made_by(store, ort::info(), here))), ..self.clone() }
    }

    /// Whether the network in `path` was optimised before, as far as can be told in no time.
    pub(crate) fn was_optimised(&self, path: &Path) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| ahead.was_made(path))
    }

    /// Optimises the network in `path`, for whoever opens it later.
    pub(crate) fn optimise_ahead(&self, path: &Path) -> Result<(), OptimisedError> {
        self.ahead.as_ref().map_or(Ok(()), |ahead| ahead.make(path).map(drop))
    }

    /// Opens the optimised form of the network in `path`, and says what is mapped. `None` where there is none.
    fn mapped(&self, path: &Path) -> Result<Option<(Session, Mapped)>, EngineError> {
        let Some(ahead) = &self.ahead else { return Ok(None) };
        let Some(file) = ahead.file(path)? else { return Ok(None) };
        match self.session(&file, GraphOptimizationLevel::Disable) {
            Ok(session) => Ok(Some((session, Mapped::beside(&file)))),
            Err(error) => {
                tracing::warn!(%error, "an optimised network does not open, and is thrown away");
                ahead.discard(path);
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

impl Engine for OnnxRuntime {
    fn prepare(&self, path: &Path, interface: &Interface) -> Result<Box<dyn Network>, EngineError> {
        let shown = || path.display().to_string();
        let (session, mapped) = self.open(path)?;
        let (input, output) = (&interface.input, &interface.output);
        let mut most_items = usize::MAX;
        for (what, tensor, outlets) in
            [("input", input, session.inputs()), ("output", output, session.outputs())]
        {
            let name = || tensor.name.clone();
            let Some(outlet) = outlets.iter().find(|outlet| is(outlet, tensor)) else {
                let datatype = tensor.datatype.as_str();
                return Err(EngineError::Interface { path: shown(), what, name: name(), datatype });
            };
            match fixed_items(outlet) {
                None => (),
                Some(1) => most_items = 1,
                Some(items) => return Err(EngineError::Batch { path: shown(), what, name: name(), items }),
            }
        }
        let mut network = OnnxNetwork {
            input_name: input.name.clone(),
            output_name: output.name.clone(),
            datatype: input.datatype,
            input_length: interface.input_length(),
            input_shape: input.shape.iter().map(|side| i64::try_from(*side).unwrap_or(i64::MAX)).collect(),
            output_length: interface.output_length(),
            most_items,
            mapped,
            session,
        };
        // A mapped one has taken none.
        if network.mapped.weights_bytes == 0 {
            network.shrink()?;
        }
        Ok(Box::new(network))
    }

    fn distrust(&self, path: &Path) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| ahead.distrust(path))
    }

    fn digest(&self, path: &Path) -> Option<Digest> {
        let digest = match &self.ahead {
            Some(ahead) => ahead.digest(path),
            None => optimised::digest(path),
        };
        Digest::parse(&format!("sha256:{}", digest.ok()?)).ok()
    }

    fn peak_bytes(&self, path: &Path, file_bytes: u64) -> u64 {
        let mapped = self.ahead.as_ref().is_some_and(|ahead| ahead.has(path));
        if mapped {
            file_bytes.saturating_add(SESSION_BYTES)
        } else {
            file_bytes.saturating_mul(PEAK_OF_OPENING)
        }
    }
}

impl OnnxNetwork {
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

    fn most_items(&self) -> usize {
        self.most_items
    }

    /// The arena shrinks at the end of an inference that asks for it: what optimising, packing weights and large batches took is
    /// given back. Asked for each time, it would cost each inference the faults of its pages.
    fn shrink(&mut self) -> Result<(), EngineError> {
        let shrinking = || -> ort::Result<RunOptions> {
            let mut options = RunOptions::new()?;
            options.set("memory.enable_memory_arena_shrinkage", "cpu:0")?;
            Ok(options)
        };
        let failed = |source: ort::Error| EngineError::Run { items: 1, source: source.into() };
        let options = shrinking().map_err(failed)?;
        let item = Values::zeros(self.datatype, self.input_length);
        let tensor = tensor(self.shape(1), item.whole()).map_err(failed)?;
        let inputs = ort::inputs![self.input_name.as_str() => tensor];
        self.session.run_with_options(inputs, &options).map(drop).map_err(failed)
    }

    fn mapped_bytes(&self) -> u64 {
        self.mapped.weights_bytes
    }

    fn is_in_memory(&self) -> bool {
        self.mapped.is_in_memory()
    }
}
