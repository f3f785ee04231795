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

/// Small networks of the architectures that people have, as the tests of compaction draw them.
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../../network/tests/compaction"]
pub(crate) mod compaction {
    pub(crate) mod mask;
    pub(crate) mod zoo;
}

mod double;
mod operators;

use compaction::zoo::{Architecture as Zoo, sketch::Norms};

/// The classifiers among them.
pub(crate) const CLASSIFIERS: [Zoo; 11] = [
    Zoo::Vgg,
    Zoo::ResNetBasic,
    Zoo::ResNetBottleneck,
    Zoo::MobileNetV2,
    Zoo::MobileNetV3,
    Zoo::DenseNet,
    Zoo::GoogLeNet,
    Zoo::SqueezeNet,
    Zoo::ShuffleNetV1,
    Zoo::ShuffleNetV2,
    Zoo::EfficientNet,
];

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

/// How far ONNX Runtime and the interpreter are apart.
fn disagreement(network: &Network) -> f32 {
    let mut inference = ENGINE.open(&network.write(), network.input()).unwrap();
    let inputs = random_inputs(3 * inference.input_len());
    let trainable = TrainableNetwork::of(network).unwrap();
    let ours = trainable.forward(&batch(&inputs, &network.input().shape), Mode::Evaluation).unwrap();
    largest_relative_difference(&values(&ours), &inference.run(&inputs).unwrap())
}

#[test]
fn our_own_architectures_agree_with_onnx_runtime() {
    for (architecture, input) in [(Architecture::Vgg16, "1x28x28"), (Architecture::ResNet20, "3x32x32")] {
        let difference = disagreement(&as_if_trained(architecture, input));
        assert!(difference < 1e-5, "{architecture} {difference}");
    }
}

#[test]
fn all_classifiers_of_the_zoo_agree_with_onnx_runtime() {
    let mut wrong = Vec::new();
    for architecture in CLASSIFIERS {
        for norms in [Norms::Kept, Norms::Folded] {
            let network = Network::from_model(architecture.small(norms, 1)).unwrap();
            let difference = disagreement(&network);
            if difference.is_nan() || difference > 1e-4 {
                wrong.push(format!("{architecture:?} {norms:?} {difference:e}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The loss falls along its gradient as fast as the gradient is long.
#[test]
fn gradients_of_all_classifiers_are_slopes() {
    let mut wrong = Vec::new();
    for architecture in CLASSIFIERS {
        let network = Network::from_model(architecture.small(Norms::Kept, 1)).unwrap();
        let (slope, length) = slope_along_gradient(&network);
        if (slope - length).abs().is_nan() || (slope - length).abs() > 3e-2 * length {
            wrong.push(format!("{architecture:?}: slope {slope}, gradient {length}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn slope_along_gradient(network: &Network) -> (f64, f64) {
    let trainable = TrainableNetwork::of(network).unwrap();
    let inputs = batch(&random_inputs(4 * 3 * 32 * 32), &network.input().shape);
    // Weighted differently, since a softmax's outputs sum to 1 whatever the weights are.
    let weights = Tensor::from_slice(&random_inputs(40)).reshape([4, 10]);
    let weighted = || trainable.forward(&inputs, Mode::Evaluation).unwrap() * &weights;
    let loss = || weighted().sum(Kind::Double);
    loss().backward();
    let trained: Vec<&Tensor> =
        trainable.parameters().values().filter(|p| p.role.is_trained()).map(|p| &p.tensor).collect();
    let gradients: Vec<Tensor> = trained.iter().map(|tensor| tensor.grad().copy()).collect();
    let length = gradients.iter().map(|g| g.square().sum(Kind::Double).double_value(&[])).sum::<f64>().sqrt();
    let moved = |by: f64| {
        tch::no_grad(|| {
            for (tensor, gradient) in trained.iter().zip(&gradients) {
                let _ = tensor.shallow_clone().g_add_(&(gradient * (by / length)));
            }
            loss().double_value(&[])
        })
    };
    // Outputs move by a thousandth: little, as activations bend; not less, as f32 ends.
    let step = 1e-3 * tch::no_grad(|| weighted().abs().sum(Kind::Double).double_value(&[])) / length;
    let slope = (moved(step) - moved(-2.0 * step)) / (2.0 * step);
    (slope, length)
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
            Role::Fixed => {}
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
