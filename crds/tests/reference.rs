//! `docs/api.md` is what the schema says. Written anew by `UPDATE_GOLDEN=1`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{fmt::Write, fs, path::Path};

use dnnshifter_crds::{EdgeDeviceClass, ModelPortfolio, ModelVariant, VariantPlacement};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

#[test]
fn the_api_reference_is_current() {
    let mut text = String::from(
        "# API reference: `dnnshifter.io/v1alpha1`\n\n\
         Generated from `crds/src` by `UPDATE_GOLDEN=1 cargo test --release -p dnnshifter-crds`. Do not edit.\n\
         `kubectl explain modelportfolio.spec` says the same.\n",
    );
    for definition in
        [ModelPortfolio::crd(), EdgeDeviceClass::crd(), ModelVariant::crd(), VariantPlacement::crd()]
    {
        describe_kind(&mut text, &definition);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/api.md is not current: run with UPDATE_GOLDEN=1"
    );
}

fn describe_kind(text: &mut String, definition: &CustomResourceDefinition) {
    let names = &definition.spec.names;
    let short =
        names.short_names.iter().flatten().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let schema = serde_json::to_value(definition).unwrap();
    let schema = schema.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap().clone();
    writeln!(
        text,
        "\n## {}\n\n{}\nShort name: {short}. {}.",
        names.kind,
        description(&schema),
        definition.spec.scope
    )
    .unwrap();
    for section in ["spec", "status"] {
        let Some(part) =
            schema.pointer(&format!("/properties/{section}")).filter(|part| part.get("properties").is_some())
        else {
            continue;
        };
        writeln!(
            text,
            "\n### {}.{section}\n\n| field | type | default | meaning |\n| --- | --- | --- | --- |",
            names.kind
        )
        .unwrap();
        describe_fields(text, part, "");
    }
}

fn describe_fields(text: &mut String, schema: &Value, prefix: &str) {
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let default = match field.get("default") {
            Some(default) if !default.is_object() => format!("`{default}`"),
            _ if required.contains(&name.as_str()) => "required".to_owned(),
            _ => String::new(),
        };
        writeln!(
            text,
            "| `{path}` | {} | {default} | {} |",
            type_of(field),
            description(field).replace('|', "\\|")
        )
        .unwrap();
        // Types of Kubernetes itself are documented there.
        if path.ends_with("olerations") || path.ends_with("conditions") {
            continue;
        }
        describe_fields(text, field, &format!("{path}."));
        if let Some(items) = field.get("items") {
            describe_fields(text, items, &format!("{path}[]."));
        }
    }
}

fn type_of(field: &Value) -> String {
    if let Some(values) = field["enum"].as_array() {
        return values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    match field["type"].as_str() {
        Some("array") => format!("list of {}", type_of(&field["items"])),
        Some("object") if field.get("additionalProperties").is_some() => "map".to_owned(),
        Some(kind) => kind.to_owned(),
        None => "integer or string".to_owned(),
    }
}

/// The description in one line, with what its rules say.
fn description(field: &Value) -> String {
    let own =
        field["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let rules = field["x-kubernetes-validations"].as_array().into_iter().flatten();
    let rules: Vec<_> = rules
        .filter_map(|rule| rule["message"].as_str())
        .map(|message| format!("Rule: {message}."))
        .collect();
    std::iter::once(own).chain(rules).collect::<Vec<_>>().join(" ")
}
