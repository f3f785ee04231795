//! Tools that ask the server for its protocol.

use super::*;

/// A question of the reflection protocol (`reflection.proto`): its field 7 lists the services, 4 names a symbol.
async fn asked(version: &str, field: u8, text: &str) -> Vec<u8> {
    let question = [&[field << 3 | 2, text.len() as u8], text.as_bytes()].concat();
    let frame = [&[0, 0, 0, 0, question.len() as u8], &question[..]].concat();
    let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
    let request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    let service = two_variants(Chooser::Clients);
    let response = router(service).oneshot(request.body(Body::from(frame)).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()
}

fn contains(answer: &[u8], text: &str) -> bool {
    answer.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn the_server_lists_its_service_and_describes_it_in_both_versions() {
    for version in ["v1", "v1alpha"] {
        let services = asked(version, 7, "").await;
        assert!(contains(&services, "inference.GRPCInferenceService"), "{services:?}");
        let described = asked(version, 4, "inference.GRPCInferenceService").await;
        assert!(contains(&described, "RepositoryModelLoad"), "{described:?}");
    }
}
