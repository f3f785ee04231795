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

/// A variant in the index.
#[derive(Serialize)]
pub(super) struct Entry {
    name: String,
    version: String,
    state: &'static str,
    reason: String,
}

#[derive(Deserialize)]
struct LoadRequest {
    parameters: LoadParameters,
}

#[derive(Deserialize)]
struct LoadParameters {
    version: String,
}

/// All variants, the most accurate first.
pub(super) async fn index(State(service): State<Arc<Service>>) -> Json<Vec<Entry>> {
    let standing = service.switch.standing();
    let active = standing.active.as_ref().map(|active| &active.variant);
    let entries = standing.order.iter().map(|variant| {
        let (state, reason) = match standing.slots.get(variant) {
            Some(Slot::Resident(..)) if Some(variant) == active => ("READY", "serves".to_owned()),
            Some(Slot::Resident(..)) => ("READY", "loaded, and warm".to_owned()),
            Some(Slot::Refused(why)) => ("UNAVAILABLE", why.clone()),
            Some(Slot::Pending) | None => ("LOADING", String::new()),
        };
        Entry { name: service.model.clone(), version: variant.to_string(), state, reason }
    });
    Json(entries.collect())
}

/// Lets the variant that the parameter `version` names serve; answers once it does.
pub(super) async fn load(
    State(service): State<Arc<Service>>,
    Named(model): Named<String>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let received = Instant::now();
    let (variant, standing) = service.named(&model, request).await?;
    let wanted = Wanted { variant: variant.clone(), reason: REQUESTED.to_owned() };
    service.switch.direct(&standing.order, Some(wanted), received);
    service.wait_for(&variant).await.map(|()| StatusCode::OK)
}

/// Gives the memory back of the variant that the parameter `version` names, which must not serve. It is loaded again once it is to
/// serve.
pub(super) async fn unload(
    State(service): State<Arc<Service>>,
    Named(model): Named<String>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let (variant, standing) = service.named(&model, request).await?;
    if standing.active.is_some_and(|active| active.variant == variant) {
        let message = format!("the version \"{variant}\" serves: load another one first");
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    service.switch.no_room(&variant, UNLOADED.to_owned());
    Ok(StatusCode::OK)
}

fn requested(body: &[u8]) -> Result<VariantName, ApiError> {
    let wrong = |what: String| {
        let message = format!("{what}; send {{\"parameters\": {{\"version\": \"NAME\"}}}}");
        ApiError::new(StatusCode::BAD_REQUEST, message)
    };
    let request: LoadRequest = serde_json::from_slice(body)
        .map_err(|error| wrong(format!("no variant is named: {}", excerpt(&error.to_string()))))?;
    VariantName::parse(&request.parameters.version).map_err(|error| wrong(excerpt(&error.to_string())))
}

impl Service {
    /// The variant that a request of a client names, which must be one of the model's.
    async fn named(&self, model: &str, request: Request) -> Result<(VariantName, Standing), ApiError> {
        self.expect_model(model)?;
        if self.chooser == Chooser::Placement {
            let message = "the variant is chosen by the VariantPlacement of this node: set spec.switching.pin of the ModelPortfolio";
            return Err(ApiError::new(StatusCode::FORBIDDEN, message));
        }
        let (head, body) = request.into_parts();
        let body = self.intake.read(&head.headers, body, LARGEST_REQUEST_BYTES).await?;
        let variant = requested(&body.bytes)?;
        let standing = self.switch.standing();
        if standing.order.contains(&variant) {
            return Ok((variant, standing));
        }
        let message = format!("the model has no version \"{variant}\": see POST /v2/repository/index");
        Err(ApiError::new(StatusCode::NOT_FOUND, message))
    }

    async fn wait_for(&self, variant: &VariantName) -> Result<(), ApiError> {
        let mut changes = self.switch.changes();
        let settled = async {
            loop {
                changes.mark_unchanged();
                let standing = self.switch.standing();
                if standing.active.is_some_and(|active| active.variant == *variant) {
                    return Ok(());
                }
                if let Some(Slot::Refused(why)) = standing.slots.get(variant) {
                    return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, why.clone()));
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
