//! Messages that are not what they claim to be.

use super::*;

const OUT_OF_RANGE: &str = "11";

/// The code of the answer to these bytes, whatever they are.
async fn sent(service: &Arc<Service>, method: &str, bytes: Vec<u8>) -> String {
    let request = Request::post(format!("/inference.GRPCInferenceService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::from(bytes));
    let response = router(Arc::clone(service)).oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let code = response.headers().get("grpc-status").map(|code| code.to_str().unwrap().to_owned());
    code.unwrap_or_else(|| OK.to_owned())
}

#[tokio::test]
async fn a_message_that_claims_to_be_huge_is_refused() {
    let service = two_variants(Chooser::Clients);
    for method in ["ModelInfer", "ServerLive", "RepositoryIndex"] {
        let claim = [&[0, 0xff, 0xff, 0xff, 0xff][..], &one_item().encode_to_vec()].concat();
        let code = sent(&service, method, claim).await;
        assert!([INVALID_ARGUMENT, RESOURCE_EXHAUSTED, OUT_OF_RANGE].contains(&code.as_str()), "{code}");
    }
    assert_eq!(call::<ModelInferResponse>(&service, "ModelInfer", &one_item()).await.0, OK);
}

#[tokio::test]
async fn names_that_are_no_texts_are_refused() {
    let service = two_variants(Chooser::Clients);
    let good = one_item().encode_to_vec();
    for name in ["m", "image", "FP32", "7"] {
        let length = u8::try_from(name.len()).unwrap();
        let field = [&[length], name.as_bytes()].concat();
        let at = good.windows(field.len()).position(|window| window == field).unwrap() + 1;
        let mut message = good.clone();
        message[at] = 0xff;
        let frame = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()][..], &message].concat();
        assert_eq!(sent(&service, "ModelInfer", frame).await, INVALID_ARGUMENT, "{name}");
    }
}
