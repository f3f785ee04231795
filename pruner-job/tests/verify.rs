//! `verify` as a person runs it: its exit codes, its one line, its report.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failed test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use dnnshifter_network::onnx::{
    ModelProto, ValueInfoProto, tensor_proto::DataType, tensor_shape_proto::dimension, type_proto,
};
use prost::Message;
use serde_json::Value;
use tempfile::TempDir;

use program::{program, said};

#[path = "shared/program.rs"]
mod program;

/// A small network with weights of `seed`.
fn network(folder: &TempDir, seed: &str, input: &str) -> PathBuf {
    let path = folder.path().join(format!("{seed}-{input}.onnx"));
    let model = ["model", "resnet20", "--width", "1/4", "--seed", seed, "--input", input, "--output"];
    assert!(program().args(model).arg(&path).status().unwrap().success());
    path
}

fn verify(expected: &Path, found: &Path, more: &[&Path]) -> Output {
    program().arg("verify").args([expected, found]).args(more).output().unwrap()
}

#[test]
fn a_network_equals_itself_and_differs_from_others_with_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (network(&folder, "1", "3x16x16"), network(&folder, "2", "3x16x16"));
    let same = verify(&first, &first, &[]);
    assert!(same.status.success() && said(&same).starts_with("equal on 5 inputs"), "{}", said(&same));

    let report = folder.path().join("report.json");
    let other = verify(&first, &second, &[Path::new("--report"), &report]);
    assert_eq!(other.status.code(), Some(1), "{}", said(&other));
    assert!(said(&other).contains("the networks differ"), "{}", said(&other));
    let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    assert_eq!((&report["equal"], &report["cases"]), (&Value::from(false), &Value::from(5)));
    assert!(report["outputs"][0]["relative"].as_f64().unwrap() > 1e-3, "{report}");
}

#[test]
fn a_size_that_one_network_leaves_open_is_that_of_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (as_made, changed) = (network(&folder, "1", "3x16x16"), folder.path().join("changed.onnx"));
    let mut wrong = Vec::new();
    for (title, axis, size) in [("one image at a time", 0, Some(1)), ("any height", 2, None)] {
        let mut model = ModelProto::decode(fs::read(&as_made).unwrap().as_slice()).unwrap();
        set_size(&mut model.graph.as_mut().unwrap().input[0], axis, size);
        fs::write(&changed, model.encode_to_vec()).unwrap();
        for (first, second) in [(&as_made, &changed), (&changed, &as_made)] {
            let output = verify(first, second, &[]);
            if !output.status.success() {
                wrong.push(format!("{title}: {}", said(&output)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn set_size(input: &mut ValueInfoProto, axis: usize, size: Option<i64>) {
    let Some(type_proto::Value::TensorType(kind)) = &mut input.r#type.as_mut().unwrap().value else {
        unreachable!("our own models have tensors")
    };
    kind.shape.as_mut().unwrap().dim.get_mut(axis).unwrap().value = size.map(dimension::Value::DimValue);
}

#[test]
fn what_cannot_be_compared_is_said_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (network(&folder, "1", "3x16x16"), network(&folder, "1", "3x32x32"));
    let ends = verify(&small, &large, &[]);
    assert_eq!(ends.status.code(), Some(65), "{}", said(&ends));
    assert!(said(&ends).contains("\"input\" [?, 3, 16, 16]"), "{}", said(&ends));
    let missing = verify(&small, Path::new("nowhere.onnx"), &[]);
    assert!(
        missing.status.code() == Some(66) && said(&missing).contains("nowhere.onnx"),
        "{}",
        said(&missing)
    );
    let missing = verify(&small, &small, &[Path::new("--inputs"), Path::new("nothing.npz")]);
    assert!(
        missing.status.code() == Some(66) && said(&missing).contains("nothing.npz"),
        "{}",
        said(&missing)
    );
    let broken = folder.path().join("broken.onnx");
    fs::write(&broken, &fs::read(&small).unwrap()[..1000]).unwrap();
    let broken = verify(&small, &broken, &[]);
    assert!(broken.status.code() == Some(65) && said(&broken).contains("broken.onnx"), "{}", said(&broken));
}

/// A change of a model, the exit code that it leads to, and what the message must name.
type Case = (&'static str, fn(&mut ModelProto), i32, &'static [&'static str]);

const CASES: [Case; 7] = [
    (
        "half precision",
        |model| as_identity(model, DataType::Float16),
        81,
        &["\"input\"", "f16", "export the model in plain float32"],
    ),
    (
        "an unknown operator set",
        |model| model.opset_import.first_mut().unwrap().version = Some(99),
        80,
        &["Opset 99", "opset_version=17"],
    ),
    ("an unknown file format", |model| model.ir_version = Some(99), 80, &["IR version", "opset_version=17"]),
    (
        "whole numbers",
        |model| as_identity(model, DataType::Int64),
        80,
        &["\"input\"", "i64", "onnx.utils.extract_model"],
    ),
    ("no operator set", |model| model.opset_import.clear(), 80, &["opset_version=17"]),
    ("an unknown operator", |model| rename(model, "Fourier", ""), 80, &["Fourier", "ONNX standard"]),
    ("an operator of a plugin", |model| rename(model, "Mine", "com.mine"), 80, &["Mine", "ONNX standard"]),
];

/// Makes a network of this type that gives what it gets.
fn as_identity(model: &mut ModelProto, element: DataType) {
    let graph = model.graph.as_mut().unwrap();
    graph.node.clear();
    graph.initializer.clear();
    graph.output.clone_from(&graph.input);
    for end in graph.input.iter_mut().chain(&mut graph.output) {
        let Some(type_proto::Value::TensorType(kind)) = &mut end.r#type.as_mut().unwrap().value else {
            unreachable!("our own models have tensors")
        };
        kind.elem_type = Some(element as i32);
    }
}

fn rename(model: &mut ModelProto, operator: &str, domain: &str) {
    let node = model.graph.as_mut().unwrap().node.first_mut().unwrap();
    (node.op_type, node.domain) = (Some(operator.to_owned()), Some(domain.to_owned()));
}

#[test]
fn models_that_cannot_be_compared_have_the_exit_codes_of_their_class() {
    let folder = tempfile::tempdir().unwrap();
    let (sound, changed) = (network(&folder, "1", "3x16x16"), folder.path().join("changed.onnx"));
    let mut wrong = Vec::new();
    for (title, change, wanted, names) in CASES {
        let mut model = ModelProto::decode(fs::read(&sound).unwrap().as_slice()).unwrap();
        change(&mut model);
        fs::write(&changed, model.encode_to_vec()).unwrap();
        let output = verify(&sound, &changed, &[]);
        let (code, message) = (output.status.code(), said(&output));
        let named = names.iter().chain(&["changed.onnx"]).all(|name| message.contains(name));
        if code != Some(wanted) || !named {
            wrong.push(format!("{title}: {code:?}, {message}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
