//! Inference requests, from the body to the answer.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use axum::{
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Service, error::ApiError};
use crate::{
    lane::{Answer, Batch},
    metrics::Outcome,
    protocol::{self, InferenceRequest, JSON_LENGTH_HEADER, Outputs, Rendered},
    variant::Resident,
};

type Body = Result<Bytes, BytesRejection>;

/// A request to whatever variant serves.
pub(super) async fn infer(
    State(service): State<Arc<Service>>,
    Path(model): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    service.answer(Target { model: &model, version: None }, &headers, body).await
}

/// A request to one variant, which is answered only while that one serves: the node, not the client, chooses.
pub(super) async fn infer_version(
    State(service): State<Arc<Service>>,
    Path((model, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    service.answer(Target { model: &model, version: Some(&version) }, &headers, body).await
}

/// What a request is addressed to.
struct Target<'a> {
    model: &'a str,
    version: Option<&'a str>,
}

impl Service {
    async fn answer(&self, target: Target<'_>, headers: &HeaderMap, body: Body) -> Response {
        let arrived = Instant::now();
        let mut items = 0;
        let result = self.attempt(target, headers, body, arrived, &mut items).await;
        let elapsed = arrived.elapsed();
        let outcome = result.as_ref().map_or_else(ApiError::outcome, |_| Outcome::Answered);
        self.metrics.ended(outcome, items);
        if outcome != Outcome::Invalid {
            let in_time = self.lane.objective().is_none_or(|objective| elapsed <= objective);
            self.objective.record(outcome == Outcome::Answered && in_time, self.clock.now());
        }
        let mut response = result.unwrap_or_else(ApiError::into_response);
        if self.draining.load(Ordering::Acquire) {
            // The client's next request needs a new connection, which leads to another server.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn attempt(
        &self,
        target: Target<'_>,
        headers: &HeaderMap,
        body: Body,
        arrived: Instant,
        items: &mut usize,
    ) -> Result<Response, ApiError> {
        let active = self.addressed(&target)?;
        let body = body.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
        let json_length = headers.get(JSON_LENGTH_HEADER).map(|value| value.to_str().unwrap_or("not text"));
        let request = protocol::parse(&body, json_length, &active.interface)?;
        drop(body);
        let InferenceRequest { id, input, binary_output, .. } = request;
        *items = request.items;
        self.load.offered(request.items, self.clock.now());
        let variant = target.version.map(|_| active.name().clone());
        let batch = Batch { items: request.items, input, arrived, variant };
        let answer = self.lane.compute(batch).await?;
        let variant = answer.variant.name().as_str();
        self.metrics.answered(variant, arrived.elapsed().as_secs_f64(), answer.inference.as_secs_f64());
        self.render(&answer, request.items, id.as_deref(), binary_output)
    }

    /// The variant that serves, if the request may go to it.
    fn addressed(&self, target: &Target<'_>) -> Result<Arc<Resident>, ApiError> {
        self.expect_model(target.model)?;
        let not_ready =
            || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, crate::lane::LaneError::NotReady.to_string());
        let active = self.switch.active().ok_or_else(not_ready)?;
        match target.version {
            Some(version) if version != active.name().as_str() => {
                let message = format!(
                    "the version \"{version}\" does not serve now, \"{}\" does: leave the version out of the path",
                    active.name()
                );
                Err(ApiError::new(StatusCode::NOT_FOUND, message))
            }
            _ => Ok(active),
        }
    }

    fn render(
        &self,
        answer: &Answer,
        items: usize,
        id: Option<&str>,
        binary: bool,
    ) -> Result<Response, ApiError> {
        let outputs = Outputs {
            model: &self.model,
            variant: answer.variant.name().as_str(),
            id,
            tensor: &answer.variant.interface.output,
            items,
            values: &answer.output,
        };
        let failed =
            |error: serde_json::Error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        let Rendered { body, json_length } = protocol::render(&outputs, binary).map_err(failed)?;
        let kind = if binary { "application/octet-stream" } else { "application/json" };
        let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response();
        if let Some(length) = json_length {
            response
                .headers_mut()
                .insert(HeaderName::from_static(JSON_LENGTH_HEADER), HeaderValue::from(length));
        }
        Ok(response)
    }
}
