//! Errors as the protocol writes them: a status, and `{"error": "..."}`.

use std::{error::Error, io, time::Duration};

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tonic::Status;

use super::intake::IntakeError;
use crate::{
    lane::{LaneError, admission::Shed},
    metrics::Outcome,
    protocol::{ProtocolError, RenderError, excerpt},
};

/// Why a request is not answered as its client hoped.
#[derive(Debug)]
pub(super) struct ApiError {
    /// The status.
    pub(super) status: StatusCode,
    /// For a person: what, where, how to mend.
    pub(super) message: String,
    /// Items that were asked for, as far as that was read; the request itself is at least one.
    pub(super) items: usize,
    /// Whether the client's own deadline has passed, for which gRPC has a code of its own.
    pub(super) is_late: bool,
    /// Whether it is a sign of overload: too much is asked for, and not by this request alone.
    pub(super) is_overload: bool,
    /// Whether its connection, or its call, has ended while it was read.
    is_cancelled: bool,
}

#[derive(Serialize)]
struct Body {
    error: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message, items: 1, is_late: false, is_overload: false, is_cancelled: false }
    }

    /// The same, of a request for so many items.
    pub(super) fn of(self, items: usize) -> Self {
        Self { items, ..self }
    }

    /// The error of a request that was `shed` where this `objective` is to be kept.
    pub(super) fn shed(shed: Shed, objective: Option<Duration>) -> Self {
        let (is_late, is_overload) = (matches!(shed, Shed::Deadline { .. }), shed.is_overload(objective));
        Self { is_late, is_overload, ..Self::new(StatusCode::TOO_MANY_REQUESTS, shed.to_string()) }
    }

    /// The error of a request that was not computed where this `objective` is to be kept.
    pub(super) fn not_computed(error: &LaneError, objective: Option<Duration>) -> Self {
        let status = match error {
            LaneError::Shed(shed) => return Self::shed(*shed, objective),
            LaneError::NotReady | LaneError::Changed | LaneError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            LaneError::Engine(source) => {
                tracing::error!(error = crate::chain::chain(source), "an inference failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error.to_string())
    }

    /// As what the request counts.
    pub(super) fn outcome(&self) -> Outcome {
        match self.status {
            _ if self.is_cancelled => Outcome::Cancelled,
            StatusCode::TOO_MANY_REQUESTS => Outcome::Shed,
            status if status.is_client_error() => Outcome::Invalid,
            _ => Outcome::Failed,
        }
    }
}

impl From<ProtocolError> for ApiError {
    fn from(error: ProtocolError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<RenderError> for ApiError {
    fn from(error: RenderError) -> Self {
        let status = match error {
            RenderError::NotFinite { .. } => StatusCode::NOT_ACCEPTABLE,
            RenderError::Json(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        let status = match &error {
            IntakeError::TooLarge { .. } | IntakeError::TooMuch { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            IntakeError::TooSlow | IntakeError::Displaced => StatusCode::REQUEST_TIMEOUT,
            IntakeError::Full => StatusCode::TOO_MANY_REQUESTS,
            IntakeError::Encoded { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            IntakeError::Broken(_) => StatusCode::BAD_REQUEST,
        };
        let is_overload = matches!(error, IntakeError::Full);
        let is_cancelled = matches!(&error, IntakeError::Broken(source) if has_left(source));
        Self { is_overload, is_cancelled, ..Self::new(status, error.to_string()) }
    }
}

/// Whether a body that broke off did so because nobody sends it any more, and not because it is none by the rules of its protocol.
fn has_left(error: &axum::Error) -> bool {
    let mut sources = std::iter::successors(error.source(), |&error| error.source());
    !sources.any(|error| {
        let kind = error.downcast_ref().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
    })
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(Body { error: self.message })).into_response()
    }
}

/// The answer to a path that does not exist.
pub(super) async fn no_such_route(uri: Uri) -> ApiError {
    let message = format!(
        "there is nothing at {}: POST /v2/models/NAME/infer is what you may look for",
        excerpt(uri.path())
    );
    ApiError::new(StatusCode::NOT_FOUND, message)
}

/// The answer to who was to show a certificate, and has not.
pub(super) async fn no_certificate(headers: HeaderMap) -> Response {
    let message = "this server serves clients with a certificate of its client authority: show one in the TLS handshake";
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return Status::unauthenticated(message).into_http();
    }
    ApiError::new(StatusCode::FORBIDDEN, message).into_response()
}

/// The answer to a method that a path does not have.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!(
        "{} cannot be asked for by {method}: infer, index, load and unload by POST, all else by GET",
        excerpt(uri.path())
    );
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}
