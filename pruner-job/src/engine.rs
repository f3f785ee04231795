//! ONNX Runtime, the engine that the nodes use: the judge of every variant's output and latency. Trains nothing.

use std::{path::Path, time::Duration};

use dnnshifter_network::TensorInfo;
use ort::{
    environment::Environment,
    error::ErrorCode,
    session::{Session, builder::GraphOptimizationLevel},
    value::TensorRef,
};
use rustix::time::{ClockId, clock_gettime};

/// The variable that names ONNX Runtime's library, as `ort` itself reads it.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// Where the dynamic loader looks if the variable is not set.
const LIBRARY: &str = "libonnxruntime.so.1";

/// ONNX Runtime, loaded. A process can have only one.
pub(crate) struct Engine(Environment);

/// An opened network.
pub(crate) struct Inference {
    session: Session,
    input_shape: Vec<usize>,
}

/// Why ONNX Runtime does not do what is asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error(
        "failed to load ONNX Runtime from \"{path}\"; set ORT_DYLIB_PATH to libonnxruntime.so.1 of release 1.31.1"
    )]
    Load { path: String, source: ort::LoadDynamicError },
    #[error("failed to start ONNX Runtime")]
    Start(#[source] ort::Error),
    #[error("failed to open the network in ONNX Runtime; export it again, and check it with onnx.checker")]
    Open(#[source] ort::Error),
    #[error(
        "ONNX Runtime lacks an operator or the operator set of the network; export it with operators of the ONNX standard, in float32 and with opset_version=17"
    )]
    Unknown(#[source] ort::Error),
    #[error("failed to run the network in ONNX Runtime")]
    Run(#[source] ort::Error),
    #[error("the network gave no output in ONNX Runtime")]
    NoOutput,
}

impl Engine {
    /// Loads the library.
    pub(crate) fn load() -> Result<Self, EngineError> {
        let path = std::env::var(LIBRARY_VARIABLE).unwrap_or_else(|_| LIBRARY.to_owned());
        let builder = ort::init_from(&path).map_err(|source| EngineError::Load { path, source })?;
        builder.with_telemetry(false).build().map(Self).map_err(EngineError::Start)
    }

    /// Opens an ONNX file's bytes with all optimisations and one thread, as latencies are compared.
    pub(crate) fn open(&self, model: &[u8], input: &TensorInfo) -> Result<Inference, EngineError> {
        let session = self.session(model).map_err(refused)?;
        Ok(Inference { session, input_shape: input.shape.clone() })
    }

    /// Opens an ONNX file, with the data beside it that it names, optimised as asked and with one thread.
    pub(crate) fn open_file(
        &self,
        path: &Path,
        level: GraphOptimizationLevel,
    ) -> Result<Session, EngineError> {
        let builder = || {
            Session::builder(&self.0)?
                .with_optimization_level(level)?
                .with_intra_threads(1)?
                .commit_from_file(path)
        };
        builder().map_err(refused)
    }

    fn session(&self, model: &[u8]) -> Result<Session, ort::Error> {
        Session::builder(&self.0)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .commit_from_memory(model)
    }
}

impl Inference {
    /// Number of values in one input.
    pub(crate) fn input_len(&self) -> usize {
        self.input_shape.iter().product()
    }

    /// Runs a batch of inputs and gives their outputs, both in row-major order.
    pub(crate) fn run(&mut self, inputs: &[f32]) -> Result<Vec<f32>, EngineError> {
        let batch = inputs.len() / self.input_len().max(1);
        let mut shape = vec![batch];
        shape.extend(&self.input_shape);
        let tensor = TensorRef::from_array_view((shape, inputs)).map_err(EngineError::Run)?;
        let outputs = self.session.run(ort::inputs![tensor]).map_err(EngineError::Run)?;
        let output = outputs.values().next().ok_or(EngineError::NoOutput)?;
        let (_, values) = output.try_extract_tensor::<f32>().map_err(EngineError::Run)?;
        Ok(values.to_vec())
    }

    /// The processor time that one run of `input` takes. With one thread it is the latency of an undisturbed machine.
    pub(crate) fn processor_time(&mut self, input: &[f32]) -> Result<Duration, EngineError> {
        let start = thread_time();
        self.run(input)?;
        Ok(thread_time().saturating_sub(start))
    }
}

/// What ONNX Runtime says of operators and operator sets that it does not know. It has no code for these.
const UNKNOWN: [&str; 6] = [
    "No Op registered for",
    "is not a registered function/op",
    "No opset import for domain",
    "Missing opset in the model",
    "official released onnx opset versions",
    "Unsupported model IR version",
];

/// Why a network was not opened.
fn refused(source: ort::Error) -> EngineError {
    let lacks = source.code() == ErrorCode::NotImplemented;
    if lacks || UNKNOWN.iter().any(|words| source.message().contains(words)) {
        EngineError::Unknown(source)
    } else {
        EngineError::Open(source)
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// A process can have only one.
    pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::load().unwrap());

    #[test]
    fn what_is_no_network_is_refused() {
        let input = TensorInfo { name: "input".to_owned(), shape: vec![1] };
        assert!(matches!(ENGINE.open(b"no network", &input), Err(EngineError::Open(_))));
    }
}
