//! What a path names: taken apart as `axum` does it, refused as the protocol does it.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// The parameters of a path, percent-decoded.
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let named = Path::from_request_parts(parts, state).await;
        named.map(|Path(named)| Self(named)).map_err(|refused| {
            let message = format!("{}: send names as percent-encoded UTF-8", refused.body_text());
            ApiError::new(refused.status(), message)
        })
    }
}
