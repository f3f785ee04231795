//! What cannot be worked on: one message that names the file, the place, the reason and the way out, an exit code of its class,
//! and nothing written but that.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failed test")]

use std::fs;

use dnnshifter_network::onnx::{
    GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType,
    tensor_shape_proto::dimension, type_proto,
};
use prost::Message;
use serde_json::json;

#[path = "shared/workshop.rs"]
mod workshop;

use workshop::{Workshop, log};

/// A change of a model, the exit code that it leads to, and what the message must name.
type Case = (&'static str, fn(&mut GraphProto), i32, &'static [&'static str]);

const CASES: [Case; 11] = [
    ("half precision", half_precision, 81, &["\"input\" holds FLOAT16", "export the model in plain float32"]),
    ("weights of half precision", half_weights, 81, &["stage1.1.conv", "FLOAT16", "plain float32"]),
    ("quantised", |graph| rename(graph, "QLinearConv"), 81, &["stage1.1.conv", "before it was quantised"]),
    ("control flow", |graph| rename(graph, "Loop"), 80, &["stage1.1.conv", "control flow", "tracing"]),
    (
        "an unknown operator",
        |graph| rename(graph, "Fourier"),
        80,
        &["stage1.1.conv", "Fourier", "docs/pruning.md"],
    ),
    ("open channels", open_channels, 82, &["\"input\"", "fixed"]),
    ("weights that are no numbers", not_a_number, 83, &["stage1.1.conv.weight", "stage1.1.conv", "NaN"]),
    ("two outputs", two_outputs, 84, &["1 inputs and 2 outputs", "its only output"]),
    ("a weight that is cut short", short_weight, 65, &["stage1.1.conv.weight", "export the model again"]),
    ("no classifier", no_classifier, 84, &["stage1.1.relu.output", "classifier"]),
    (
        "nodes in disorder",
        |graph| graph.node.reverse(),
        65,
        &["classifier", "which no node before it writes", "onnx.checker"],
    ),
];

fn half_precision(graph: &mut GraphProto) {
    kind(graph.input.first_mut().unwrap()).elem_type = Some(DataType::Float16 as i32);
}

fn half_weights(graph: &mut GraphProto) {
    first_weight(graph).data_type = Some(DataType::Float16 as i32);
}

fn rename(graph: &mut GraphProto, operator: &str) {
    first_convolution(graph).op_type = Some(operator.to_owned());
}

fn open_channels(graph: &mut GraphProto) {
    let shape = kind(graph.input.first_mut().unwrap()).shape.as_mut().unwrap();
    shape.dim.get_mut(1).unwrap().value = Some(dimension::Value::DimParam("channels".to_owned()));
}

fn not_a_number(graph: &mut GraphProto) {
    let weight = first_weight(graph);
    let mut raw = weight.raw_data().to_vec();
    raw.splice(8..12, f32::NAN.to_le_bytes());
    weight.raw_data = Some(raw.into());
}

fn two_outputs(graph: &mut GraphProto) {
    graph.output.extend(graph.output.clone());
}

fn short_weight(graph: &mut GraphProto) {
    let weight = first_weight(graph);
    weight.raw_data = Some(weight.raw_data().to_vec().split_off(8).into());
}

fn no_classifier(graph: &mut GraphProto) {
    let relu =
        graph.node.iter().find(|node| node.op_type() == "Relu").unwrap().output.first().unwrap().clone();
    let input = graph.input.first().unwrap().clone();
    let mut output = ValueInfoProto { name: Some(relu), ..input };
    // As wide as the first layer, as large as the padded image.
    for (position, size) in [(1, 16), (2, 32), (3, 32)] {
        let shape = kind(&mut output).shape.as_mut().unwrap();
        shape.dim.get_mut(position).unwrap().value = Some(dimension::Value::DimValue(size));
    }
    graph.output = vec![output];
}

fn kind(value: &mut ValueInfoProto) -> &mut type_proto::Tensor {
    let kind = value.r#type.as_mut().unwrap().value.as_mut().unwrap();
    let type_proto::Value::TensorType(tensor) = kind else { unreachable!("our own models have tensors") };
    tensor
}

fn first_convolution(graph: &mut GraphProto) -> &mut NodeProto {
    graph.node.iter_mut().find(|node| node.op_type() == "Conv").unwrap()
}

fn first_weight(graph: &mut GraphProto) -> &mut TensorProto {
    graph.initializer.iter_mut().find(|tensor| tensor.name() == "stage1.1.conv.weight").unwrap()
}

/// Runs the plan, which must fail, and gives its exit code and last word.
fn refusal(workshop: &Workshop) -> (i32, String) {
    let output = workshop.run().output().unwrap();
    assert!(!output.status.success());
    assert!(!workshop.path("variants").exists(), "nothing is written");
    (output.status.code().unwrap(), fs::read_to_string(workshop.path("termination")).unwrap())
}

fn change_model(workshop: &Workshop, change: impl FnOnce(&mut ModelProto)) {
    let path = workshop.path("model.onnx");
    let mut model = ModelProto::decode(fs::read(&path).unwrap().as_slice()).unwrap();
    change(&mut model);
    fs::write(&path, model.encode_to_vec()).unwrap();
}

#[test]
fn models_that_cannot_be_worked_on_are_refused_by_class() {
    let mut wrong = Vec::new();
    for (title, change, wanted, names) in CASES {
        let workshop = Workshop::new("vgg16");
        change_model(&workshop, |model| change(model.graph.as_mut().unwrap()));
        let (code, message) = refusal(&workshop);
        let named = names.iter().chain(&["model.onnx"]).all(|name| message.contains(name));
        if code != wanted || !named {
            wrong.push(format!("{title}: {code}, {message}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_operator_set_that_is_not_known_is_refused() {
    let workshop = Workshop::new("vgg16");
    change_model(&workshop, |model| model.opset_import.first_mut().unwrap().version = Some(99));
    let (code, message) = refusal(&workshop);
    assert!(code == 80 && message.contains("operator set 99") && message.contains("model.onnx"), "{message}");
}

#[test]
fn a_model_without_batch_norm_is_noticed_and_trained() {
    let workshop = Workshop::new("vgg16");
    change_model(&workshop, |model| {
        let graph = model.graph.as_mut().unwrap();
        for node in graph.node.iter_mut().filter(|node| node.op_type() == "BatchNormalization") {
            node.op_type = Some("Identity".to_owned());
            node.input.truncate(1);
        }
    });
    let output = workshop.run().output().unwrap();
    assert!(log(&output).contains("its exporter folded it"), "{}", log(&output));
    assert!(log(&output).contains("network trained"), "{}", log(&output));
}

#[test]
fn a_limit_that_is_infinite_is_no_sign_of_a_training_that_diverged() {
    let workshop = Workshop::new("vgg16");
    change_model(&workshop, |model| {
        let graph = model.graph.as_mut().unwrap();
        for (name, value) in [("least", 0.0_f32), ("most", f32::INFINITY)] {
            graph.initializer.push(TensorProto {
                name: Some(name.to_owned()),
                data_type: Some(DataType::Float as i32),
                float_data: vec![value],
                ..TensorProto::default()
            });
        }
        let node = graph.node.iter_mut().find(|node| node.op_type() == "Relu").unwrap();
        node.op_type = Some("Clip".to_owned());
        node.input.extend(["least", "most"].map(str::to_owned));
    });
    workshop.edit_plan(|plan| plan["training"]["epochs"] = json!(0));
    let output = workshop.run().output().unwrap();
    assert!(output.status.success(), "{}", log(&output));
}

#[test]
fn a_rewind_beyond_the_training_is_refused_with_its_steps() {
    let workshop = Workshop::new("vgg16");
    workshop.edit_plan(|plan| {
        plan["method"] = json!({"iterativeMagnitude": {"densities": ["0.1"], "rewindSteps": 16, "keepLastLayer": true}});
    });
    let (code, message) = refusal(&workshop);
    assert!(code == 78 && message.contains("rewindSteps is 16") && message.contains("16 steps"), "{message}");
}

#[test]
fn what_cannot_be_used_is_refused_before_any_work_with_its_exit_code() {
    let workshop = Workshop::new("vgg16");
    let data = workshop.path("train-labels-idx1-ubyte");
    let labels = fs::read(&data).unwrap();
    fs::write(&data, &labels[..50]).unwrap();
    let (code, message) = refusal(&workshop);
    assert!(
        code == 85 && message.contains("train-labels-idx1-ubyte") && message.contains("there are 42"),
        "{message}"
    );
    fs::remove_file(&data).unwrap();
    let (code, message) = refusal(&workshop);
    assert!(code == 66 && message.contains("lacks the file \"train-labels-idx1-ubyte\""), "{message}");
    fs::write(&data, labels).unwrap();

    let model = workshop.path("model.onnx");
    let onnx = fs::read(&model).unwrap();
    fs::write(&model, &onnx[..onnx.len() / 2]).unwrap();
    let (code, message) = refusal(&workshop);
    assert!(
        code == 65 && message.contains("model.onnx\"") && message.contains("export the model again"),
        "{message}"
    );
    fs::remove_file(&model).unwrap();
    let (code, message) = refusal(&workshop);
    assert!(code == 66 && message.contains("model.onnx"), "{message}");

    workshop.edit_plan(|plan| drop(plan.as_object_mut().unwrap().remove("publish")));
    let pushed = workshop.run().arg("--push").output().unwrap();
    assert_eq!(pushed.status.code(), Some(78));
    assert!(log(&pushed).contains("not where to publish"), "{}", log(&pushed));

    workshop.edit_plan(|plan| plan["maximumVariants"] = json!(0));
    let (code, message) = refusal(&workshop);
    assert!(code == 78 && message.contains("maximumVariants is 0"), "{message}");
}

#[test]
fn accuracy_that_is_not_reached_is_said_with_what_was() {
    let workshop = Workshop::new("vgg16");
    workshop.edit_plan(|plan| {
        plan["minimumAccuracy"] = json!("1");
        plan["training"]["epochs"] = json!(0);
    });
    let (code, message) = refusal(&workshop);
    assert!(code == 86 && message.contains("minimumAccuracy 1"), "{message}");
}
