//! Networks from nothing, layer by layer. Weights come from the caller: this crate draws nothing at random.

use crate::{
    network::{InvalidModel, Network, TensorInfo},
    onnx::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
        TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType,
        tensor_shape_proto, tensor_shape_proto::dimension, type_proto,
    },
    operator::Window,
    tensor::{FloatTensor, integers_to_proto},
};

/// Name of the free batch dimension.
const BATCH: &str = "batch";
/// Operator set of what is built: the first with all operators used here in their present form, read by every runtime.
const OPSET: i64 = 17;
/// The file format's version that came with that operator set (onnx, docs/Versioning.md).
const IR_VERSION: i64 = 8;

/// Builds a network from its input to its output. Every method returns the name of the value that it wrote.
#[derive(Debug)]
pub struct NetworkBuilder {
    graph: GraphProto,
    input: TensorInfo,
}

/// The parameters of a batch norm, one value for each channel.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// Scale.
    pub scale: FloatTensor,
    /// Shift.
    pub shift: FloatTensor,
    /// Running mean.
    pub mean: FloatTensor,
    /// Running variance.
    pub variance: FloatTensor,
}

impl BatchNorm {
    /// A batch norm that changes nothing yet.
    pub fn identity(channels: usize) -> Self {
        let (zeros, ones) = (FloatTensor::filled(channels, 0.0), FloatTensor::filled(channels, 1.0));
        Self { scale: ones.clone(), shift: zeros.clone(), mean: zeros, variance: ones }
    }
}

impl NetworkBuilder {
    /// A network called `name` that reads `input`.
    pub fn new(name: &str, input: TensorInfo) -> Self {
        let graph = GraphProto { name: Some(name.to_owned()), ..GraphProto::default() };
        Self { graph, input }
    }

    /// Name of the network's input.
    pub fn input(&self) -> String {
        self.input.name.clone()
    }

    /// Adds `edges` (top, left, bottom, right) rows and columns of zeros.
    pub fn pad(&mut self, name: &str, value: &str, [top, left, bottom, right]: [usize; 4]) -> String {
        let pads = [0, 0, top as i64, left as i64, 0, 0, bottom as i64, right as i64];
        let constant = self.store(integers_to_proto(&format!("{name}.pads"), &pads));
        self.node("Pad", name, vec![value.to_owned(), constant], vec![])
    }

    /// Convolution without bias; `weight` is out x in x height x width.
    pub fn conv(&mut self, name: &str, value: &str, weight: &FloatTensor, window: &Window) -> String {
        let weight = self.store(weight.to_proto(&format!("{name}.weight")));
        let mut attributes = vec![integers("dilations", &window.dilation)];
        attributes.extend(window_attributes(window));
        self.node("Conv", name, vec![value.to_owned(), weight], attributes)
    }

    /// Batch normalisation.
    pub fn batch_norm(&mut self, name: &str, value: &str, parameters: &BatchNorm) -> String {
        let BatchNorm { scale, shift, mean, variance } = parameters;
        let named = [("weight", scale), ("bias", shift), ("running_mean", mean), ("running_var", variance)];
        let mut inputs = vec![value.to_owned()];
        for (suffix, tensor) in named {
            inputs.push(self.store(tensor.to_proto(&format!("{name}.{suffix}"))));
        }
        self.node("BatchNormalization", name, inputs, vec![])
    }

    /// Rectified linear unit.
    pub fn relu(&mut self, name: &str, value: &str) -> String {
        self.node("Relu", name, vec![value.to_owned()], vec![])
    }

    /// Largest value of each window.
    pub fn max_pool(&mut self, name: &str, value: &str, window: &Window) -> String {
        self.node("MaxPool", name, vec![value.to_owned()], window_attributes(window).into())
    }

    /// Mean of each channel.
    pub fn global_average_pool(&mut self, name: &str, value: &str) -> String {
        self.node("GlobalAveragePool", name, vec![value.to_owned()], vec![])
    }

    /// Everything after the batch dimension as one axis.
    pub fn flatten(&mut self, name: &str, value: &str) -> String {
        self.node("Flatten", name, vec![value.to_owned()], vec![])
    }

    /// Fully connected layer; `weight` is out x in.
    pub fn linear(&mut self, name: &str, value: &str, weight: &FloatTensor, bias: &FloatTensor) -> String {
        let weight = self.store(weight.to_proto(&format!("{name}.weight")));
        let bias = self.store(bias.to_proto(&format!("{name}.bias")));
        let transposed = AttributeProto {
            name: Some("transB".to_owned()),
            r#type: Some(AttributeType::Int as i32),
            i: Some(1),
            ..AttributeProto::default()
        };
        self.node("Gemm", name, vec![value.to_owned(), weight, bias], vec![transposed])
    }

    /// Sum of two values.
    pub fn add(&mut self, name: &str, left: &str, right: &str) -> String {
        self.node("Add", name, vec![left.to_owned(), right.to_owned()], vec![])
    }

    /// The network whose output is `value`, of `shape` without the batch dimension.
    pub fn finish(mut self, value: &str, shape: &[usize]) -> Result<Network, InvalidModel> {
        self.graph.input = vec![described(&self.input.name, &self.input.shape)];
        self.graph.output = vec![described(value, shape)];
        Network::from_model(ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("dnnshifter".to_owned()),
            opset_import: vec![OperatorSetIdProto { version: Some(OPSET), ..OperatorSetIdProto::default() }],
            graph: Some(self.graph),
            ..ModelProto::default()
        })
    }

    fn store(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name().to_owned();
        self.graph.initializer.push(tensor);
        name
    }

    fn node(
        &mut self,
        operator: &str,
        name: &str,
        input: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) -> String {
        let output = format!("{name}.output");
        self.graph.node.push(NodeProto {
            op_type: Some(operator.to_owned()),
            name: Some(name.to_owned()),
            input,
            output: vec![output.clone()],
            attribute,
            ..NodeProto::default()
        });
        output
    }
}

fn window_attributes(window: &Window) -> [AttributeProto; 3] {
    [
        integers("kernel_shape", &window.kernel),
        integers("strides", &window.stride),
        integers("pads", &window.padding),
    ]
}

fn integers(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.iter().map(|&value| value as i64).collect(),
        ..AttributeProto::default()
    }
}

fn described(name: &str, shape: &[usize]) -> ValueInfoProto {
    let fixed = shape.iter().map(|&size| dimension::Value::DimValue(size as i64));
    let sizes = std::iter::once(dimension::Value::DimParam(BATCH.to_owned())).chain(fixed);
    let dim =
        sizes.map(|value| tensor_shape_proto::Dimension { value: Some(value), denotation: None }).collect();
    let tensor =
        type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(TensorShapeProto { dim }) };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value, denotation: None }),
        ..ValueInfoProto::default()
    }
}
