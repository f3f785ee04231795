//! `compact` as a person runs it: what it prints, its report, weights beside a model, what it must not accept.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failed test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use dnnshifter_network::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
    attribute_proto::AttributeType, tensor_proto::DataType,
};
use prost::Message;
use serde_json::Value;
use tempfile::TempDir;

use beside::{WEIGHTS, put_weights_beside};
use program::{program, said};

#[path = "shared/beside.rs"]
mod beside;
#[path = "shared/program.rs"]
mod program;

/// A small network, three quarters of whose filters are dead.
fn masked(folder: &TempDir, architecture: &str) -> PathBuf {
    let path = folder.path().join(format!("{architecture}.onnx"));
    let model = ["model", architecture, "--width", "1/4", "--input", "3x32x32", "--output"];
    assert!(program().args(model).arg(&path).status().unwrap().success());
    change(&path, |model| {
        for tensor in weights(model) {
            let filters = tensor.dims.first().copied().unwrap_or(1) as usize;
            let mut raw = tensor.raw_data().to_vec();
            let size = raw.len() / filters;
            for (filter, bytes) in raw.chunks_mut(size).enumerate() {
                if !filter.is_multiple_of(4) {
                    bytes.fill(0);
                }
            }
            tensor.raw_data = Some(raw.into());
        }
    });
    path
}

/// The weights of convolutions.
fn weights(model: &mut ModelProto) -> impl Iterator<Item = &mut TensorProto> {
    model.graph.as_mut().unwrap().initializer.iter_mut().filter(|tensor| tensor.dims.len() == 4)
}

fn change(path: &Path, of: impl FnOnce(&mut ModelProto)) {
    let mut model = ModelProto::decode(fs::read(path).unwrap().as_slice()).unwrap();
    of(&mut model);
    fs::write(path, model.encode_to_vec()).unwrap();
}

fn compact(input: &Path, output: &Path, more: &[&str]) -> Output {
    program().arg("compact").args([input, output]).args(more).output().unwrap()
}

fn verify(expected: &Path, found: &Path) -> Output {
    program().arg("verify").args([expected, found]).output().unwrap()
}

#[test]
fn a_masked_network_becomes_small_and_computes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (small, report) = (folder.path().join("small.onnx"), folder.path().join("report.json"));
    for architecture in ["vgg16", "resnet20"] {
        let input = masked(&folder, architecture);
        let output = compact(&input, &small, &["--report", report.to_str().unwrap()]);
        assert!(output.status.success() && said(&output).starts_with("parameters "), "{}", said(&output));
        let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
        let number = |name: &str| report[name].as_u64().unwrap();
        for what in ["parameters", "bytes", "macs"] {
            let (before, after) = (number(&format!("{what}Before")), number(&format!("{what}After")));
            assert!(0 < after && 3 * after < before, "{architecture} {what}: {before} -> {after}");
        }
        assert_eq!(report["walls"], Value::Array(vec![]));
        let layers = report["layers"].as_array().unwrap();
        let is_smaller = |layer: &&Value| layer["outputsAfter"].as_u64() < layer["outputsBefore"].as_u64();
        assert!(layers.iter().filter(is_smaller).count() > layers.len() / 2, "{layers:?}");
        assert_eq!(report["bytesAfter"], fs::metadata(&small).unwrap().len());
        assert!(report["seconds"]["compact"].as_f64().unwrap() > 0.0, "{report}");
        let equal = verify(&input, &small);
        assert!(equal.status.success(), "{}", said(&equal));
    }
}

#[test]
fn widths_are_kept_at_multiples() {
    let folder = tempfile::tempdir().unwrap();
    let (input, small) = (masked(&folder, "vgg16"), folder.path().join("small.onnx"));
    let output = compact(&input, &small, &["--round-to", "8"]);
    assert!(output.status.success(), "{}", said(&output));
    change(&small, |model| {
        for tensor in weights(model) {
            assert_eq!(tensor.dims[0] % 8, 0, "{}: {:?}", tensor.name(), tensor.dims);
        }
    });
    assert!(verify(&input, &small).status.success());
}

#[test]
fn weights_beside_the_model_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (input, small) = (masked(&folder, "vgg16"), folder.path().join("small.onnx"));
    let whole = folder.path().join("whole.onnx");
    fs::copy(&input, &whole).unwrap();
    put_weights_beside(&input);
    let output = compact(&input, &small, &[]);
    assert!(output.status.success(), "{}", said(&output));
    let equal = verify(&whole, &small);
    assert!(equal.status.success(), "{}", said(&equal));
    let weights = folder.path().join(WEIGHTS);
    fs::File::options().write(true).open(&weights).unwrap().set_len(1000).unwrap();
    let output = compact(&input, &small, &[]);
    assert!(output.status.code() == Some(65) && said(&output).contains(WEIGHTS), "{}", said(&output));
    fs::remove_file(&weights).unwrap();
    let output = compact(&input, &small, &[]);
    assert!(output.status.code() == Some(66) && said(&output).contains(WEIGHTS), "{}", said(&output));
}

/// A change of a model, the operator that is a wall then, and what the report says of it.
type Wall = (&'static str, fn(&mut ModelProto), &'static str, &'static str);

const WALLS: [Wall; 4] = [
    (
        "an unknown operator",
        |model| first_relu(model).op_type = Some("Fourier".to_owned()),
        "Fourier",
        "not known",
    ),
    (
        "an operator of a plugin",
        |model| first_relu(model).domain = Some("com.mine".to_owned()),
        "Relu",
        "not of the ONNX standard",
    ),
    ("control flow", as_control_flow, "If", "control flow"),
    ("a weight in half precision", as_half_precision, "Conv", "float"),
];

fn first_relu(model: &mut ModelProto) -> &mut NodeProto {
    let nodes = &mut model.graph.as_mut().unwrap().node;
    nodes.iter_mut().find(|node| node.op_type() == "Relu").unwrap()
}

/// The first `Relu` becomes a branch that is always taken, with a `Relu` in it.
fn as_control_flow(model: &mut ModelProto) {
    let always = TensorProto {
        name: Some("always".to_owned()),
        data_type: Some(DataType::Bool as i32),
        raw_data: Some(vec![1].into()),
        ..TensorProto::default()
    };
    let relu = first_relu(model);
    let branch = |name: &str| {
        let (node, output) = (NodeProto { output: vec![name.to_owned()], ..relu.clone() }, name.to_owned());
        let output = ValueInfoProto { name: Some(output), ..ValueInfoProto::default() };
        let graph = GraphProto {
            name: Some(name.to_owned()),
            node: vec![node],
            output: vec![output],
            ..GraphProto::default()
        };
        AttributeProto {
            name: Some(format!("{name}_branch")),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(graph),
            ..AttributeProto::default()
        }
    };
    let attribute = vec![branch("then"), branch("else")];
    let (input, op_type) = (vec!["always".to_owned()], Some("If".to_owned()));
    *relu = NodeProto { input, op_type, attribute, ..relu.clone() };
    model.graph.as_mut().unwrap().initializer.push(always);
}

fn as_half_precision(model: &mut ModelProto) {
    let weight = weights(model).nth(1).unwrap();
    let halves = weight.dims.iter().product::<i64>() as usize;
    weight.data_type = Some(DataType::Float16 as i32);
    weight.raw_data = Some(vec![0; 2 * halves].into());
}

#[test]
fn what_is_not_known_is_a_wall_and_the_rest_becomes_smaller() {
    let folder = tempfile::tempdir().unwrap();
    let (small, report) = (folder.path().join("small.onnx"), folder.path().join("report.json"));
    let mut wrong = Vec::new();
    for (title, of, operator, reason) in WALLS {
        let input = masked(&folder, "vgg16");
        change(&input, of);
        let output = compact(&input, &small, &["--report", report.to_str().unwrap()]);
        assert!(output.status.success(), "{title}: {}", said(&output));
        let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
        let number = |name: &str| report[name].as_u64().unwrap();
        let is_small = 3 * number("parametersAfter") < number("parametersBefore");
        let wall = &report["walls"][0];
        let is_told = wall["operator"] == operator && wall["reason"].as_str().unwrap().contains(reason);
        if !is_small || !is_told {
            wrong.push(format!("{title}: {report}"));
        }
        if operator == "If" {
            let equal = verify(&input, &small);
            assert!(equal.status.success(), "{}", said(&equal));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_cannot_be_compacted_is_said_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (input, small) = (masked(&folder, "vgg16"), folder.path().join("small.onnx"));
    let broken = folder.path().join("broken.onnx");
    fs::write(&broken, &fs::read(&input).unwrap()[..1000]).unwrap();
    let old = folder.path().join("old.onnx");
    fs::copy(&input, &old).unwrap();
    change(&old, |model| model.opset_import[0].version = Some(9));
    for (path, code, word) in [
        (&broken, 65, "broken.onnx"),
        (&old, 80, "operator set 9"),
        (&folder.path().join("none.onnx"), 66, "none.onnx"),
    ] {
        let output = compact(path, &small, &[]);
        assert!(output.status.code() == Some(code) && said(&output).contains(word), "{}", said(&output));
        assert!(!small.exists());
    }
    let hollow = folder.path().join("hollow.onnx");
    fs::write(&hollow, b"").unwrap();
    let diverged = folder.path().join("diverged.onnx");
    fs::copy(&input, &diverged).unwrap();
    change(&diverged, |model| {
        let weight = weights(model).next().unwrap();
        let mut raw = weight.raw_data().to_vec();
        raw.splice(8..12, f32::NAN.to_le_bytes());
        weight.raw_data = Some(raw.into());
    });
    for (path, code, word) in [(&hollow, 65, "no graph"), (&diverged, 83, "is NaN")] {
        let output = compact(path, &small, &[]);
        assert!(output.status.code() == Some(code) && said(&output).contains(word), "{}", said(&output));
        assert!(!small.exists());
    }
    let nowhere = compact(&input, &folder.path().join("nowhere/small.onnx"), &[]);
    assert_eq!(nowhere.status.code(), Some(73), "{}", said(&nowhere));
    assert_eq!(compact(&input, &small, &["--round-to", "0"]).status.code(), Some(2));
}

#[test]
fn a_network_is_written_whole_and_last_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (input, small) = (masked(&folder, "vgg16"), folder.path().join("small.onnx"));
    let before = fs::read_dir(folder.path()).unwrap().count();
    let refused = |report: &str| {
        let output = compact(&input, &small, &["--report", report]);
        assert_eq!(output.status.code(), Some(73), "{}", said(&output));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before, "{}", said(&output));
    };
    refused("nowhere/report.json");
    refused("/dev/full");
    let full = folder.path().join("small.onnx.partial");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let output = compact(&input, &small, &[]);
    assert!(output.status.code() == Some(73) && said(&output).contains("small.onnx"), "{}", said(&output));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
    let device = compact(&input, Path::new("/dev/null"), &[]);
    assert!(
        device.status.code() == Some(73) && said(&device).contains("no regular file"),
        "{}",
        said(&device)
    );

    // A report beside the network, of the same stem.
    let report = folder.path().join("small.json");
    let output = compact(&input, &small, &["--report", report.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before + 2);
    assert!(verify(&input, &small).status.success());
    // In place, while the input is mapped.
    assert!(compact(&input, &input, &[]).status.success() && verify(&input, &small).status.success());
}
