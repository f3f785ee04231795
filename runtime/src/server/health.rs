//! Liveness, readiness and metadata, of the server and of the model.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Service, error::ApiError, path::Named};
use crate::protocol::{TensorMetadata, excerpt, metadata_tensor};

/// What the server calls itself.
pub(super) const NAME: &str = "dnnshifter-runtime";

/// What it does beyond the protocol.
pub(super) const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "model_repository"];

/// The protocol's name for what computes (`inference_grpc.md`, "Platforms"). Triton has its own, `onnxruntime_onnx`; but that is for its
/// configuration files: neither its clients nor those of `KServe` look at the platform in metadata.
const PLATFORM: &str = "onnx_onnxv1";

/// A model's metadata.
#[derive(Serialize)]
pub(super) struct ModelMetadata {
    pub(super) name: String,
    /// The variants, the most accurate first: all of them, though only the one that serves answers inference requests. Metadata and readiness may
    /// be asked of each, and there is no other standard way to see what a node has.
    pub(super) versions: Vec<String>,
    pub(super) platform: &'static str,
    pub(super) inputs: Vec<TensorMetadata>,
    pub(super) outputs: Vec<TensorMetadata>,
}

pub(super) async fn server() -> Json<Value> {
    Json(json!({
        "name": NAME,
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": EXTENSIONS,
    }))
}

pub(super) async fn live(State(service): State<Arc<Service>>) -> (StatusCode, Json<Value>) {
    readiness("live", service.alive())
}

pub(super) async fn ready(State(service): State<Arc<Service>>) -> (StatusCode, Json<Value>) {
    readiness("ready", service.ready())
}

pub(super) async fn model(
    State(service): State<Arc<Service>>,
    Named(model): Named<String>,
) -> Result<Json<ModelMetadata>, ApiError> {
    service.expect_model(&model)?;
    service.metadata().map(Json)
}

pub(super) async fn version(
    State(service): State<Arc<Service>>,
    Named((model, version)): Named<(String, String)>,
) -> Result<Json<ModelMetadata>, ApiError> {
    service.expect_version(&model, &version)?;
    service.metadata().map(Json)
}

pub(super) async fn model_ready(
    State(service): State<Arc<Service>>,
    Named(model): Named<String>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    service.expect_model(&model)?;
    Ok(model_readiness(&model, service.ready()))
}

pub(super) async fn version_ready(
    State(service): State<Arc<Service>>,
    Named((model, version)): Named<(String, String)>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    service.expect_version(&model, &version)?;
    Ok(model_readiness(&model, service.serves(&version)))
}

impl Service {
    /// Whether this version answers now.
    pub(super) fn serves(&self, version: &str) -> bool {
        self.ready() && self.switch.active().is_some_and(|active| active.name().as_str() == version)
    }

    /// Refuses a request to a version that the model does not have.
    pub(super) fn expect_version(&self, model: &str, version: &str) -> Result<(), ApiError> {
        self.expect_model(model)?;
        if self.switch.standing().order.iter().any(|variant| variant.as_str() == version) {
            return Ok(());
        }
        let message = format!(
            "the model has no version \"{}\": see /v2/models/{model} for its versions",
            excerpt(version)
        );
        Err(ApiError::new(StatusCode::NOT_FOUND, message))
    }

    /// Refuses a request to another model.
    pub(super) fn expect_model(&self, model: &str) -> Result<(), ApiError> {
        if model == self.model {
            return Ok(());
        }
        let message =
            format!("there is no model \"{}\" here: this server serves \"{}\"", excerpt(model), self.model);
        Err(ApiError::new(StatusCode::NOT_FOUND, message))
    }

    /// What the model is, as far as a variant of it is loaded.
    pub(super) fn metadata(&self) -> Result<ModelMetadata, ApiError> {
        let not_ready =
            || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no variant is loaded yet: ask again later");
        let active = self.switch.active().ok_or_else(not_ready)?;
        Ok(ModelMetadata {
            name: self.model.clone(),
            versions: self.switch.standing().order.iter().map(ToString::to_string).collect(),
            platform: PLATFORM,
            inputs: vec![metadata_tensor(&active.interface.input)],
            outputs: vec![metadata_tensor(&active.interface.output)],
        })
    }
}

fn readiness(what: &str, ready: bool) -> (StatusCode, Json<Value>) {
    (status(ready), Json(json!({ what: ready })))
}

/// That of a model names it (`inference_rest.md`, "Model Ready Response JSON Object").
fn model_readiness(model: &str, ready: bool) -> (StatusCode, Json<Value>) {
    (status(ready), Json(json!({ "name": model, "ready": ready })))
}

fn status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
