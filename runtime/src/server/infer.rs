//! Inference requests, from the body to the answer. What REST and gRPC share is here too: [`Service::compute`], the only way to
//! the lane.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, Version, header},
    response::{IntoResponse, Response},
};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Service,
    asking::Asking,
    connection::Caller,
    error::ApiError,
    intake::{IntakeError, Taken},
    path::Named,
};
use crate::{
    lane::{Answer, Batch, Deadline, LaneError, fairness::Client},
    metrics::Times,
    protocol::{self, InferenceRequest, JSON_LENGTH_HEADER, Outputs, Rendered, excerpt, largest_body_bytes},
    values::with_element,
    variant::Resident,
};

/// A request to whatever variant serves.
pub(super) async fn infer(
    State(service): State<Arc<Service>>,
    Named(model): Named<String>,
    request: Request,
) -> Response {
    service.answer(Target { model: &model, version: None }, request).await
}

/// A request to one variant, which is answered only while that one serves: the node, not the client, chooses.
pub(super) async fn infer_version(
    State(service): State<Arc<Service>>,
    Named((model, version)): Named<(String, String)>,
    request: Request,
) -> Response {
    service.answer(Target { model: &model, version: Some(&version) }, request).await
}

/// What a request is addressed to.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) model: &'a str,
    pub(super) version: Option<&'a str>,
}

/// Where a request comes from, and the memory that it holds until it is answered.
pub(super) struct Origin {
    pub(super) client: Client,
    /// When its headers had come. A client counts its own timeout from about then.
    pub(super) asked: Instant,
    /// When all of it had come. What the server promises counts from then: it cannot make a sender faster.
    pub(super) read: Instant,
    pub(super) held: Option<OwnedSemaphorePermit>,
}

impl Service {
    async fn answer(self: &Arc<Self>, target: Target<'_>, request: Request) -> Response {
        // HTTP/2 has other means, and forbids this header.
        let may_close = request.version() < Version::HTTP_2;
        let mut asking = Asking::of(self, Instant::now());
        let result = self.attempt(target, request, &mut asking).await;
        asking.conclude(result.as_ref());
        let mut response = result.unwrap_or_else(ApiError::into_response);
        if may_close && self.draining.load(Ordering::Acquire) {
            // The client's next request needs a new connection, which leads to another server.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn attempt(
        &self,
        target: Target<'_>,
        request: Request,
        asking: &mut Asking,
    ) -> Result<Response, ApiError> {
        let active = self.addressed(target)?;
        let (head, body) = request.into_parts();
        let taken = self.intake.read(&head.headers, body, largest_body_bytes(&active.interface)).await;
        let Taken { bytes, held } = taken.map_err(|error| self.turned_away(error))?;
        let (client, asked) = (Caller::of(&head.extensions), asking.asked());
        let origin = Origin { client, asked, read: Instant::now(), held };
        asking.was_read(origin.read);
        let json_length =
            head.headers.get(JSON_LENGTH_HEADER).map(|value| value.to_str().unwrap_or("not text"));
        let mut request = protocol::parse(&bytes, json_length, &active.interface)?;
        drop(bytes);
        let (id, items, raw, read) = (request.id.take(), request.items, request.raw_output, origin.read);
        let answer = self.compute(request, target, origin).await?;
        let response = self.render(&answer, items, id.as_deref(), raw)?;
        self.answered(&answer, read.elapsed());
        drop(answer.held);
        Ok(response)
    }

    /// The variant that serves, if the request may go to it.
    pub(super) fn addressed(&self, target: Target<'_>) -> Result<Arc<Resident>, ApiError> {
        self.expect_model(target.model)?;
        let active = self.switch.active().ok_or_else(|| self.not_computed(&LaneError::NotReady))?;
        match target.version {
            Some(version) if version != active.name().as_str() => {
                let message = format!(
                    "the version \"{}\" does not serve now, \"{}\" does: leave the version out of the request",
                    excerpt(version),
                    active.name()
                );
                Err(ApiError::new(StatusCode::NOT_FOUND, message))
            }
            _ => Ok(active),
        }
    }

    /// A request whose body was not read: nobody knows how many items it would have been, so it counts as one.
    pub(super) fn turned_away(&self, error: IntakeError) -> ApiError {
        if matches!(error, IntakeError::Full) {
            self.load.offered(1, self.clock.now());
        }
        ApiError::from(error)
    }

    /// Computes a request that was read, whichever way it came.
    pub(super) async fn compute(
        &self,
        request: InferenceRequest,
        target: Target<'_>,
        origin: Origin,
    ) -> Result<Answer, ApiError> {
        let InferenceRequest { items, input, timeout, .. } = request;
        let Origin { client, asked, read, held } = origin;
        self.load.offered(items, self.clock.now());
        let memory = input.memory_bytes().saturating_add(self.output_bytes(items));
        let held = self.intake.claim_all(held, memory);
        let held = held.map_err(|error| ApiError::from(error).of(items))?;
        let variant = target.version.map(ToOwned::to_owned);
        // A timeout that no clock can hold is none.
        let deadline =
            timeout.and_then(|timeout| Some(Deadline { at: asked.checked_add(timeout)?, timeout }));
        let computed = self.lane.compute(Batch { items, input, read, client, variant, deadline, held }).await;
        computed.map_err(|error| self.not_computed(&error).of(items))
    }

    /// What the outputs of so many items will take.
    fn output_bytes(&self, items: usize) -> usize {
        let Some(active) = self.switch.active() else { return 0 };
        let size = with_element!(active.interface.output.datatype, T => size_of::<T>());
        active.interface.output_length().saturating_mul(size).saturating_mul(items)
    }

    /// Counts an answer that was ready after so much time.
    pub(super) fn answered(&self, answer: &Answer, whole: Duration) {
        let times = Times { whole, waited: answer.waited, inference: answer.inference };
        self.metrics.answered(answer.variant.name().as_str(), times);
        let in_time = self.lane.objective().is_none_or(|objective| whole <= objective);
        self.objective.record(in_time, self.clock.now());
    }

    /// Why a request was not computed, as its client is told.
    pub(super) fn not_computed(&self, error: &LaneError) -> ApiError {
        ApiError::not_computed(error, self.lane.objective())
    }

    fn render(
        &self,
        answer: &Answer,
        items: usize,
        id: Option<&str>,
        raw: bool,
    ) -> Result<Response, ApiError> {
        let outputs = Outputs {
            model: &self.model,
            variant: answer.variant.name().as_str(),
            id,
            tensor: &answer.variant.interface.output,
            items,
            values: &answer.output,
        };
        let Rendered { body, json_length } = protocol::render(&outputs, raw)?;
        let kind = if raw { "application/octet-stream" } else { "application/json" };
        let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response();
        if let Some(length) = json_length {
            response
                .headers_mut()
                .insert(HeaderName::from_static(JSON_LENGTH_HEADER), HeaderValue::from(length));
        }
        Ok(response)
    }
}
