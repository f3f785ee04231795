//! Draws networks as ONNX, layer by layer, with weights as trained ones are: most filters weak, a few strong. Knows no
//! architecture.

use dnnshifter_network::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    tensor_proto::DataType,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::proto::{described, int, ints, text};

mod last;
mod operators;
mod places;
mod versions;

/// Operator set of what is drawn, if no other is asked for.
const OPSET: i64 = 17;
/// Spread of the logarithm of a filter's strength.
const SPREAD: f32 = 1.0;
/// How much a layer strengthens what it reads, so that deep layers still tell images apart.
const GAIN: f32 = 3.0;
/// As [`GAIN`], where answers are made by a sigmoid or by many products: stronger values would show nothing but rounding.
const CALM_GAIN: f32 = 1.7;

/// What becomes of batch norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Norms {
    /// They stand behind their convolutions.
    Kept,
    /// They are part of their convolutions' weights and biases.
    Folded,
}

/// A value of the network; its shape is without the batch dimension.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

impl Value {
    pub(crate) fn channels(&self) -> usize {
        self.shape[0]
    }
}

/// How a convolution reads its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
    pub(crate) groups: usize,
    /// Whether a pooling counts a last window that reaches beyond the padding.
    pub(crate) rounds_up: bool,
    /// The `auto_pad` that stands instead of the padding.
    fitted: Option<&'static str>,
}

impl Window {
    /// Of odd size, padded such that only the stride changes the size.
    pub(crate) fn same(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: kernel / 2, dilation: 1, groups: 1, rounds_up: false, fitted: None }
    }

    pub(crate) fn unpadded(kernel: usize, stride: usize) -> Self {
        Self { padding: 0, ..Self::same(kernel, stride) }
    }

    pub(crate) fn grouped(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    pub(crate) fn dilated(self, dilation: usize) -> Self {
        Self { dilation, padding: self.padding * dilation, ..self }
    }

    pub(crate) fn rounded_up(self) -> Self {
        Self { rounds_up: true, ..self }
    }

    /// Of any size, padded by `auto_pad` such that only the stride changes the size.
    pub(crate) fn fitted(kernel: usize, stride: usize, auto_pad: &'static str) -> Self {
        Self { fitted: Some(auto_pad), ..Self::unpadded(kernel, stride) }
    }

    fn reach(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    fn output(&self, size: usize) -> usize {
        if self.fitted.is_some() {
            return size.div_ceil(self.stride);
        }
        let room = size + 2 * self.padding - self.reach();
        let steps = if self.rounds_up { room.div_ceil(self.stride) } else { room / self.stride };
        // A last window must start before the padding at the end.
        if steps * self.stride < size + self.padding { steps + 1 } else { steps }
    }

    fn attributes(&self) -> Vec<AttributeProto> {
        let Self { kernel, stride, padding, .. } = *self;
        let padding = match self.fitted {
            Some(auto_pad) => text("auto_pad", auto_pad),
            None => ints("pads", &[padding; 4]),
        };
        vec![ints("kernel_shape", &[kernel; 2]), ints("strides", &[stride; 2]), padding]
    }
}

/// A network that is being drawn.
pub(crate) struct Sketch {
    graph: GraphProto,
    input: Value,
    norms: Norms,
    gain: f32,
    opset: i64,
    random: ChaCha8Rng,
    nodes: usize,
}

impl Sketch {
    pub(crate) fn new(norms: Norms, seed: u64, input: [usize; 3]) -> Self {
        let graph = GraphProto { name: Some("zoo".to_owned()), ..GraphProto::default() };
        let input = Value { name: "input".to_owned(), shape: input.to_vec() };
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { graph, input, norms, gain: GAIN, opset: OPSET, random, nodes: 0 }
    }

    /// With weaker layers.
    pub(crate) fn calm(self) -> Self {
        Self { gain: CALM_GAIN, ..self }
    }

    pub(crate) fn input(&self) -> Value {
        self.input.clone()
    }

    /// A convolution with bias.
    pub(crate) fn conv(&mut self, value: &Value, out: usize, window: Window) -> Value {
        let bias = self.vector(out, -0.5, 0.5);
        let weight = self.filters(out, value.channels() / window.groups, window);
        self.conv_of(value, out, window, &weight, Some(&bias))
    }

    /// A convolution and its batch norm, kept or folded.
    pub(crate) fn conv_norm(&mut self, value: &Value, out: usize, window: Window) -> Value {
        let mut weight = self.filters(out, value.channels() / window.groups, window);
        if self.norms == Norms::Kept {
            let value = self.conv_of(value, out, window, &weight, None);
            return self.norm(&value);
        }
        let (scale, bias) = (self.vector(out, 0.5, 1.5), self.vector(out, -0.5, 0.5));
        let size = weight.len() / out;
        for (filter, scale) in weight.chunks_mut(size).zip(scale) {
            for value in filter {
                *value *= scale;
            }
        }
        self.conv_of(value, out, window, &weight, Some(&bias))
    }

    /// A batch norm as training leaves it: nothing about it is zero or one.
    pub(crate) fn norm(&mut self, value: &Value) -> Value {
        let channels = value.channels();
        let mut inputs = vec![value.name.clone()];
        for (suffix, low, high) in
            [("scale", 0.5, 1.5), ("shift", -0.5, 0.5), ("mean", -0.3, 0.3), ("variance", 0.5, 2.0)]
        {
            let values = self.vector(channels, low, high);
            inputs.push(self.store(suffix, &[channels], &values));
        }
        self.node("BatchNormalization", inputs, vec![], value.shape.clone())
    }

    /// A transposed convolution that doubles the size; with `kernel` 3 its windows overlap.
    pub(crate) fn conv_transpose(
        &mut self,
        value: &Value,
        out: usize,
        kernel: usize,
        groups: usize,
    ) -> Value {
        let of_a_group = out / groups;
        let weight = self.filters(value.channels(), of_a_group, Window::unpadded(kernel, 2));
        let bias = self.vector(out, -0.5, 0.5);
        let inputs = vec![
            value.name.clone(),
            self.store("weight", &[value.channels(), of_a_group, kernel, kernel], &weight),
            self.store("bias", &[out], &bias),
        ];
        let mut attributes = vec![ints("kernel_shape", &[kernel; 2]), ints("strides", &[2, 2])];
        attributes.push(int("group", groups as i64));
        if kernel == 3 {
            attributes.extend([ints("pads", &[1; 4]), ints("output_padding", &[1; 2])]);
        }
        let shape = vec![out, value.shape[1] * 2, value.shape[2] * 2];
        self.node("ConvTranspose", inputs, attributes, shape)
    }

    /// A fully connected layer.
    pub(crate) fn linear(&mut self, value: &Value, out: usize) -> Value {
        let size = value.shape[0];
        let weight = self.filters(out, size, Window::unpadded(1, 1));
        let bias = self.vector(out, -0.5, 0.5);
        let inputs = vec![
            value.name.clone(),
            self.store("weight", &[out, size], &weight),
            self.store("bias", &[out], &bias),
        ];
        self.node("Gemm", inputs, vec![int("transB", 1)], vec![out])
    }

    pub(crate) fn finish(mut self, outputs: &[Value]) -> ModelProto {
        self.graph.input = vec![described(&self.input.name, &self.input.shape)];
        self.graph.output = outputs.iter().map(|output| described(&output.name, &output.shape)).collect();
        ModelProto {
            ir_version: Some(versions::ir_version(self.opset)),
            opset_import: vec![OperatorSetIdProto {
                version: Some(self.opset),
                ..OperatorSetIdProto::default()
            }],
            graph: Some(self.graph),
            ..ModelProto::default()
        }
    }

    fn conv_of(
        &mut self,
        value: &Value,
        out: usize,
        window: Window,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Value {
        let Window { kernel, dilation, groups, .. } = window;
        let shape = [out, value.channels() / groups, kernel, kernel];
        let mut inputs = vec![value.name.clone(), self.store("weight", &shape, weight)];
        if let Some(bias) = bias {
            inputs.push(self.store("bias", &[out], bias));
        }
        let mut attributes = window.attributes();
        attributes.extend([ints("dilations", &[dilation; 2]), int("group", groups as i64)]);
        let shape = vec![out, window.output(value.shape[1]), window.output(value.shape[2])];
        self.node("Conv", inputs, attributes, shape)
    }

    /// Weights whose filters, and whose inputs, are of very different strength, as training makes them.
    fn filters(&mut self, out: usize, of: usize, window: Window) -> Vec<f32> {
        let area = window.kernel * window.kernel;
        // The expected square of the two strengths together is exp(4 * SPREAD^2).
        let scale = (2.0 / (of * area) as f32).sqrt() * (-2.0 * SPREAD * SPREAD).exp();
        let inputs: Vec<f32> = (0..of).map(|_| (SPREAD * self.normal()).exp()).collect();
        let mut values = Vec::with_capacity(out * of * area);
        for _ in 0..out {
            let strength = scale * (SPREAD * self.normal()).exp();
            for input in &inputs {
                values.extend((0..area).map(|_| strength * input * self.gain * self.normal()));
            }
        }
        values
    }

    fn vector(&mut self, length: usize, low: f32, high: f32) -> Vec<f32> {
        (0..length).map(|_| self.random.random_range(low..high)).collect()
    }

    /// By Box and Muller.
    fn normal(&mut self) -> f32 {
        let (radius, angle): (f32, f32) =
            (self.random.random_range(f32::MIN_POSITIVE..1.0), self.random.random());
        (-2.0 * radius.ln()).sqrt() * (std::f32::consts::TAU * angle).cos()
    }

    fn store(&mut self, suffix: &str, shape: &[usize], values: &[f32]) -> String {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.store_raw(suffix, shape, DataType::Float, raw)
    }

    fn store_integers(&mut self, suffix: &str, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.store_raw(suffix, &[values.len()], DataType::Int64, raw)
    }

    fn store_raw(&mut self, suffix: &str, shape: &[usize], kind: DataType, raw: Vec<u8>) -> String {
        let name = format!("n{}.{suffix}", self.nodes);
        self.graph.initializer.push(TensorProto {
            name: Some(name.clone()),
            dims: shape.iter().map(|&size| size as i64).collect(),
            data_type: Some(kind as i32),
            raw_data: Some(raw.into()),
            ..TensorProto::default()
        });
        name
    }

    fn node(
        &mut self,
        operator: &str,
        input: Vec<String>,
        attribute: Vec<AttributeProto>,
        shape: Vec<usize>,
    ) -> Value {
        let name = format!("n{}", self.nodes);
        self.nodes += 1;
        self.graph.node.push(NodeProto {
            op_type: Some(operator.to_owned()),
            name: Some(format!("{name}.{operator}")),
            input,
            output: vec![name.clone()],
            attribute,
            ..NodeProto::default()
        });
        Value { name, shape }
    }
}
