//! The table of accepted and refused objects, in process: the generated schema and its CEL rules say what the API server will.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use dnnshifter_crds::{EdgeDeviceClass, ModelPortfolio, ModelVariant, VariantPlacement};
use kube::{CustomResourceExt, Resource, core::cel::ValidationErrors};
use serde::de::DeserializeOwned;
use serde_json::Value;

#[path = "objects/table.rs"]
mod table;

use table::{Refusal, merge};

fn matches(refusal: &Refusal, error: &str) -> bool {
    refusal.at.as_ref().is_none_or(|path| error.starts_with(&format!("{path}: ")))
        && refusal.says.as_ref().is_none_or(|words| error.contains(words))
}

#[test]
fn the_schema_and_its_rules_accept_and_refuse_as_the_table_says() {
    let table = table::read().unwrap();
    assert!(!table.cases.is_empty());
    let mut wrong = Vec::new();
    for case in &table.cases {
        let mut object = table.bases[&case.base].clone();
        merge(&mut object, &case.patch);
        let mut errors = validate(&object, None);
        if let Some(then) = &case.then {
            assert!(errors.is_empty(), "{}: {errors:?}", case.title);
            let old = object.clone();
            merge(&mut object, then);
            errors = validate(&object, Some(&old));
        }
        let as_expected = match &case.refused {
            None => errors.is_empty(),
            Some(refusal) => errors.iter().any(|error| matches(refusal, error)),
        };
        if !as_expected {
            wrong.push(format!("{}: {errors:?}", case.title));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<String> {
    match object["kind"].as_str().unwrap() {
        "ModelPortfolio" => {
            check(object, old, ModelPortfolio::validate_cel, ModelPortfolio::validate_cel_update)
        }
        "EdgeDeviceClass" => {
            check(object, old, EdgeDeviceClass::validate_cel, EdgeDeviceClass::validate_cel_update)
        }
        "ModelVariant" => check(object, old, ModelVariant::validate_cel, ModelVariant::validate_cel_update),
        "VariantPlacement" => {
            check(object, old, VariantPlacement::validate_cel, VariantPlacement::validate_cel_update)
        }
        kind => panic!("no such kind: {kind}"),
    }
}

fn check<K: Resource + CustomResourceExt + DeserializeOwned>(
    object: &Value,
    old: Option<&Value>,
    create: impl Fn(&K) -> Result<(), ValidationErrors>,
    update: impl Fn(&K, &K) -> Result<(), ValidationErrors>,
) -> Vec<String> {
    let definition = serde_json::to_value(K::crd()).unwrap();
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(object)
        .map(|error| format!("{}: {error}", place(&error.instance_path().to_string())))
        .collect();
    if !errors.is_empty() {
        return errors;
    }
    let typed: K = serde_json::from_value(object.clone()).unwrap();
    let outcome = match old {
        Some(old) => update(&typed, &serde_json::from_value(old.clone()).unwrap()),
        None => create(&typed),
    };
    outcome.err().into_iter().map(|errors| errors.to_string()).collect()
}

/// A JSON pointer as the API server writes it: `spec.items[0].name`.
fn place(pointer: &str) -> String {
    let mut place = String::new();
    for step in pointer.split('/').skip(1) {
        if step.parse::<usize>().is_ok() {
            place.extend(["[", step, "]"]);
        } else {
            place += if place.is_empty() { "" } else { "." };
            place += step;
        }
    }
    place
}
