//! What is made of the places of each channel, axes of one place, and constants of one number for each channel.

use dnnshifter_network::onnx::AttributeProto;

use super::{super::proto::int, Sketch, Value};

impl Sketch {
    /// The mean or largest of all places, as one place.
    pub(crate) fn global_pool(&mut self, operator: &str, value: &Value) -> Value {
        self.node(operator, vec![value.name.clone()], vec![], vec![value.channels(), 1, 1])
    }

    /// `ReduceMean` or `ReduceMax` over axes of a shape without batch, which stay as axes of one place if `keeps`.
    pub(crate) fn reduce(&mut self, operator: &str, value: &Value, axes: &[usize], keeps: bool) -> Value {
        let (inputs, mut attributes) = self.with_axes(value, axes, 18);
        attributes.push(int("keepdims", i64::from(keeps)));
        let sizes = value.shape.iter().enumerate();
        let shape = sizes.filter_map(|(axis, &size)| match (axes.contains(&axis), keeps) {
            (false, _) => Some(size),
            (true, true) => Some(1),
            (true, false) => None,
        });
        self.node(operator, inputs, attributes, shape.collect())
    }

    /// Without height and width, which are 1.
    pub(crate) fn squeeze(&mut self, value: &Value) -> Value {
        let (inputs, attributes) = self.with_axes(value, &[1, 2], 13);
        self.node("Squeeze", inputs, attributes, vec![value.channels()])
    }

    /// With a height and width of 1.
    pub(crate) fn unsqueeze(&mut self, value: &Value) -> Value {
        let (inputs, attributes) = self.with_axes(value, &[1, 2], 13);
        self.node("Unsqueeze", inputs, attributes, vec![value.channels(), 1, 1])
    }

    /// Squeeze and excite by fully connected layers, of channels without places between.
    pub(crate) fn excite_squeezed(&mut self, value: &Value, squeezed: usize) -> Value {
        let flat = if squeezed.is_multiple_of(2) {
            self.reduce("ReduceMean", value, &[1, 2], false)
        } else {
            let pooled = self.global_pool("GlobalMaxPool", value);
            self.squeeze(&pooled)
        };
        let inner = self.linear(&flat, squeezed);
        let inner = self.unary("Tanh", &inner, vec![]);
        let outer = self.linear(&inner, value.channels());
        let outer = self.unary("Sigmoid", &outer, vec![]);
        let factor = self.unsqueeze(&outer);
        self.binary("Mul", value, &factor)
    }

    /// A `PRelu` of a slope for each channel, or of one for all.
    pub(crate) fn prelu(&mut self, value: &Value, is_shared: bool) -> Value {
        let dims = [if is_shared { 1 } else { value.channels() }, 1, 1];
        let slopes = self.vector(dims[0], 0.05, 0.5);
        let inputs = vec![value.name.clone(), self.store("slopes", &dims, &slopes)];
        self.node("PRelu", inputs, vec![], value.shape.clone())
    }

    /// Add, Sub, Mul or Div of each channel and a constant of its own, which may be the left one.
    pub(crate) fn with_constant(&mut self, operator: &str, value: &Value, is_left: bool) -> Value {
        let channels = value.channels();
        let numbers = self.vector(channels, 0.7, 1.5);
        let mut inputs = vec![value.name.clone(), self.store("constant", &[1, channels, 1, 1], &numbers)];
        if is_left {
            inputs.reverse();
        }
        self.node(operator, inputs, vec![], value.shape.clone())
    }

    /// The Gaussian error linear unit as it was written before it was an operator (Hendrycks and Gimpel 2016).
    pub(crate) fn gelu_by_parts(&mut self, value: &Value) -> Value {
        let scalar = |net: &mut Self, operator, value: &Value, number| {
            let inputs = vec![value.name.clone(), net.store("number", &[], &[number])];
            net.node(operator, inputs, vec![], value.shape.clone())
        };
        let part = scalar(self, "Div", value, std::f32::consts::SQRT_2);
        let part = self.unary("Erf", &part, vec![]);
        let part = scalar(self, "Add", &part, 1.0);
        let part = self.binary("Mul", value, &part);
        scalar(self, "Mul", &part, 0.5)
    }

    /// The named channels, in their order; one may be named more than once, and from the last one on as -1, -2, and so on.
    pub(crate) fn gather(&mut self, value: &Value, channels: &[i64]) -> Value {
        let inputs = vec![value.name.clone(), self.store_integers("indices", channels)];
        let shape = vec![channels.len(), value.shape[1], value.shape[2]];
        self.node("Gather", inputs, vec![int("axis", 1)], shape)
    }

    /// As [`Self::with_numbers`], for axes of a shape without batch.
    fn with_axes(&mut self, value: &Value, axes: &[usize], since: i64) -> (Vec<String>, Vec<AttributeProto>) {
        let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64 + 1).collect();
        self.with_numbers(value, "axes", &axes, since)
    }
}
