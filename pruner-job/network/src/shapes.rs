//! The shape of every value of a network, for one input. What each operator does to shapes is in `rules`.

use std::collections::BTreeMap;

use crate::{
    graph::{Graph, Node},
    network::Network,
    operator::Operator,
    tensor::InvalidTensor,
};

pub(crate) mod rules;

pub use rules::range;

/// Shapes by the name of the value, without the batch dimension: channels, height, width; or features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shapes(BTreeMap<String, Vec<usize>>);

/// Why shapes cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum InvalidShape {
    /// A node that does not fit its input.
    #[error(
        "node \"{node}\" does not fit its input of shape {found:?} (without the batch): {reason}; export the model again, with the image size that it was trained for"
    )]
    Mismatch {
        /// The node.
        node: String,
        /// Shape of its first input, without the batch dimension.
        found: Vec<usize>,
        /// What is wrong.
        reason: &'static str,
    },
    /// The declared output differs from what the nodes compute.
    #[error(
        "the model declares its output \"{name}\" with shape {declared:?}, but computes {computed:?}; export the model again, or correct the declared shape"
    )]
    Output {
        /// The output.
        name: String,
        /// As declared.
        declared: Vec<usize>,
        /// As computed.
        computed: Vec<usize>,
    },
    /// A weight that cannot be read.
    #[error(transparent)]
    Tensor(#[from] InvalidTensor),
}

impl Shapes {
    /// Finds the shape of every value.
    pub fn infer(network: &Network, graph: &Graph) -> Result<Self, InvalidShape> {
        let input = network.input();
        let mut shapes = Self(BTreeMap::from([(input.name.clone(), input.shape.clone())]));
        for node in graph.nodes() {
            let shape = shapes.after(node, network)?;
            shapes.0.insert(node.output.clone(), shape);
        }
        let output = network.output();
        match shapes.of(&output.name) {
            computed if computed == output.shape => Ok(shapes),
            computed => Err(InvalidShape::Output {
                name: output.name.clone(),
                declared: output.shape.clone(),
                computed: computed.to_vec(),
            }),
        }
    }

    /// The shape of a value without the batch dimension; empty if there is no such value.
    pub fn of(&self, value: &str) -> &[usize] {
        self.0.get(value).map_or(&[], Vec::as_slice)
    }

    fn after(&self, node: &Node, network: &Network) -> Result<Vec<usize>, InvalidShape> {
        let found = node.input(0).map(|name| self.of(name)).unwrap_or_default();
        let refused =
            |reason| InvalidShape::Mismatch { node: node.name.clone(), found: found.to_vec(), reason };
        let weight = |position| match node.input(position) {
            Some(name) => Ok(network.float_shape(name)?.unwrap_or_default()),
            None => Ok::<_, InvalidShape>(Vec::new()),
        };
        let (shape, reason) = match &node.operator {
            Operator::Conv(convolution) => (
                rules::convolved(found, &weight(1)?, convolution),
                "channels or size do not match the weight",
            ),
            Operator::BatchNorm { .. } => {
                let mut parameters = Vec::new();
                for position in 1..5 {
                    parameters.push(weight(position)?);
                }
                let fit = parameters.iter().all(|shape| found.first() == shape.first() && shape.len() == 1);
                (fit.then(|| found.to_vec()), "its parameters have another number of channels")
            }
            Operator::Activation(_) | Operator::Identity => (Some(found.to_vec()), ""),
            Operator::PRelu => {
                let sum = rules::with_constant(found, &weight(1)?);
                (sum.filter(|shape| shape == found), "the slope has another shape")
            }
            Operator::Binary(_) => (self.combined(node, network)?, "the two shapes differ"),
            Operator::MaxPool { window, round_up } => {
                (rules::pooled(found, window, *round_up), "the window does not fit")
            }
            Operator::AveragePool { window, .. } => {
                (rules::pooled(found, window, false), "the window does not fit")
            }
            Operator::GlobalAveragePool | Operator::GlobalMaxPool => {
                (rules::of_channels(found), "it needs channels, height and width")
            }
            Operator::Mean { axes, keep } => {
                (rules::without_axes(found, axes, *keep), "it has no such axes, or the batch is among them")
            }
            Operator::Flatten => (Some(vec![found.iter().product()]), ""),
            Operator::Reshape { shape } => {
                (rules::reshaped(found, shape), "it has another number of values, or the batch would move")
            }
            Operator::Squeeze { axes } => (rules::squeezed(found, axes), "these axes are not of size 1"),
            Operator::Unsqueeze { axes } => (rules::unsqueezed(found, axes), "there are no such axes"),
            Operator::Transpose { order } => (rules::transposed(found, order), "there are no such axes"),
            Operator::Concat { axis } => {
                let shapes: Vec<&[usize]> = node.inputs.iter().map(|name| self.of(name)).collect();
                (rules::joined(&shapes, *axis), "only values of one shape can stand side by side")
            }
            Operator::Slice { .. } | Operator::Share { .. } => {
                (rules::part(found, &node.operator), "there is no such axis, or nothing of it is left")
            }
            Operator::Gather { axis, places } => {
                (rules::gathered(found, *axis, places), "there is no such axis, or no such place")
            }
            Operator::Gemm { transposed } => {
                (rules::fully_connected(found, &weight(1)?, *transposed), "features do not match the weight")
            }
            Operator::MatMul => (rules::multiplied(found, &weight(1)?), "features do not match the weight"),
            Operator::Softmax { axis, to_the_end } => {
                (rules::normed(found, *axis, *to_the_end), "there is no such axis, or several after it")
            }
            Operator::Pad { edges, .. } => {
                (rules::padded(found, *edges), "it needs channels, height and width")
            }
        };
        shape.filter(|shape| !shape.is_empty() && !shape.contains(&0)).ok_or_else(|| refused(reason))
    }

    /// The shape of two values together, one of which may be a constant.
    fn combined(&self, node: &Node, network: &Network) -> Result<Option<Vec<usize>>, InvalidShape> {
        let (Some(left), Some(right)) = (node.input(0), node.input(1)) else { return Ok(None) };
        Ok(match (network.float_shape(left)?, network.float_shape(right)?) {
            (None, None) => rules::broadcast(self.of(left), self.of(right)),
            (Some(constant), None) => rules::with_constant(self.of(right), &constant),
            (None, Some(constant)) => rules::with_constant(self.of(left), &constant),
            (Some(_), Some(_)) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FloatTensor, NetworkBuilder, TensorInfo, operator::Window};

    fn shape_after(
        layers: impl FnOnce(&mut NetworkBuilder, &str) -> String,
        declared: &[usize],
    ) -> Result<Vec<usize>, InvalidShape> {
        let mut builder =
            NetworkBuilder::new("test", TensorInfo { name: "x".to_owned(), shape: vec![2, 9, 7] });
        let input = builder.input();
        let output = layers(&mut builder, &input);
        let network = builder.finish(&output, declared).unwrap();
        let graph = Graph::of(&network).unwrap();
        Shapes::infer(&network, &graph).map(|shapes| shapes.of(&output).to_vec())
    }

    fn weight(shape: &[usize]) -> FloatTensor {
        FloatTensor::new(shape.to_vec(), vec![0.0; shape.iter().product()]).unwrap()
    }

    fn window(kernel: usize, stride: usize, padding: usize) -> Window {
        Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], padding: [padding; 4] }
    }

    #[test]
    fn windows_move_as_the_specification_says() {
        let conv = |window: Window| {
            move |builder: &mut NetworkBuilder, x: &str| builder.conv("c", x, &weight(&[5, 2, 3, 3]), &window)
        };
        assert_eq!(shape_after(conv(window(3, 1, 1)), &[5, 9, 7]).unwrap(), [5, 9, 7]);
        assert_eq!(shape_after(conv(window(3, 2, 0)), &[5, 4, 3]).unwrap(), [5, 4, 3]);
        let dilated = Window { dilation: [2; 2], ..window(3, 1, 0) };
        assert_eq!(shape_after(conv(dilated), &[5, 5, 3]).unwrap(), [5, 5, 3]);
        let pool = |builder: &mut NetworkBuilder, x: &str| builder.max_pool("p", x, &window(2, 2, 0));
        assert_eq!(shape_after(pool, &[2, 4, 3]).unwrap(), [2, 4, 3]);
    }

    #[test]
    fn layers_that_do_not_fit_are_named() {
        let wrong_channels = |builder: &mut NetworkBuilder, x: &str| {
            builder.conv("wrong", x, &weight(&[5, 3, 3, 3]), &window(3, 1, 1))
        };
        let refused = shape_after(wrong_channels, &[5, 9, 7]).unwrap_err().to_string();
        assert!(
            refused.contains("\"wrong\" does not fit its input of shape [2, 9, 7] (without the batch)"),
            "{refused}"
        );
        let too_large = |builder: &mut NetworkBuilder, x: &str| builder.max_pool("pool", x, &window(8, 1, 0));
        assert!(shape_after(too_large, &[1]).unwrap_err().to_string().contains("\"pool\""));
        let flat = |builder: &mut NetworkBuilder, x: &str| builder.flatten("flat", x);
        assert!(
            shape_after(flat, &[125])
                .unwrap_err()
                .to_string()
                .contains("computes [126]; export the model again")
        );
    }
}
