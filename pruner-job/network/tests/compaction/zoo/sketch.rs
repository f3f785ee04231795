//! Draws networks as ONNX, layer by layer, with weights as trained ones are: most filters weak, a few strong. Knows no
//! architecture.

use dnnshifter_network::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType, tensor_shape_proto,
    tensor_shape_proto::dimension, type_proto,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Operator set of what is drawn.
const OPSET: i64 = 17;
/// The file format's version that came with it.
const IR_VERSION: i64 = 8;
/// Spread of the logarithm of a filter's strength.
const SPREAD: f32 = 1.0;

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
}

impl Window {
    /// Of odd size, padded such that only the stride changes the size.
    pub(crate) fn same(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: kernel / 2, dilation: 1, groups: 1 }
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

    fn reach(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    fn output(&self, size: usize) -> usize {
        (size + 2 * self.padding - self.reach()) / self.stride + 1
    }

    fn attributes(&self) -> Vec<AttributeProto> {
        let Self { kernel, stride, padding, .. } = *self;
        vec![ints("kernel_shape", &[kernel; 2]), ints("strides", &[stride; 2]), ints("pads", &[padding; 4])]
    }
}

/// A network that is being drawn.
pub(crate) struct Sketch {
    graph: GraphProto,
    input: Value,
    norms: Norms,
    random: ChaCha8Rng,
    nodes: usize,
}

impl Sketch {
    pub(crate) fn new(norms: Norms, seed: u64, input: [usize; 3]) -> Self {
        let graph = GraphProto { name: Some("zoo".to_owned()), ..GraphProto::default() };
        let input = Value { name: "input".to_owned(), shape: input.to_vec() };
        Self { graph, input, norms, random: ChaCha8Rng::seed_from_u64(seed), nodes: 0 }
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
    pub(crate) fn conv_transpose(&mut self, value: &Value, out: usize, kernel: usize) -> Value {
        let weight = self.filters(value.channels(), out, Window::unpadded(kernel, 2));
        let bias = self.vector(out, -0.5, 0.5);
        let inputs = vec![
            value.name.clone(),
            self.store("weight", &[value.channels(), out, kernel, kernel], &weight),
            self.store("bias", &[out], &bias),
        ];
        let mut attributes = vec![ints("kernel_shape", &[kernel; 2]), ints("strides", &[2, 2])];
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

    pub(crate) fn max_pool(&mut self, value: &Value, window: Window) -> Value {
        self.pool("MaxPool", value, window, vec![])
    }

    pub(crate) fn average_pool(&mut self, value: &Value, window: Window, count_padding: bool) -> Value {
        let attribute = int("count_include_pad", i64::from(count_padding));
        self.pool("AveragePool", value, window, vec![attribute])
    }

    pub(crate) fn global_average_pool(&mut self, value: &Value) -> Value {
        let shape = vec![value.channels(), 1, 1];
        self.node("GlobalAveragePool", vec![value.name.clone()], vec![], shape)
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

    /// The first half of the channels and the second.
    pub(crate) fn halves(&mut self, value: &Value) -> (Value, Value) {
        let half = value.channels() / 2;
        let rest = value.channels() - half;
        let sizes = self.store_integers("sizes", &[half as i64, rest as i64]);
        let mut first_shape = value.shape.clone();
        first_shape[0] = half;
        let first = self.node("Split", vec![value.name.clone(), sizes], vec![int("axis", 1)], first_shape);
        let mut second = Value { name: format!("{}.second", first.name), shape: value.shape.clone() };
        second.shape[0] = rest;
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
        let [channels, height, width] = value.shape[..] else { panic!("no image: {value:?}") };
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
        let attributes = vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ];
        let shape = vec![value.channels(), value.shape[1] * 2, value.shape[2] * 2];
        self.node("Resize", vec![value.name.clone(), String::new(), scales], attributes, shape)
    }

    /// Zeros around.
    pub(crate) fn pad(&mut self, value: &Value, edge: usize) -> Value {
        let pads = [0, 0, edge, edge, 0, 0, edge, edge].map(|size| size as i64);
        let inputs = vec![value.name.clone(), self.store_integers("pads", &pads)];
        let shape = vec![value.channels(), value.shape[1] + 2 * edge, value.shape[2] + 2 * edge];
        self.node("Pad", inputs, vec![], shape)
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

    pub(crate) fn finish(mut self, outputs: &[Value]) -> ModelProto {
        self.graph.input = vec![described(&self.input)];
        self.graph.output = outputs.iter().map(described).collect();
        ModelProto {
            ir_version: Some(IR_VERSION),
            opset_import: vec![OperatorSetIdProto { version: Some(OPSET), ..OperatorSetIdProto::default() }],
            graph: Some(self.graph),
            ..ModelProto::default()
        }
    }

    fn pool(&mut self, operator: &str, value: &Value, window: Window, more: Vec<AttributeProto>) -> Value {
        let mut attributes = window.attributes();
        attributes.extend(more);
        let shape = vec![value.channels(), window.output(value.shape[1]), window.output(value.shape[2])];
        self.node(operator, vec![value.name.clone()], attributes, shape)
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
                values.extend((0..area).map(|_| strength * input * 3.0 * self.normal()));
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

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}

pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(value),
        ..AttributeProto::default()
    }
}

fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::String as i32),
        s: Some(value.as_bytes().to_vec().into()),
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.iter().map(|&value| value as i64).collect(),
        ..AttributeProto::default()
    }
}

fn described(value: &Value) -> ValueInfoProto {
    let fixed = value.shape.iter().map(|&size| dimension::Value::DimValue(size as i64));
    let sizes = std::iter::once(dimension::Value::DimParam("batch".to_owned())).chain(fixed);
    let dim =
        sizes.map(|size| tensor_shape_proto::Dimension { value: Some(size), denotation: None }).collect();
    let tensor =
        type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(value.name.clone()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}
