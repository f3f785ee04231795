//! The model repository extension (of Triton and `MLServer`): which variants there are, and which is to serve.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use bytes::Bytes;
use dnnshifter_portfolio::VariantName;
use serde::{Deserialize, Serialize};

use super::{Chooser, Service, error::ApiError, path::Named};
use crate::{
    protocol::excerpt,
    switch::{Slot, Standing, Wanted},
};

/// Reason of a variant that a client has asked for.
pub(crate) const REQUESTED: &str = "Requested";

/// Why a variant is not loaded that a client has unloaded.
const UNLOADED: &str = "unloaded by a client: it is loaded again once it is to serve";

/// A variant that is not loaded yet is waited for so long.
const LONGEST_LOAD: Duration = Duration::from_mins(1);

/// A request to load or unload names a variant, and nothing else that is read.
const LARGEST_REQUEST_BYTES: usize = 64 << 10;

/// State of a variant that is loaded, as Triton calls it.
const READY: &str = "READY";

/// A variant in the index.
#[derive(Serialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) state: &'static str,
    pub(super) reason: String,
}

/// Of a request for the index; without a body, all variants are in it.
#[derive(Default, Deserialize)]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

#[derive(Deserialize)]
struct NamingRequest {
    parameters: Parameters,
}

/// What is read of the parameters of a request to load or unload.
#[derive(Deserialize)]
pub(super) struct Parameters {
    /// The variant.
    pub(super) version: Option<String>,
    /// JSON with the same field: Triton's clients have no other parameter that says which.
    pub(super) config: Option<String>,
}

#[derive(Deserialize)]
struct Config {
    version: String,
}

/// The variants, the most accurate first.
pub(super) async fn index(
    State(service): State<Arc<Service>>,
    request: Request,
) -> Result<Json<Vec<Entry>>, ApiError> {
    let body = service.small_body(request).await?;
    let request = if body.is_empty() { Ok(IndexRequest::default()) } else { serde_json::from_slice(&body) };
    let IndexRequest { ready } = request.map_err(|error| {
        let message =
            format!("no request for the index: {}; send {{\"ready\": true}}", excerpt(&error.to_string()));
        ApiError::new(StatusCode::BAD_REQUEST, message)
    })?;
    Ok(Json(service.repository(ready)))
}

/// Lets the variant that the parameters name serve; answers once it does.
pub(super) async fn load(
    State(service): State<Arc<Service>>,
    Named(model): Named<String>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let received = Instant::now();
    let parameters = service.parameters(&model, request).await?;
    service.load(parameters, received).await.map(|()| StatusCode::OK)
}

/// Gives the memory back of the variant that the parameters name.
pub(super) async fn unload(
    State(service): State<Arc<Service>>,
    Named(model): Named<String>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let parameters = service.parameters(&model, request).await?;
    service.unload(parameters).map(|()| StatusCode::OK)
}

impl Parameters {
    fn variant(self) -> Result<VariantName, ApiError> {
        let Self { version, config } = self;
        let config = || config.map(|config| serde_json::from_str(&config).map(|Config { version }| version));
        let version = match version.map(Ok).or_else(config) {
            Some(version) => version.map_err(|error| unnamed(&error.to_string()))?,
            None => return Err(unnamed("there is no parameter \"version\"")),
        };
        VariantName::parse(&version).map_err(|error| unnamed(&error.to_string()))
    }
}

fn unnamed(why: &str) -> ApiError {
    let message =
        format!("no variant is named: {}; send {{\"parameters\": {{\"version\": \"NAME\"}}}}", excerpt(why));
    ApiError::new(StatusCode::BAD_REQUEST, message)
}

impl Service {
    /// The variants, the most accurate first; or only those that are loaded.
    pub(super) fn repository(&self, only_ready: bool) -> Vec<Entry> {
        let standing = self.switch.standing();
        let active = standing.active.as_ref().map(|active| &active.variant);
        let entries = standing.order.iter().map(|variant| {
            let (state, reason) = match standing.slots.get(variant) {
                Some(Slot::Resident(..)) if Some(variant) == active => (READY, "serves".to_owned()),
                Some(Slot::Resident(..)) => (READY, "loaded, and warm".to_owned()),
                Some(Slot::Refused(why)) => ("UNAVAILABLE", why.clone()),
                Some(Slot::Pending) | None => ("LOADING", String::new()),
            };
            Entry { name: self.model.clone(), version: variant.to_string(), state, reason }
        });
        entries.filter(|entry| !only_ready || entry.state == READY).collect()
    }

    /// Refuses clients where the placement chooses, and those that ask for another model.
    pub(super) fn expect_choice(&self, model: &str) -> Result<(), ApiError> {
        self.expect_model(model)?;
        match self.chooser {
            Chooser::Clients => Ok(()),
            Chooser::Placement => {
                let message = "the variant is chosen by the VariantPlacement of this node: set spec.switching.pin of the ModelPortfolio";
                Err(ApiError::new(StatusCode::FORBIDDEN, message))
            }
        }
    }

    /// Lets a variant serve, and returns once it does. The decision was `received` then.
    pub(super) async fn load(&self, parameters: Parameters, received: Instant) -> Result<(), ApiError> {
        let (variant, standing) = self.named(parameters)?;
        let wanted = Wanted { variant: variant.clone(), reason: REQUESTED.to_owned(), is_ceiling: false };
        // Whoever asks may have mended what was refused.
        self.switch.try_again(&variant, received);
        self.switch.direct(&standing.order, Some(wanted), received);
        self.wait_for(&variant).await
    }

    /// Gives the memory of a variant back, which must not serve. It is loaded again once it is to serve.
    pub(super) fn unload(&self, parameters: Parameters) -> Result<(), ApiError> {
        let (variant, standing) = self.named(parameters)?;
        if standing.active.is_some_and(|active| active.variant == variant) {
            let message = format!("the version \"{variant}\" serves: load another one first");
            return Err(ApiError::new(StatusCode::CONFLICT, message));
        }
        self.switch.no_room(&variant, UNLOADED.to_owned());
        Ok(())
    }

    /// The variant that is named, which must be one of the model's.
    fn named(&self, parameters: Parameters) -> Result<(VariantName, Standing), ApiError> {
        let variant = parameters.variant()?;
        let standing = self.switch.standing();
        if standing.order.contains(&variant) {
            return Ok((variant, standing));
        }
        let message = format!("the model has no version \"{variant}\": see POST /v2/repository/index");
        Err(ApiError::new(StatusCode::NOT_FOUND, message))
    }

    async fn parameters(&self, model: &str, request: Request) -> Result<Parameters, ApiError> {
        self.expect_choice(model)?;
        let body = self.small_body(request).await?;
        serde_json::from_slice(&body)
            .map(|NamingRequest { parameters }| parameters)
            .map_err(|error| unnamed(&error.to_string()))
    }

    async fn small_body(&self, request: Request) -> Result<Bytes, ApiError> {
        let (head, body) = request.into_parts();
        Ok(self.intake.read(&head.headers, body, LARGEST_REQUEST_BYTES).await?.bytes.freeze())
    }

    /// Returns once the variant serves, or will not: it is refused, or another client has asked for another one.
    async fn wait_for(&self, variant: &VariantName) -> Result<(), ApiError> {
        let mut changes = self.switch.changes();
        let settled = async {
            loop {
                changes.mark_unchanged();
                if let Some(outcome) = outcome_of_loading(variant, &self.switch.standing()) {
                    return outcome;
                }
                if changes.changed().await.is_err() {
                    return Err(ApiError::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "the server is shutting down",
                    ));
                }
            }
        };
        let too_long = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the variant is still being loaded");
        tokio::time::timeout(LONGEST_LOAD, settled).await.unwrap_or_else(|_| Err(too_long()))
    }
}

/// What became of a variant that is to serve; `None` while it is loaded.
fn outcome_of_loading(variant: &VariantName, standing: &Standing) -> Option<Result<(), ApiError>> {
    if standing.active.as_ref().is_some_and(|active| active.variant == *variant) {
        return Some(Ok(()));
    }
    let other = standing.wanted.as_ref().map(|wanted| &wanted.variant).filter(|wanted| *wanted != variant);
    if let Some(other) = other {
        let message = format!(
            "another request has asked for the version \"{other}\" meanwhile: \"{variant}\" does not come to serve"
        );
        return Some(Err(ApiError::new(StatusCode::CONFLICT, message)));
    }
    match standing.slots.get(variant) {
        Some(Slot::Refused(why)) => Some(Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, why.clone()))),
        Some(Slot::Pending | Slot::Resident(..)) | None => None,
    }
}
