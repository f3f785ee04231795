//! What is measured: metrics for Prometheus, swaps for whoever wants exact quantiles.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Service, error::ApiError};
use crate::switch::swaps::Swaps;

pub(super) async fn metrics(State(service): State<Arc<Service>>) -> Result<Response, ApiError> {
    let (queue, standing) = (service.lane.length(), service.switch.standing());
    let text = service
        .metrics
        .render(&service.load, queue, &standing, service.clock.now())
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let kind = HeaderValue::from_static(prometheus::TEXT_FORMAT);
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

pub(super) async fn swaps(State(service): State<Arc<Service>>) -> Json<Swaps> {
    Json(service.switch.swaps())
}
