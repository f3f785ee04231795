//! The model repository over gRPC.

use std::collections::HashMap;

use super::*;
use crate::protocol::inference::{
    ModelRepositoryParameter, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
    RepositoryModelLoadResponse, RepositoryModelUnloadRequest, RepositoryModelUnloadResponse,
    model_repository_parameter::ParameterChoice,
};

const PERMISSION_DENIED: &str = "7";
const FAILED_PRECONDITION: &str = "9";

fn parameters(name: &str, value: &str) -> HashMap<String, ModelRepositoryParameter> {
    let parameter_choice = Some(ParameterChoice::StringParam(value.to_owned()));
    HashMap::from([(name.to_owned(), ModelRepositoryParameter { parameter_choice })])
}

async fn load(service: &Arc<Service>, model: &str, name: &str, value: &str) -> String {
    let request = RepositoryModelLoadRequest {
        model_name: model.to_owned(),
        parameters: parameters(name, value),
        ..Default::default()
    };
    call::<RepositoryModelLoadResponse>(service, "RepositoryModelLoad", &request).await.0
}

async fn unload(service: &Arc<Service>, version: &str) -> String {
    let request = RepositoryModelUnloadRequest {
        model_name: "m".to_owned(),
        parameters: parameters("version", version),
        ..Default::default()
    };
    call::<RepositoryModelUnloadResponse>(service, "RepositoryModelUnload", &request).await.0
}

async fn index(service: &Arc<Service>, ready: bool) -> Vec<(String, String)> {
    let request = RepositoryIndexRequest { ready, ..Default::default() };
    let (_, answer) = call::<RepositoryIndexResponse>(service, "RepositoryIndex", &request).await;
    answer.unwrap().models.into_iter().map(|entry| (entry.version, entry.state)).collect()
}

#[tokio::test]
async fn clients_switch_and_unload_by_the_messages_of_triton() {
    let service = two_variants(Chooser::Clients);
    assert_eq!(load(&service, "m", "version", "small").await, OK);
    assert_eq!(service.switch.active().unwrap().name(), &name("small"));
    assert_eq!(load(&service, "m", "config", r#"{"version": "big"}"#).await, OK);
    assert_eq!(service.switch.active().unwrap().name(), &name("big"));
    assert_eq!(unload(&service, "big").await, FAILED_PRECONDITION);
    assert_eq!(unload(&service, "small").await, OK);
    let of = |version: &str, state: &str| (version.to_owned(), state.to_owned());
    assert_eq!(index(&service, false).await, [of("big", "READY"), of("small", "UNAVAILABLE")]);
    assert_eq!(index(&service, true).await, [of("big", "READY")]);
}

#[tokio::test]
async fn what_cannot_be_loaded_gets_the_code_that_says_why() {
    let service = two_variants(Chooser::Clients);
    for (model, name, value, expected) in [
        ("x", "version", "small", NOT_FOUND),
        ("m", "version", "x", NOT_FOUND),
        ("m", "version", "A/b", INVALID_ARGUMENT),
        ("m", "config", "{", INVALID_ARGUMENT),
        ("m", "files", "", INVALID_ARGUMENT),
    ] {
        assert_eq!(load(&service, model, name, value).await, expected, "{model} {name} {value}");
    }
    let placed = two_variants(Chooser::Placement);
    assert_eq!(load(&placed, "m", "version", "small").await, PERMISSION_DENIED);
}
