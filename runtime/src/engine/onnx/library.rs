//! The library of ONNX Runtime: where it is, and how it is started.

use std::env;

use ort::environment::{Environment, EnvironmentBuilder, GlobalThreadPoolOptions};

use crate::engine::EngineError;

/// The variable that names it, as `ort` itself reads it.
const VARIABLE: &str = "ORT_DYLIB_PATH";
/// What the dynamic loader looks for if the variable is not set.
const DEFAULT: &str = "libonnxruntime.so.1";

/// The library's path, or the name that the dynamic loader looks for.
pub(super) fn path() -> String {
    env::var(VARIABLE).ok().filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT.to_owned())
}

/// Loads the library, and makes the engine's only environment of this process. Without the first, `ort` would look for a library
/// by itself, and panic where there is none.
pub(in crate::engine) fn environment(threads: usize) -> Result<Environment, EngineError> {
    let path = path();
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
