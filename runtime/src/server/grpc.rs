//! Requests over gRPC: the same service as over REST, on the same port, with the same limits.
//!
//! All calls are unary, so a call's body is read as every other body is, and only then given to `tonic`, which knows the framing.

mod repository;

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::Response,
};
use parking_lot::Mutex;
use tokio::time::timeout;
use tonic::{Code, Status};
use tower::ServiceExt;

use super::{
    Service,
    asking::Asking,
    connection::Caller,
    error::ApiError,
    health::{EXTENSIONS, NAME},
    infer::{Origin, Target},
    intake::Taken,
};
use crate::{
    lane::{LaneError, admission::Shed},
    metrics::Outcome,
    protocol::{
        Outputs, TensorMetadata,
        grpc::{deadline, expect_modest, read, write},
        inference::{
            ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
            ModelReadyRequest, ModelReadyResponse, RepositoryIndexRequest, RepositoryIndexResponse,
            RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelUnloadRequest,
            RepositoryModelUnloadResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest,
            ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
            grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer},
            model_metadata_response,
        },
        largest_body_bytes, most_values,
    },
};

/// The largest message with no tensors: questions are small.
const SMALL_BYTES: usize = 64 << 10;

/// Before each message of gRPC: a byte that says whether it is compressed, and four of its length.
const PREFIX_BYTES: usize = 5;

/// One call, with what is known before it is decoded.
struct Call {
    service: Arc<Service>,
    /// Of an inference.
    inference: Mutex<Option<(Asking, Origin)>>,
}

/// Everything below `/inference.GRPCInferenceService/`.
pub(super) async fn call(State(service): State<Arc<Service>>, request: Request) -> Response {
    let asked = Instant::now();
    let (head, body) = request.into_parts();
    let infers = head.uri.path().ends_with("/ModelInfer");
    let mut asking = infers.then(|| Asking::of(&service, asked));
    let Read { taken: Taken { bytes, held }, limit } = match service.read(&head, body, infers).await {
        Ok(read) => read,
        Err(error) => {
            if let Some(asking) = asking {
                asking.conclude::<Read>(Err(&error));
            }
            return Status::from(error).into_http();
        }
    };
    let origin = Origin { client: Caller::of(&head.extensions), asked, read: Instant::now(), held };
    if let Some(asking) = &mut asking {
        asking.was_read(origin.read);
        // Where the message cannot be decoded, nobody is called.
        asking.otherwise(Outcome::Invalid);
    }
    let call = Call { service, inference: Mutex::new(asking.map(|asking| (asking, origin))) };
    let server = GrpcInferenceServiceServer::new(call).max_decoding_message_size(limit);
    match server.oneshot(Request::from_parts(head, Body::from(bytes.freeze()))).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// A call's message, which may be so long.
struct Read {
    taken: Taken,
    limit: usize,
}

impl Service {
    async fn read(&self, head: &Parts, body: Body, infers: bool) -> Result<Read, ApiError> {
        if !infers {
            let taken = self.intake.read(&head.headers, body, SMALL_BYTES).await;
            return Ok(Read { taken: taken?, limit: SMALL_BYTES });
        }
        // Without tensors to compare with, nobody knows how long it may be.
        let active = self.switch.active().ok_or_else(|| self.not_computed(&LaneError::NotReady))?;
        let limit = largest_body_bytes(&active.interface);
        let taken = self.intake.read(&head.headers, body, limit).await;
        let taken = taken.map_err(|error| self.turned_away(error))?;
        // A message that is compressed, as its first byte says, is refused by `tonic` unread.
        if let Some(([0, ..], message)) = taken.bytes.split_at_checked(PREFIX_BYTES) {
            expect_modest(message, most_values(&active.interface))?;
        }
        Ok(Read { taken, limit })
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Call {
    async fn server_live(
        &self,
        _request: tonic::Request<ServerLiveRequest>,
    ) -> Result<tonic::Response<ServerLiveResponse>, Status> {
        Ok(tonic::Response::new(ServerLiveResponse { live: self.service.alive() }))
    }

    async fn server_ready(
        &self,
        _request: tonic::Request<ServerReadyRequest>,
    ) -> Result<tonic::Response<ServerReadyResponse>, Status> {
        Ok(tonic::Response::new(ServerReadyResponse { ready: self.service.ready() }))
    }

    async fn model_ready(
        &self,
        request: tonic::Request<ModelReadyRequest>,
    ) -> Result<tonic::Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        self.expect(&name, &version)?;
        let ready = if version.is_empty() { self.service.ready() } else { self.service.serves(&version) };
        Ok(tonic::Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _request: tonic::Request<ServerMetadataRequest>,
    ) -> Result<tonic::Response<ServerMetadataResponse>, Status> {
        Ok(tonic::Response::new(ServerMetadataResponse {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.iter().copied().map(ToOwned::to_owned).collect(),
        }))
    }

    async fn model_metadata(
        &self,
        request: tonic::Request<ModelMetadataRequest>,
    ) -> Result<tonic::Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        self.expect(&name, &version)?;
        let metadata = self.service.metadata()?;
        Ok(tonic::Response::new(ModelMetadataResponse {
            name: metadata.name,
            versions: metadata.versions,
            platform: metadata.platform.to_owned(),
            inputs: metadata.inputs.into_iter().map(tensor).collect(),
            outputs: metadata.outputs.into_iter().map(tensor).collect(),
        }))
    }

    async fn model_infer(
        &self,
        request: tonic::Request<ModelInferRequest>,
    ) -> Result<tonic::Response<ModelInferResponse>, Status> {
        let inference = self.inference.lock().take();
        let (mut asking, origin) = inference.ok_or_else(|| Status::internal("a call has one request"))?;
        asking.otherwise(Outcome::Cancelled);
        let result = self.attempt(request, origin).await;
        asking.conclude(result.as_ref());
        Ok(tonic::Response::new(result?))
    }

    async fn repository_index(
        &self,
        request: tonic::Request<RepositoryIndexRequest>,
    ) -> Result<tonic::Response<RepositoryIndexResponse>, Status> {
        Ok(tonic::Response::new(self.index(&request.into_inner())))
    }

    async fn repository_model_load(
        &self,
        request: tonic::Request<RepositoryModelLoadRequest>,
    ) -> Result<tonic::Response<RepositoryModelLoadResponse>, Status> {
        self.load(request.into_inner()).await?;
        Ok(tonic::Response::new(RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: tonic::Request<RepositoryModelUnloadRequest>,
    ) -> Result<tonic::Response<RepositoryModelUnloadResponse>, Status> {
        self.unload(request.into_inner())?;
        Ok(tonic::Response::new(RepositoryModelUnloadResponse {}))
    }
}

impl Call {
    async fn attempt(
        &self,
        request: tonic::Request<ModelInferRequest>,
        origin: Origin,
    ) -> Result<ModelInferResponse, ApiError> {
        let (asked, read_at) = (origin.asked, origin.read);
        let patience = request.metadata().get("grpc-timeout").and_then(|text| deadline(text.to_str().ok()?));
        let mut message = request.into_inner();
        let (model, version) =
            (std::mem::take(&mut message.model_name), std::mem::take(&mut message.model_version));
        let version = Some(version.as_str()).filter(|version| !version.is_empty());
        let target = Target { model: &model, version };
        let active = self.service.addressed(target)?;
        let mut request = read(message, &active.interface)?;
        request.timeout = request.timeout.into_iter().chain(patience).min();
        let (id, items, raw) = (request.id.take(), request.items, request.raw_output);
        let computing = self.service.compute(request, target, origin);
        let answer = match patience {
            Some(patience) => {
                let deadline = LaneError::Shed(Shed::Deadline { timeout: patience });
                let late = |_| Err(self.service.not_computed(&deadline).of(items));
                timeout(patience.saturating_sub(asked.elapsed()), computing).await.unwrap_or_else(late)?
            }
            None => computing.await?,
        };
        let outputs = Outputs {
            model: &self.service.model,
            variant: answer.variant.name().as_str(),
            id: id.as_deref(),
            tensor: &answer.variant.interface.output,
            items,
            values: &answer.output,
        };
        let response = write(&outputs, raw);
        self.service.answered(&answer, read_at.elapsed());
        drop(answer.held);
        Ok(response)
    }

    fn expect(&self, model: &str, version: &str) -> Result<(), ApiError> {
        if version.is_empty() {
            self.service.expect_model(model)
        } else {
            self.service.expect_version(model, version)
        }
    }
}

fn tensor(metadata: TensorMetadata) -> model_metadata_response::TensorMetadata {
    let TensorMetadata { name, datatype, shape } = metadata;
    model_metadata_response::TensorMetadata { name, datatype: datatype.to_owned(), shape }
}

/// The codes of gRPC (`doc/statuscodes.md`) that say to a client's library what the status of HTTP says to a person: above all,
/// that `UNAVAILABLE` may be tried again.
impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let code = match error.status {
            _ if error.is_late => Code::DeadlineExceeded,
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Code::FailedPrecondition,
            StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::Unimplemented,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            status if status.is_client_error() => Code::InvalidArgument,
            _ => Code::Internal,
        };
        Self::new(code, error.message)
    }
}
