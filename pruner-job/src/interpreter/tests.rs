//! The interpreter against ONNX Runtime, and its training mode.

use dnnshifter_network::{TensorInfo, builder::NetworkBuilder, onnx::NodeProto};
use tch::{Kind, Reduction};

use super::*;
use crate::{
    architecture::{
        Architecture,
        tests::{as_if_trained, random_inputs},
    },
    engine::tests::ENGINE,
};

fn batch(values: &[f32], shape: &[usize]) -> Tensor {
    let mut sizes = vec![-1];
    sizes.extend(shape.iter().map(|&size| size as i64));
    Tensor::from_slice(values).reshape(sizes)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::<f32>::try_from(tensor.contiguous().view([-1])).unwrap()
}

fn largest_relative_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let scale = theirs.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f32::max)
}

fn check_agreement(architecture: Architecture, input: &str) {
    let network = as_if_trained(architecture, input);
    let mut inference = ENGINE.open(&network.write(), network.input()).unwrap();
    let inputs = random_inputs(3 * inference.input_len());
    let trainable = TrainableNetwork::of(&network).unwrap();
    let ours = trainable.forward(&batch(&inputs, &network.input().shape), Mode::Evaluation).unwrap();
    let difference = largest_relative_difference(&values(&ours), &inference.run(&inputs).unwrap());
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn vgg_agrees_with_onnx_runtime() {
    check_agreement(Architecture::Vgg16, "1x28x28");
}

#[test]
fn resnet_agrees_with_onnx_runtime() {
    check_agreement(Architecture::ResNet20, "3x32x32");
}

#[test]
fn weights_go_back_unchanged() {
    let network = as_if_trained(Architecture::Vgg16, "1x28x28");
    assert_eq!(TrainableNetwork::of(&network).unwrap().to_network().unwrap(), network);
}

#[test]
fn training_mode_follows_statistics_and_gives_every_weight_a_gradient() {
    let network = as_if_trained(Architecture::ResNet20, "1x28x28");
    let trainable = TrainableNetwork::of(&network).unwrap();
    let before = trainable.to_network().unwrap();
    let inputs = batch(&random_inputs(8 * 28 * 28), &network.input().shape);
    let answers = trainable.forward(&inputs, Mode::Training { momentum: 0.1 }).unwrap();
    answers
        .cross_entropy_loss::<Tensor>(
            &Tensor::from_slice(&[0_i64, 1, 2, 3, 4, 5, 6, 7]),
            None,
            Reduction::Mean,
            -100,
            0.0,
        )
        .backward();
    for (name, parameter) in trainable.parameters() {
        match parameter.role {
            Role::Weight | Role::Offset => {
                let gradient = values(&parameter.tensor.grad());
                assert!(gradient.iter().all(|value| value.is_finite()), "{name}");
                assert!(gradient.iter().any(|value| *value != 0.0), "{name}");
            }
            Role::Statistic => {
                let (old, new) = (before.float(name).unwrap().unwrap(), values(&parameter.tensor));
                assert_ne!(old.values(), new, "{name}");
            }
        }
    }
}

#[test]
fn a_gradient_is_the_slope_of_the_loss() {
    let network = as_if_trained(Architecture::Vgg16, "1x28x28");
    let trainable = TrainableNetwork::of(&network).unwrap();
    let inputs = batch(&random_inputs(4 * 28 * 28), &network.input().shape);
    let loss = || trainable.forward(&inputs, Mode::Evaluation).unwrap().square().sum(Kind::Double);
    loss().backward();
    let shift = &trainable.parameters()["stage3.2.norm.bias"].tensor;
    let slope = shift.grad().double_value(&[0]);
    // Small, as ReLU bends; not smaller, as f32 ends.
    let step = 1e-3;
    let moved = |by: f64| {
        tch::no_grad(|| {
            let _ = shift.get(0).g_add_scalar_(by);
            loss().double_value(&[])
        })
    };
    let measured = (moved(step) - moved(-2.0 * step)) / (2.0 * step);
    assert!((slope - measured).abs() <= 2e-2 * slope.abs().max(1e-3), "{slope} {measured}");
}

#[test]
fn unknown_operators_are_all_named_before_any_work() {
    let info = TensorInfo { name: "input".to_owned(), shape: vec![4] };
    let mut model = NetworkBuilder::new("odd", info).finish("input", &[4]).unwrap().model().clone();
    let graph = model.graph.as_mut().unwrap();
    for (operator, input, output) in [("Erf", "input", "a"), ("Relu", "a", "b"), ("Einsum", "b", "c")] {
        graph.node.push(NodeProto {
            op_type: Some(operator.to_owned()),
            input: vec![input.to_owned()],
            output: vec![output.to_owned()],
            ..NodeProto::default()
        });
    }
    let refused = TrainableNetwork::of(&Network::from_model(model).unwrap()).err().unwrap().to_string();
    assert!(refused.contains("2 nodes"), "{refused}");
    assert!(refused.contains("\"Erf -> a\": operator Erf") && refused.contains("Einsum"), "{refused}");
}
