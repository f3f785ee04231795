//! What is known of a finished variant: its cost, one input with its output, and the proof that ONNX Runtime computes what
//! the trained network computes. A variant without that proof is never written.

use bytes::Bytes;
use dnnshifter_network::{
    Cost, Graph, Network, Shapes, TensorInfo, graph::UnsupportedNodes, shapes::InvalidShape,
    tensor::InvalidTensor,
};
use dnnshifter_portfolio::{
    Fraction, VariantDescription, VariantName,
    description::{CheckVector, DESCRIPTION_VERSION, Datatype, TensorDescription},
};
use tch::{TchError, Tensor};

use crate::{
    engine::{Engine, EngineError},
    interpreter::{InterpreterError, Mode, TrainableNetwork, copied},
    variant::Variant,
};

/// Inputs that ONNX Runtime and libtorch compute at a time.
const BATCH: usize = 50;

/// What the caller knows of a variant.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) name: VariantName,
    pub(crate) revision: String,
    pub(crate) accuracy: Fraction,
    /// Median latency for one input in microseconds.
    pub(crate) latency_us: u64,
}

/// Why a variant cannot be described.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DescribeError {
    #[error(transparent)]
    Unsupported(#[from] UnsupportedNodes),
    #[error(transparent)]
    Shape(#[from] InvalidShape),
    #[error(transparent)]
    Weight(#[from] InvalidTensor),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    #[error("failed to compute the network's outputs in libtorch")]
    Compute(#[source] TchError),
    #[error("no input was given to compare ONNX Runtime and the trained network with")]
    NoInput,
    #[error(
        "variant \"{name}\": outputs in ONNX Runtime differ from the trained network by {difference:e}, and at most {allowed:e} is allowed; it is not published"
    )]
    Difference { name: VariantName, difference: f64, allowed: f64 },
}

/// The cost of a network.
pub(crate) fn cost(network: &Network) -> Result<Cost, DescribeError> {
    let graph = Graph::of(network)?;
    Ok(Cost::of(network, &graph, &Shapes::infer(network, &graph)?)?)
}

/// Describes networks after proving them.
pub(crate) struct Describer<'a> {
    pub(crate) engine: &'a Engine,
    /// Whole inputs in row-major order, at least one, on which ONNX Runtime and the trained network must agree.
    pub(crate) inputs: &'a [f32],
}

impl Describer<'_> {
    /// Describes `served`, which must compute what `trained` does.
    pub(crate) fn describe(
        &self,
        trained: &Network,
        served: &Network,
        facts: Facts,
    ) -> Result<Variant, DescribeError> {
        let cost = cost(served)?;
        let model = Bytes::from(served.write());
        let comparison = self.compare(trained, &model)?;
        let allowed = f64::from(CheckVector::TOLERANCE) * comparison.largest_output.max(1.0);
        let difference = comparison.maximum_difference;
        if difference.is_nan() || difference > allowed {
            return Err(DescribeError::Difference { name: facts.name, difference, allowed });
        }
        let description = VariantDescription {
            version: DESCRIPTION_VERSION.to_owned(),
            name: facts.name,
            revision: facts.revision,
            accuracy: facts.accuracy,
            parameters: cost.parameters,
            bytes: model.len() as u64,
            macs: cost.macs,
            input: tensor(served.input()),
            output: tensor(served.output()),
            check: comparison.check,
        };
        Ok(Variant { description, latency_us: facts.latency_us, maximum_difference: difference, model })
    }

    /// Computes the same inputs in ONNX Runtime and in libtorch.
    fn compare(&self, network: &Network, model: &[u8]) -> Result<Comparison, DescribeError> {
        let mut inference = self.engine.open(model, network.input())?;
        let trained = TrainableNetwork::of(network)?;
        let size = inference.input_len();
        let first = self.inputs.get(..size).ok_or(DescribeError::NoInput)?;
        let check = CheckVector { input: first.to_vec().into(), output: inference.run(first)?.into() };
        let mut comparison = Comparison { maximum_difference: 0.0, largest_output: 0.0, check };
        for batch in self.inputs.chunks(BATCH * size) {
            comparison.add(&outputs(&trained, network.input(), batch)?, &inference.run(batch)?);
        }
        Ok(comparison)
    }
}

fn tensor(info: &TensorInfo) -> TensorDescription {
    let shape = info.shape.iter().map(|&size| size as u64).collect();
    TensorDescription { name: info.name.clone(), shape, datatype: Datatype::Fp32 }
}

/// How far the outputs of two engines are apart.
struct Comparison {
    maximum_difference: f64,
    largest_output: f64,
    check: CheckVector,
}

impl Comparison {
    fn add(&mut self, ours: &[f32], theirs: &[f32]) {
        for (a, b) in ours.iter().zip(theirs) {
            let difference = f64::from((a - b).abs());
            // `max` forgets NaN; a network that computes NaN must not pass.
            if difference.is_nan() || difference > self.maximum_difference {
                self.maximum_difference = difference;
            }
            self.largest_output = self.largest_output.max(f64::from(a.abs()));
        }
    }
}

fn outputs(
    network: &TrainableNetwork,
    input: &TensorInfo,
    values: &[f32],
) -> Result<Vec<f32>, DescribeError> {
    let mut shape = vec![-1];
    shape.extend(input.shape.iter().map(|&size| size as i64));
    let batch = Tensor::f_from_slice(values).and_then(|tensor| tensor.f_reshape(&shape));
    let output = tch::no_grad(|| {
        network
            .forward(&batch.map_err(DescribeError::Compute)?, Mode::Evaluation)
            .map_err(DescribeError::from)
    })?;
    copied(&output).map_err(DescribeError::Compute)
}
