//! The HTTP side: routes, and what they share. What a request means is in the modules below, how many connections
//! there may be in [`listen`], what becomes of each in [`connection`]; what is computed, in the [`Lane`].

mod asking;
mod connection;
pub(crate) mod cost;
mod error;
mod front;
mod grpc;
mod health;
mod infer;
mod intake;
mod listen;
mod observe;
mod path;
mod reflection;
mod repository;
mod tls;
mod trace;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use axum::{
    Router, middleware,
    routing::{get, post},
};

pub(crate) use self::{
    front::Front,
    intake::Intake,
    listen::serve,
    repository::REQUESTED,
    tls::{Tls, TlsError, TlsFiles},
};
use crate::{
    clock::Clock, lane::Lane, load::LoadMeter, metrics::Metrics, objective::ObjectiveMeter, switch::Switch,
};

/// Who chooses the variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chooser {
    /// Clients, by the model repository extension.
    Clients,
    /// The placement in Kubernetes.
    Placement,
}

/// Everything that requests need.
pub(crate) struct Service {
    /// The model's name, which stays the same whatever variant answers.
    pub(crate) model: String,
    /// Who chooses the variant.
    pub(crate) chooser: Chooser,
    /// Which variant serves.
    pub(crate) switch: Arc<Switch>,
    /// Computes.
    pub(crate) lane: Arc<Lane>,
    /// Reads bodies.
    pub(crate) intake: Intake,
    /// Counts.
    pub(crate) metrics: Arc<Metrics>,
    /// Counts what is asked for.
    pub(crate) load: LoadMeter,
    /// Counts what is in time.
    pub(crate) objective: ObjectiveMeter,
    /// The clock of the two meters.
    pub(crate) clock: Clock,
    /// Whether the process is about to end.
    pub(crate) draining: AtomicBool,
    /// The thread that loads variants, where there is one.
    pub(crate) keeper: OnceLock<JoinHandle<()>>,
}

impl Service {
    /// A service that has not served yet.
    pub(crate) fn new(
        model: String,
        chooser: Chooser,
        (switch, lane, intake): (Arc<Switch>, Arc<Lane>, Intake),
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            model,
            chooser,
            switch,
            lane,
            intake,
            metrics,
            load: LoadMeter::default(),
            objective: ObjectiveMeter::default(),
            clock: Clock::start(),
            draining: AtomicBool::new(false),
            keeper: OnceLock::new(),
        })
    }

    /// Whether the threads beside the server are there, and no inference is stuck; else only a new process helps.
    pub(crate) fn alive(&self) -> bool {
        self.lane.is_alive()
            && !self.lane.is_stuck()
            && self.keeper.get().is_none_or(|keeper| !keeper.is_finished())
    }

    /// Whether requests should be sent here: a variant answers, and the process is not about to end.
    pub(crate) fn ready(&self) -> bool {
        self.alive() && !self.draining.load(Ordering::Acquire) && self.switch.active().is_some()
    }
}

/// All routes.
pub(crate) fn router(service: Arc<Service>) -> Router {
    reflection::with_reflection(Router::new())
        .route("/v2", get(health::server))
        // As `open_inference_rest.yaml` has it.
        .route("/v2/", get(health::server))
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .route("/v2/models/{model}", get(health::model))
        .route("/v2/models/{model}/ready", get(health::model_ready))
        .route("/v2/models/{model}/infer", post(infer::infer))
        .route("/v2/models/{model}/versions/{version}", get(health::version))
        .route("/v2/models/{model}/versions/{version}/ready", get(health::version_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer::infer_version))
        .route("/v2/repository/index", post(repository::index))
        .route("/v2/repository/models/{model}/load", post(repository::load))
        .route("/v2/repository/models/{model}/unload", post(repository::unload))
        .route("/inference.GRPCInferenceService/{method}", post(grpc::call))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(observe::metrics))
        .route("/swaps", get(observe::swaps))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(middleware::from_fn(trace::follow))
        .with_state(service)
}

/// The routes for those who were to show a certificate, and have not: probes, since the kubelet has none to show.
pub(crate) fn router_for_the_unknown(service: Arc<Service>) -> Router {
    Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(error::no_certificate)
        .method_not_allowed_fallback(error::no_such_method)
        .with_state(service)
}

#[cfg(test)]
mod tests;
