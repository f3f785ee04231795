//! The shape of every value of a network, for one input.

use std::collections::BTreeMap;

use crate::{
    graph::{Graph, Node},
    network::Network,
    operator::{Convolution, Operator, Window},
    tensor::InvalidTensor,
};

/// Shapes by the name of the value, without the batch dimension: channels, height, width; or features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shapes(BTreeMap<String, Vec<usize>>);

/// Why shapes cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum InvalidShape {
    /// A node that does not fit its input.
    #[error("node \"{node}\" does not fit its input of shape {found:?}: {reason}")]
    Mismatch {
        /// The node.
        node: String,
        /// Shape of its first input, without the batch dimension.
        found: Vec<usize>,
        /// What is wrong.
        reason: &'static str,
    },
    /// The declared output differs from what the nodes compute.
    #[error("the model declares its output \"{name}\" with shape {declared:?}, but computes {computed:?}")]
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
            Some(name) => Ok(network.float(name)?.map_or_else(Vec::new, |weight| weight.shape().to_vec())),
            None => Ok::<_, InvalidShape>(Vec::new()),
        };
        match &node.operator {
            Operator::Conv(convolution) => convolved(found, &weight(1)?, convolution)
                .ok_or_else(|| refused("channels or size do not match the weight")),
            Operator::BatchNorm { .. } => {
                let channels = found.first().copied().unwrap_or(0);
                for position in 1..5 {
                    if weight(position)? != [channels] {
                        return Err(refused("its parameters have another number of channels"));
                    }
                }
                Ok(found.to_vec())
            }
            Operator::Relu | Operator::Identity => Ok(found.to_vec()),
            Operator::MaxPool(window) | Operator::AveragePool { window, .. } => {
                pooled(found, window).ok_or_else(|| refused("the window does not fit"))
            }
            Operator::GlobalAveragePool => match found {
                [channels, _, _] => Ok(vec![*channels, 1, 1]),
                _ => Err(refused("it needs channels, height and width")),
            },
            Operator::Flatten => Ok(vec![found.iter().product()]),
            Operator::Gemm { transposed } => fully_connected(found, &weight(1)?, *transposed)
                .ok_or_else(|| refused("features do not match the weight")),
            Operator::Add => {
                let other = node.input(1).map(|name| self.of(name)).unwrap_or_default();
                if other == found { Ok(found.to_vec()) } else { Err(refused("the two shapes differ")) }
            }
            Operator::Pad { edges: [top, left, bottom, right], .. } => match found {
                [channels, height, width] => Ok(vec![*channels, top + height + bottom, left + width + right]),
                _ => Err(refused("it needs channels, height and width")),
            },
        }
    }
}

fn convolved(input: &[usize], weight: &[usize], convolution: &Convolution) -> Option<Vec<usize>> {
    let (&[channels, height, width], &[outputs, inputs, _, _]) = (input, weight) else { return None };
    let [height, width] = moved(&convolution.window, [height, width])?;
    let fits = inputs.checked_mul(convolution.groups)? == channels && outputs % convolution.groups == 0;
    fits.then(|| vec![outputs, height, width])
}

fn pooled(input: &[usize], window: &Window) -> Option<Vec<usize>> {
    let &[channels, height, width] = input else { return None };
    let [height, width] = moved(window, [height, width])?;
    Some(vec![channels, height, width])
}

fn fully_connected(input: &[usize], weight: &[usize], transposed: bool) -> Option<Vec<usize>> {
    let (&[features], &[rows, columns]) = (input, weight) else { return None };
    let (outputs, inputs) = if transposed { (rows, columns) } else { (columns, rows) };
    (inputs == features).then(|| vec![outputs])
}

/// How often the window fits: `(size + padding - dilation * (kernel - 1) - 1) / stride + 1`.
fn moved(window: &Window, [height, width]: [usize; 2]) -> Option<[usize; 2]> {
    let [top, left, bottom, right] = window.padding;
    let ([kernel_y, kernel_x], [step_y, step_x]) = (window.kernel, window.stride);
    let [spread_y, spread_x] = window.dilation;
    let count = |size: usize, kernel: usize, spread: usize, step: usize| {
        let reach = kernel.checked_sub(1)?.checked_mul(spread)?.checked_add(1)?;
        Some(size.checked_sub(reach)? / step + 1)
    };
    let rows = count(height + top + bottom, kernel_y, spread_y, step_y)?;
    Some([rows, count(width + left + right, kernel_x, spread_x, step_x)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FloatTensor, NetworkBuilder, TensorInfo};

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
        assert!(refused.contains("\"wrong\" does not fit its input of shape [2, 9, 7]"), "{refused}");
        let too_large = |builder: &mut NetworkBuilder, x: &str| builder.max_pool("pool", x, &window(8, 1, 0));
        assert!(shape_after(too_large, &[1]).unwrap_err().to_string().contains("\"pool\""));
        let flat = |builder: &mut NetworkBuilder, x: &str| builder.flatten("flat", x);
        assert!(shape_after(flat, &[125]).unwrap_err().to_string().contains("computes [126]"));
    }
}
