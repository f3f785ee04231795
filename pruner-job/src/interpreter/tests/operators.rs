//! Operators that no network of the zoo has, one by one against ONNX Runtime.

use dnnshifter_network::{
    onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto},
    tensor::integers_to_proto,
};

use super::{
    super::*,
    compaction::zoo::proto::{described, float, int, ints, text},
    disagreement,
};

/// A network of one node or a few on images of 4 x 7 x 6.
struct Case {
    nodes: Vec<NodeProto>,
    floats: Vec<(&'static str, Vec<usize>)>,
    integers: Vec<(&'static str, Vec<i64>)>,
    shape: Vec<usize>,
}

impl Case {
    fn new(shape: &[usize]) -> Self {
        Self { nodes: vec![], floats: vec![], integers: vec![], shape: shape.to_vec() }
    }

    /// A node that reads the one before it, and these constants.
    fn then(mut self, operator: &str, constants: &[&str], attributes: Vec<AttributeProto>) -> Self {
        let before = self.nodes.last().map_or("x", |node| &node.output[0]).to_owned();
        let input = std::iter::once(before).chain(constants.iter().map(|name| (*name).to_owned())).collect();
        self.nodes.push(NodeProto {
            op_type: Some(operator.to_owned()),
            input,
            output: vec![format!("y{}", self.nodes.len())],
            attribute: attributes,
            ..NodeProto::default()
        });
        self
    }

    fn float(mut self, name: &'static str, shape: &[usize]) -> Self {
        self.floats.push((name, shape.to_vec()));
        self
    }

    fn integers(mut self, name: &'static str, values: &[i64]) -> Self {
        self.integers.push((name, values.to_vec()));
        self
    }

    fn network(&self, opset: i64) -> Network {
        let output = self.nodes.last().unwrap().output[0].clone();
        let mut graph = GraphProto {
            name: Some("case".to_owned()),
            node: self.nodes.clone(),
            input: vec![described("x", &[4, 7, 6])],
            output: vec![described(&output, &self.shape)],
            ..GraphProto::default()
        };
        for (name, shape) in &self.floats {
            // Between -1 and 2, none of them zero: something to divide by.
            let value = |place: usize| ((place * 7919) % 29) as f32 / 10.0 - 0.95;
            let values = (0..shape.iter().product()).map(value).collect();
            graph.initializer.push(FloatTensor::new(shape.clone(), values).unwrap().to_proto(name));
        }
        graph.initializer.extend(self.integers.iter().map(|(name, values)| integers_to_proto(name, values)));
        let set = OperatorSetIdProto { version: Some(opset), ..OperatorSetIdProto::default() };
        let model = ModelProto {
            ir_version: Some(8),
            opset_import: vec![set],
            graph: Some(graph),
            ..ModelProto::default()
        };
        Network::from_model(model).unwrap()
    }
}

fn check(cases: &[(&str, i64, Case)]) {
    let mut wrong = Vec::new();
    for (title, opset, case) in cases {
        let difference = disagreement(&case.network(*opset));
        if difference.is_nan() || difference > 1e-5 {
            wrong.push(format!("{title}: {difference:e}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn functions_of_each_value_agree() {
    let alone = |operator, attributes| Case::new(&[4, 7, 6]).then(operator, &[], attributes);
    let with =
        |operator, shape: &[usize]| Case::new(&[4, 7, 6]).float("c", shape).then(operator, &["c"], vec![]);
    check(&[
        ("LeakyRelu", 17, alone("LeakyRelu", vec![float("alpha", 0.2)])),
        ("Elu", 17, alone("Elu", vec![])),
        ("Tanh", 17, alone("Tanh", vec![])),
        ("HardSigmoid", 17, alone("HardSigmoid", vec![])),
        ("HardSigmoid as MobileNet has it", 17, alone("HardSigmoid", vec![float("alpha", 1.0 / 6.0)])),
        ("Gelu", 20, alone("Gelu", vec![])),
        ("Gelu by tanh", 20, alone("Gelu", vec![text("approximate", "tanh")])),
        ("Clip without limits", 17, alone("Clip", vec![])),
        ("PRelu of channels", 17, with("PRelu", &[4, 1, 1])),
        ("PRelu of one", 17, with("PRelu", &[1])),
        ("Sub", 17, with("Sub", &[1, 4, 1, 1])),
        ("Div", 17, with("Div", &[6])),
        ("Mul", 17, with("Mul", &[])),
        ("Add", 17, with("Add", &[4, 7, 6])),
    ]);
}

#[test]
fn pooling_and_means_agree() {
    let pool = |operator, shape: &[usize], more: AttributeProto| {
        Case::new(shape).then(
            operator,
            &[],
            vec![ints("kernel_shape", &[3; 2]), ints("strides", &[2; 2]), more],
        )
    };
    let mean = |shape: &[usize], attributes| Case::new(shape).then("ReduceMean", &[], attributes);
    check(&[
        ("MaxPool rounded up", 17, pool("MaxPool", &[4, 3, 3], int("ceil_mode", 1))),
        ("MaxPool rounded down", 17, pool("MaxPool", &[4, 3, 2], int("ceil_mode", 0))),
        ("MaxPool padded at one side", 17, pool("MaxPool", &[4, 3, 3], ints("pads", &[0, 1, 0, 0]))),
        ("AveragePool padded", 17, pool("AveragePool", &[4, 4, 3], ints("pads", &[1; 4]))),
        ("GlobalMaxPool", 17, Case::new(&[4, 1, 1]).then("GlobalMaxPool", &[], vec![])),
        ("ReduceMean kept", 13, mean(&[4, 1, 1], vec![ints("axes", &[2, 3])])),
        ("ReduceMean gone", 13, mean(&[4], vec![ints("axes", &[2, 3]), int("keepdims", 0)])),
        (
            "ReduceMean by input",
            18,
            Case::new(&[4, 1, 1]).integers("axes", &[-1, -2]).then("ReduceMean", &["axes"], vec![]),
        ),
    ]);
}

#[test]
fn shapes_and_products_agree() {
    let with = |operator, shape: &[usize], values: &[i64]| {
        Case::new(shape).integers("i", values).then(operator, &["i"], vec![])
    };
    let flat = |shape: &[usize]| Case::new(shape).then("Flatten", &[], vec![]);
    check(&[
        ("Reshape", 17, with("Reshape", &[2, 2, 42], &[0, 2, 2, -1])),
        ("Unsqueeze", 17, with("Unsqueeze", &[4, 1, 7, 6], &[2])),
        (
            "Squeeze",
            17,
            Case::new(&[4]).integers("i", &[2, 3]).then("GlobalAveragePool", &[], vec![]).then(
                "Squeeze",
                &["i"],
                vec![],
            ),
        ),
        ("Squeeze by attribute", 11, {
            let pooled = Case::new(&[4]).then("GlobalAveragePool", &[], vec![]);
            pooled.then("Squeeze", &[], vec![ints("axes", &[2, 3])])
        }),
        ("Transpose", 17, Case::new(&[6, 4, 7]).then("Transpose", &[], vec![ints("perm", &[0, 3, 1, 2])])),
        ("Gather", 17, {
            let case = Case::new(&[3, 7, 6]).integers("i", &[2, -1, 0]);
            case.then("Gather", &["i"], vec![int("axis", 1)])
        }),
        ("Pad", 17, with("Pad", &[4, 8, 9], &[0, 0, 1, 2, 0, 0, 0, 1])),
        ("MatMul and Add", 17, {
            let product = flat(&[5]).float("w", &[168, 5]).float("b", &[5]).then("MatMul", &["w"], vec![]);
            product.then("Add", &["b"], vec![])
        }),
        ("Gemm", 17, flat(&[5]).float("w", &[168, 5]).then("Gemm", &["w"], vec![])),
        ("Softmax", 17, flat(&[168]).then("Softmax", &[], vec![])),
        ("Softmax as it was", 11, flat(&[168]).then("Softmax", &[], vec![])),
    ]);
}
