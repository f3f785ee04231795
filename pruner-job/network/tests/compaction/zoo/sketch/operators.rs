//! What has no weights of its own: activations, sums, pooling, all that moves channels about, and what is made of such.

use dnnshifter_network::onnx::AttributeProto;

use super::{
    super::proto::{int, ints, text},
    Sketch, Value, Window,
};

impl Sketch {
    /// An operator of one input that keeps its shape.
    pub(crate) fn unary(&mut self, operator: &str, value: &Value, attributes: Vec<AttributeProto>) -> Value {
        self.node(operator, vec![value.name.clone()], attributes, value.shape.clone())
    }

    pub(crate) fn relu(&mut self, value: &Value) -> Value {
        self.unary("Relu", value, vec![])
    }

    /// Between 0 and 6.
    pub(crate) fn clip(&mut self, value: &Value) -> Value {
        let inputs =
            vec![value.name.clone(), self.store("low", &[], &[0.0]), self.store("high", &[], &[6.0])];
        self.node("Clip", inputs, vec![], value.shape.clone())
    }

    /// The product of a value and its sigmoid.
    pub(crate) fn swish(&mut self, value: &Value) -> Value {
        let gate = self.unary("Sigmoid", value, vec![]);
        self.binary("Mul", value, &gate)
    }

    /// Add, Sub or Mul; the right one may be 1 x 1.
    pub(crate) fn binary(&mut self, operator: &str, left: &Value, right: &Value) -> Value {
        self.node(operator, vec![left.name.clone(), right.name.clone()], vec![], left.shape.clone())
    }

    /// Squeeze and excite; `gate` is the operator that makes the factor.
    pub(crate) fn squeeze_excite(&mut self, value: &Value, squeezed: usize, gate: &str) -> Value {
        let pooled = self.global_average_pool(value);
        let inner = self.conv(&pooled, squeezed, Window::unpadded(1, 1));
        let inner = self.relu(&inner);
        let outer = self.conv(&inner, value.channels(), Window::unpadded(1, 1));
        let factor = self.unary(gate, &outer, vec![]);
        self.binary("Mul", value, &factor)
    }

    pub(crate) fn max_pool(&mut self, value: &Value, window: Window) -> Value {
        self.pool("MaxPool", value, window, vec![])
    }

    pub(crate) fn average_pool(&mut self, value: &Value, window: Window, count_padding: bool) -> Value {
        let attribute = int("count_include_pad", i64::from(count_padding));
        self.pool("AveragePool", value, window, vec![attribute])
    }

    pub(crate) fn global_average_pool(&mut self, value: &Value) -> Value {
        self.global_pool("GlobalAveragePool", value)
    }

    /// Side by side along the channels.
    pub(crate) fn concat(&mut self, values: &[&Value]) -> Value {
        let mut shape = values[0].shape.clone();
        shape[0] = values.iter().map(|value| value.channels()).sum();
        let inputs = values.iter().map(|value| value.name.clone()).collect();
        self.node("Concat", inputs, vec![int("axis", 1)], shape)
    }

    /// Side by side along axis `axis` of a shape without batch.
    pub(crate) fn concat_along(&mut self, axis: usize, values: &[&Value]) -> Value {
        let mut shape = values[0].shape.clone();
        shape[axis] = values.iter().map(|value| value.shape[axis]).sum();
        let inputs = values.iter().map(|value| value.name.clone()).collect();
        self.node("Concat", inputs, vec![int("axis", axis as i64 + 1)], shape)
    }

    /// The first half along axis `axis` of a shape without batch, and the second.
    pub(crate) fn halves(&mut self, value: &Value, axis: usize) -> (Value, Value) {
        let half = value.shape[axis] / 2;
        let rest = value.shape[axis] - half;
        let (inputs, mut attributes) = self.with_numbers(value, "split", &[half as i64, rest as i64], 13);
        let mut first_shape = value.shape.clone();
        first_shape[axis] = half;
        attributes.push(int("axis", axis as i64 + 1));
        let first = self.node("Split", inputs, attributes, first_shape);
        let mut second = Value { name: format!("{}.second", first.name), shape: value.shape.clone() };
        second.shape[axis] = rest;
        self.graph.node.last_mut().unwrap().output.push(second.name.clone());
        (first, second)
    }

    /// Channels `start..end`.
    pub(crate) fn slice(&mut self, value: &Value, start: usize, end: usize) -> Value {
        let mut inputs = vec![value.name.clone()];
        for (suffix, number) in [("starts", start), ("ends", end), ("axes", 1)] {
            inputs.push(self.store_integers(suffix, &[number as i64]));
        }
        let mut shape = value.shape.clone();
        shape[0] = end - start;
        self.node("Slice", inputs, vec![], shape)
    }

    /// To `shape` without batch.
    pub(crate) fn reshape(&mut self, value: &Value, shape: &[usize]) -> Value {
        let sizes: Vec<i64> = std::iter::once(-1).chain(shape.iter().map(|&size| size as i64)).collect();
        let inputs = vec![value.name.clone(), self.store_integers("shape", &sizes)];
        self.node("Reshape", inputs, vec![], shape.to_vec())
    }

    /// Axes without batch, from 0.
    pub(crate) fn transpose(&mut self, value: &Value, order: &[usize]) -> Value {
        let axes: Vec<usize> = std::iter::once(0).chain(order.iter().map(|axis| axis + 1)).collect();
        let shape = order.iter().map(|&axis| value.shape[axis]).collect();
        self.node("Transpose", vec![value.name.clone()], vec![ints("perm", &axes)], shape)
    }

    /// Channels of `groups` groups dealt out like cards.
    pub(crate) fn shuffle(&mut self, value: &Value, groups: usize) -> Value {
        let (channels, height, width) = (value.channels(), value.shape[1], value.shape[2]);
        let cards = self.reshape(value, &[groups, channels / groups, height, width]);
        let dealt = self.transpose(&cards, &[1, 0, 2, 3]);
        self.reshape(&dealt, &[channels, height, width])
    }

    pub(crate) fn flatten(&mut self, value: &Value) -> Value {
        let shape = vec![value.shape.iter().product()];
        self.node("Flatten", vec![value.name.clone()], vec![], shape)
    }

    /// Twice as high and wide, by the nearest value.
    pub(crate) fn upsample(&mut self, value: &Value) -> Value {
        let scales = self.store("scales", &[4], &[1.0, 1.0, 2.0, 2.0]);
        // A region to crop to, which is not read here, but could not be left out at first.
        let region = if self.opset() < 13 { self.store("region", &[0], &[]) } else { String::new() };
        let attributes = vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ];
        let shape = vec![value.channels(), value.shape[1] * 2, value.shape[2] * 2];
        self.node("Resize", vec![value.name.clone(), region, scales], attributes, shape)
    }

    /// To `height` and `width`, by the nearest value, as exporters write it where the batch is known: one image.
    pub(crate) fn resize_to(&mut self, value: &Value, height: usize, width: usize) -> Value {
        let shape = vec![value.channels(), height, width];
        let sizes = [1, value.channels(), height, width].map(|size| size as i64);
        let absent = String::new;
        let inputs = vec![value.name.clone(), absent(), absent(), self.store_integers("sizes", &sizes)];
        self.node("Resize", inputs, vec![text("mode", "nearest")], shape)
    }

    /// Zeros around.
    pub(crate) fn pad(&mut self, value: &Value, edge: usize) -> Value {
        let pads = [0, 0, edge, edge, 0, 0, edge, edge].map(|size| size as i64);
        let inputs = vec![value.name.clone(), self.store_integers("pads", &pads)];
        let shape = vec![value.channels(), value.shape[1] + 2 * edge, value.shape[2] + 2 * edge];
        self.node("Pad", inputs, vec![], shape)
    }

    fn pool(&mut self, operator: &str, value: &Value, window: Window, more: Vec<AttributeProto>) -> Value {
        let mut attributes = window.attributes();
        attributes.extend(more);
        attributes.push(int("ceil_mode", i64::from(window.rounds_up)));
        let shape = vec![value.channels(), window.output(value.shape[1]), window.output(value.shape[2])];
        self.node(operator, vec![value.name.clone()], attributes, shape)
    }
}
