//! Layers over the last axis, and norms that training leaves in: as `ConvNeXt` and transformers are exported.

use super::{super::proto::int, Sketch, Value, Window};

impl Sketch {
    /// Two fully connected layers at each place, as `ConvNeXt` has them (Liu et al. 2022): channels are the last axis between. With
    /// `norm` they are normed before, over channels.
    pub(crate) fn mlp(&mut self, value: &Value, hidden: usize, norm: bool) -> Value {
        let mut last = self.transpose(value, &[1, 2, 0]);
        if norm {
            last = self.layer_norm(&last);
        }
        let inner = self.linear_along_last(&last, hidden);
        let inner = self.unary("HardSwish", &inner, vec![]);
        let outer = self.linear_along_last(&inner, value.channels());
        let scaled = self.scale_along_last(&outer);
        let outer = self.transpose(&scaled, &[2, 0, 1]);
        self.binary("Add", value, &outer)
    }

    /// Each image's channels by the mean and variance of their places.
    pub(crate) fn instance_norm(&mut self, value: &Value) -> Value {
        let mut inputs = vec![value.name.clone()];
        for suffix in ["scale", "shift"] {
            let values = self.vector(value.channels(), 0.2, 1.5);
            inputs.push(self.store(suffix, &[value.channels()], &values));
        }
        self.node("InstanceNormalization", inputs, vec![], value.shape.clone())
    }

    fn layer_norm(&mut self, value: &Value) -> Value {
        let size = *value.shape.last().unwrap();
        let mut inputs = vec![value.name.clone()];
        for suffix in ["scale", "shift"] {
            let values = self.vector(size, 0.2, 1.5);
            inputs.push(self.store(suffix, &[size], &values));
        }
        self.node("LayerNormalization", inputs, vec![int("axis", -1)], value.shape.clone())
    }

    /// A product and a sum, as exporters write a fully connected layer of more than two axes.
    fn linear_along_last(&mut self, value: &Value, out: usize) -> Value {
        let of = *value.shape.last().unwrap();
        let filters = self.filters(out, of, Window::unpadded(1, 1));
        let turned: Vec<f32> = (0..of * out).map(|index| filters[index % out * of + index / out]).collect();
        let weight = self.store("weight", &[of, out], &turned);
        let mut shape = value.shape.clone();
        *shape.last_mut().unwrap() = out;
        let product = self.node("MatMul", vec![value.name.clone(), weight], vec![], shape);
        let bias = self.vector(out, -0.5, 0.5);
        let bias = self.store("bias", &[out], &bias);
        self.node("Add", vec![bias, product.name], vec![], product.shape)
    }

    fn scale_along_last(&mut self, value: &Value) -> Value {
        let size = *value.shape.last().unwrap();
        let factors = self.vector(size, 0.5, 1.5);
        let factors = self.store("factors", &[size], &factors);
        self.node("Mul", vec![value.name.clone(), factors], vec![], value.shape.clone())
    }
}
