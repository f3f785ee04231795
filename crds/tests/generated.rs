//! The YAML beside this crate, and in the chart, is what the types say. Written anew by `UPDATE_GOLDEN=1`.

use std::{fs, path::Path};

use dnnshifter_crds::{EdgeDeviceClass, ModelPortfolio, ModelVariant, VariantPlacement, yaml::to_yaml};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

fn definitions() -> [CustomResourceDefinition; 4] {
    [EdgeDeviceClass::crd(), ModelPortfolio::crd(), ModelVariant::crd(), VariantPlacement::crd()]
}

#[test]
fn the_generated_yaml_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for definition in definitions() {
        let name = format!("{}.yaml", definition.spec.names.plural);
        let text = format!(
            "# Generated from crds/src by `UPDATE_GOLDEN=1 cargo test --release -p dnnshifter-crds`. Do not edit.\n{}",
            to_yaml(&definition).unwrap()
        );
        for folder in [root.to_owned(), root.join("../charts/dnnshifter-crds/templates")] {
            let path = folder.join(&name);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, &text).unwrap();
            }
            let stored = fs::read_to_string(&path).unwrap_or_default();
            assert!(stored == text, "{} is not current: run with UPDATE_GOLDEN=1", path.display());
        }
    }
}

/// Kubernetes knows int32, int64, double, date-time and the like only; a Rust `u8` or `usize` would bring formats of its own.
#[test]
fn every_format_is_one_of_kubernetes() {
    for definition in definitions() {
        let text = serde_json::to_string(&definition).unwrap();
        for format in text.split("\"format\":\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(
                matches!(format, "int32" | "int64" | "date-time"),
                "{}: {format}",
                definition.spec.names.kind
            );
        }
    }
}

/// What has no bound can be made to fill etcd; and CEL rules over it cost too much to be admitted.
#[test]
fn every_list_and_text_of_a_specification_is_bounded() {
    for definition in definitions() {
        let kind = definition.spec.names.kind.clone();
        let value = serde_json::to_value(&definition).unwrap();
        let spec = value.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
        let mut unbounded = Vec::new();
        find_unbounded(spec, &kind, &mut unbounded);
        assert!(unbounded.is_empty(), "without maxItems or maxLength: {unbounded:?}");
    }
}

fn find_unbounded(schema: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    let has = |key: &str| schema.get(key).is_some();
    let kubernetes_own =
        path.contains("olerations") || has("x-kubernetes-int-or-string") || path.ends_with("At");
    match schema.get("type").and_then(|kind| kind.as_str()) {
        Some("string") if !has("maxLength") && !has("enum") && !kubernetes_own => found.push(path.to_owned()),
        Some("array") if !has("maxItems") => found.push(path.to_owned()),
        _ => {}
    }
    if kubernetes_own {
        return;
    }
    for (name, property) in schema.get("properties").and_then(|p| p.as_object()).into_iter().flatten() {
        find_unbounded(property, &format!("{path}.{name}"), found);
    }
    if let Some(items) = schema.get("items") {
        find_unbounded(items, &format!("{path}[]"), found);
    }
}
