//! Variants whose memory a client wants back.

use super::*;

#[tokio::test]
async fn a_variant_that_does_not_serve_is_unloaded_and_one_that_serves_is_not() {
    let service = two_variants(Chooser::Clients);
    let unload = |version: &str| json!({"parameters": {"version": version}}).to_string();
    let path = "/v2/repository/models/m/unload";
    let refused = ask(&service, Method::POST, path, unload("big")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.json()["error"], "the version \"big\" serves: load another one first");
    assert_eq!(ask(&service, Method::POST, path, unload("small")).await.status, StatusCode::OK);
    assert_eq!(service.switch.take_retired().len(), 1);
    let index = ask(&service, Method::POST, "/v2/repository/index", "").await.json();
    assert_eq!(index[0]["state"], "READY");
    assert_eq!(index[1]["state"], "UNAVAILABLE");
    assert_eq!(index[1]["reason"], "unloaded by a client: it is loaded again once it is to serve");
    assert_eq!(ask(&service, Method::POST, path, "{").await.status, StatusCode::BAD_REQUEST);
    let ready = ask(&service, Method::POST, "/v2/repository/index", r#"{"ready": true}"#).await.json();
    assert_eq!((ready[0]["version"].as_str(), ready.get(1)), (Some("big"), None));
    let wrong = ask(&service, Method::POST, "/v2/repository/index", "{").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{}", wrong.text());
}
