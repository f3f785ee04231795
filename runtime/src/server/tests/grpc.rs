//! The protocol over gRPC, on the frames that clients send.

mod hostile;
mod reflection;
mod repository;

use bytes::Bytes;
use prost::Message;

use super::*;
use crate::protocol::inference::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ServerLiveRequest, ServerLiveResponse, infer_parameter::ParameterChoice,
    model_infer_request::InferInputTensor,
};

/// The codes of gRPC that are expected here.
const OK: &str = "0";
const INVALID_ARGUMENT: &str = "3";
const DEADLINE_EXCEEDED: &str = "4";
const NOT_FOUND: &str = "5";
const RESOURCE_EXHAUSTED: &str = "8";
const UNIMPLEMENTED: &str = "12";
const UNAVAILABLE: &str = "14";

/// The code, and the answer if there is one.
async fn call<T: Message + Default>(
    service: &Arc<Service>,
    method: &str,
    message: &impl Message,
) -> (String, Option<T>) {
    call_within(service, method, message, None).await
}

/// The same, with the deadline of the header `grpc-timeout`.
async fn call_within<T: Message + Default>(
    service: &Arc<Service>,
    method: &str,
    message: &impl Message,
    deadline: Option<&str>,
) -> (String, Option<T>) {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    let mut request = Request::post(format!("/inference.GRPCInferenceService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::from(frame))
        .unwrap();
    if let Some(deadline) = deadline {
        request.headers_mut().insert("grpc-timeout", deadline.parse().unwrap());
    }
    let response = router(Arc::clone(service)).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let code = response.headers().get("grpc-status").map(|code| code.to_str().unwrap().to_owned());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let answer = body.get(5..).map(|message| T::decode(message).unwrap());
    (code.unwrap_or_else(|| OK.to_owned()), answer)
}

fn one_item() -> ModelInferRequest {
    let input = InferInputTensor {
        name: "image".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, 2, 2],
        ..Default::default()
    };
    ModelInferRequest {
        model_name: "m".to_owned(),
        id: "7".to_owned(),
        inputs: vec![input],
        raw_input_contents: vec![Bytes::from_static(&[0; 16])],
        ..Default::default()
    }
}

#[tokio::test]
async fn an_inference_is_answered_by_the_variant_that_serves() {
    let service = two_variants(Chooser::Clients);
    let (code, answer) = call::<ModelInferResponse>(&service, "ModelInfer", &one_item()).await;
    let answer = answer.unwrap();
    assert_eq!((code.as_str(), answer.id.as_str()), (OK, "7"));
    assert_eq!((answer.model_name.as_str(), answer.model_version.as_str()), ("m", "big"));
    let variant = answer.parameters["variant"].parameter_choice.clone();
    assert_eq!(variant, Some(ParameterChoice::StringParam("big".to_owned())));
    assert_eq!(answer.outputs[0].shape, [1, 3]);
    assert_eq!(answer.raw_output_contents, [1.0_f32.to_le_bytes().repeat(3)]);
    let metrics = ask(&service, Method::GET, "/metrics", "").await.text();
    assert!(metrics.contains("dnnshifter_requests_total{outcome=\"answered\"} 1"), "{metrics}");
}

#[tokio::test]
async fn requests_that_cannot_be_answered_get_the_code_that_says_why() {
    let service = two_variants(Chooser::Clients);
    let good = one_item();
    let large = vec![Bytes::from(vec![0; 1 << 20])];
    let cases = [
        (ModelInferRequest { model_name: "x".to_owned(), ..good.clone() }, NOT_FOUND),
        (ModelInferRequest { model_version: "small".to_owned(), ..good.clone() }, NOT_FOUND),
        (ModelInferRequest { inputs: Vec::new(), ..good.clone() }, INVALID_ARGUMENT),
        (
            ModelInferRequest { inputs: vec![InferInputTensor::default(); 20_000], ..good.clone() },
            INVALID_ARGUMENT,
        ),
        (ModelInferRequest { raw_input_contents: large, ..good.clone() }, RESOURCE_EXHAUSTED),
    ];
    for (message, expected) in cases {
        let (code, answer) = call::<ModelInferResponse>(&service, "ModelInfer", &message).await;
        assert_eq!((code.as_str(), answer.is_some()), (expected, false));
    }
    let (code, _) = call::<ModelInferResponse>(&service, "ModelStatistics", &good).await;
    assert_eq!(code, UNIMPLEMENTED);
    let empty = service_without_variants();
    let (code, _) = call::<ModelInferResponse>(&empty, "ModelInfer", &good).await;
    assert_eq!(code, UNAVAILABLE);
}

#[tokio::test]
async fn an_inference_counts_once_however_it_ends_and_a_question_does_not() {
    let engine = Constant::of(1.0);
    let service = service(Chooser::Clients, vec![resident_on(&engine, "big")]);
    engine.shut();
    let item = one_item();
    let mut given_up = Box::pin(call::<ModelInferResponse>(&service, "ModelInfer", &item));
    assert!((&mut given_up).now_or_never().is_none());
    drop(given_up);
    engine.open();
    // Its first field is a number where a name should be.
    let other = ServerLiveResponse { live: true };
    assert_ne!(call::<ModelInferResponse>(&service, "ModelInfer", &other).await.0, OK);
    assert_eq!(call::<ServerLiveResponse>(&service, "ServerLive", &ServerLiveRequest {}).await.0, OK);
    let metrics = service.metrics.text();
    for (outcome, count) in [("answered", 0), ("cancelled", 1), ("invalid", 1), ("shed", 0), ("failed", 0)] {
        let series = format!("dnnshifter_requests_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&series), "{series} is not in {metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_has_its_own_code_and_counts_as_shed() {
    let engine = Constant::of(1.0);
    let service = service(Chooser::Clients, vec![resident_on(&engine, "big")]);
    engine.shut();
    for deadline in ["50m", "0n"] {
        let item = one_item();
        let call = call_within::<ModelInferResponse>(&service, "ModelInfer", &item, Some(deadline));
        assert_eq!(call.await.0, DEADLINE_EXCEEDED, "{deadline}");
    }
    engine.open();
    let metrics = ask(&service, Method::GET, "/metrics", "").await.text();
    assert!(metrics.contains("dnnshifter_requests_total{outcome=\"shed\"} 2"), "{metrics}");
    let (code, _) = call::<ModelInferResponse>(&service, "ModelInfer", &one_item()).await;
    assert_eq!(code, OK);
}

fn service_without_variants() -> Arc<Service> {
    service(Chooser::Clients, Vec::new())
}

#[tokio::test]
async fn the_model_is_described_and_ready() {
    let service = two_variants(Chooser::Clients);
    let (_, live) = call::<ServerLiveResponse>(&service, "ServerLive", &ServerLiveRequest {}).await;
    assert!(live.unwrap().live);
    let asked = ModelMetadataRequest { name: "m".to_owned(), ..Default::default() };
    let (_, metadata) = call::<ModelMetadataResponse>(&service, "ModelMetadata", &asked).await;
    let metadata = metadata.unwrap();
    assert_eq!(
        (metadata.versions, metadata.inputs[0].shape.clone()),
        (vec!["big".to_owned(), "small".to_owned()], vec![-1, 2, 2])
    );
    for (version, expected) in [("", Some(true)), ("big", Some(true)), ("small", Some(false)), ("x", None)] {
        let asked = ModelReadyRequest { name: "m".to_owned(), version: version.to_owned() };
        let (code, answer) = call::<ModelReadyResponse>(&service, "ModelReady", &asked).await;
        assert_eq!(answer.map(|answer| answer.ready), expected, "{version}: {code}");
    }
}
