//! Server reflection of gRPC: tools such as `grpcurl` ask the server for its protocol instead of being given a file.
//!
//! Questions come one after the other on a stream, as the one kind of call here that is not unary; so the stream has an end of its
//! own, however long its client would keep it.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use tokio::time::sleep;
use tonic_reflection::server::Builder;
use tower::{Service, ServiceExt};

/// The services and messages, as `protoc --descriptor_set_out` writes them.
const DESCRIPTORS: &[u8] = include_bytes!("../../proto/open_inference.binpb");

/// Questions are names.
const LARGEST_QUESTION_BYTES: usize = 4 << 10;

/// A client has asked all that it wants to know long before.
const LONGEST_STREAM: Duration = Duration::from_secs(10);

/// Adds the two versions of reflection that tools speak.
pub(super) fn with_reflection<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let builder = || Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let (current, earlier) = (builder().build_v1(), builder().build_v1alpha());
    match (current, earlier) {
        (Ok(current), Ok(earlier)) => router
            .route_service(
                "/grpc.reflection.v1.ServerReflection/{method}",
                bounded(current.max_decoding_message_size(LARGEST_QUESTION_BYTES)),
            )
            .route_service(
                "/grpc.reflection.v1alpha.ServerReflection/{method}",
                bounded(earlier.max_decoding_message_size(LARGEST_QUESTION_BYTES)),
            ),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "the descriptors of the protocol are damaged: there is no reflection");
            router
        }
    }
}

/// The service, with an end of the stream of questions.
fn bounded<S>(
    service: S,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
where
    S: Service<Request, Error = Infallible, Response: IntoResponse, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    service.map_response(IntoResponse::into_response).map_request(|request: Request| {
        request.map(|body| Body::from_stream(body.into_data_stream().take_until(sleep(LONGEST_STREAM))))
    })
}
