//! Requests over gRPC: as much of the protocol's messages as an inference needs (`open_inference_grpc.proto`), and gRPC's framing.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Response, StatusCode, body::Incoming};
use prost::Message;

use super::{Prepared, shape};
use crate::{bench::variants::INPUT_NAME, load::Outcome};

/// `UNAVAILABLE`: the request was refused, and may be sent again.
const UNAVAILABLE: &str = "14";

#[derive(Message)]
struct ModelInferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<InferInputTensor>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    raw_input_contents: Vec<Bytes>,
}

#[derive(Message)]
struct InferInputTensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
}

/// A request for `values`, in gRPC's frame: not compressed, length, message.
pub(super) fn request(model: &str, values: &[f32]) -> Prepared {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let input = InferInputTensor {
        name: INPUT_NAME.to_owned(),
        datatype: "FP32".to_owned(),
        shape: shape().into_iter().map(|side| side as i64).collect(),
    };
    let message = ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![input],
        raw_input_contents: vec![raw.into()],
    }
    .encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let headers = vec![("content-type", "application/grpc".to_owned()), ("te", "trailers".to_owned())];
    let path = "/inference.GRPCInferenceService/ModelInfer".to_owned();
    Prepared { path, headers, body: [&[0], length.as_slice(), &message].concat().into() }
}

/// What became of a request: its status is in the trailers, or, without a message, in the headers.
pub(super) async fn outcome(response: Response<Incoming>) -> Result<Outcome> {
    ensure!(response.status() == StatusCode::OK, "{}", response.status());
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let field =
        |name: &str| trailers.get(name).or_else(|| head.headers.get(name)).map(|value| value.to_str());
    match field("grpc-status").context("the answer has no grpc-status")?? {
        "0" => Ok(Outcome::Answered),
        UNAVAILABLE => Ok(Outcome::Shed),
        code => {
            let message = field("grpc-message").transpose()?.unwrap_or_default();
            anyhow::bail!("grpc-status {code}: {message}")
        }
    }
}
