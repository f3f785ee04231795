//! The same networks as other exporters write them: in older and newer operator sets, and for images of any size.

use dnnshifter_network::{
    compact::{Options, compact},
    onnx::{
        ModelProto, ValueInfoProto,
        tensor_shape_proto::{Dimension, dimension},
        type_proto,
    },
};
use prost::Message;

use crate::{
    judge::check_equal,
    mask::{self, Scope, parameters},
    zoo::{
        Architecture, IMAGE,
        sketch::{Norms, Sketch, Window},
    },
};

/// From the oldest that is understood to the newest that ONNX Runtime 1.31 opens.
const OPSETS: [i64; 6] = [11, 13, 14, 18, 21, 26];

/// Says if `model`, masked, computes something else when it is compact, on an image of any of `sizes`, or is no smaller.
fn check(mut model: ModelProto, sizes: &[[usize; 2]]) -> Result<(), String> {
    mask::mask(&mut model, 0.9, Scope::Layer);
    let mut small = model.clone();
    let report = compact(&mut small, Options::default()).map_err(|error| error.to_string())?;
    if parameters(&small) >= parameters(&model) || report.walls.iter().any(|wall| wall.operator != "Softmax")
    {
        return Err(format!("{report:?}"));
    }
    let (model, small) = (model.encode_to_vec(), small.encode_to_vec());
    for &[height, width] in sizes {
        check_equal(&model, &small, [IMAGE[0], height, width])
            .map_err(|said| format!("{height} x {width}: {said}"))?;
    }
    Ok(())
}

#[test]
fn networks_of_every_operator_set_compute_the_same() {
    let mut wrong = Vec::new();
    for opset in OPSETS {
        for architecture in Architecture::ALL {
            // `HardSwish` came with operator set 14.
            if opset < 14 && architecture == Architecture::MobileNetV3 {
                continue;
            }
            for norms in [Norms::Kept, Norms::Folded] {
                let net = Sketch::new(norms, 10, IMAGE).at(opset);
                if let Err(said) = check(architecture.drawn(net), &[[IMAGE[1], IMAGE[2]]]) {
                    wrong.push(format!("{architecture:?} {norms:?} in operator set {opset}: {said}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Leaves height and width open.
fn with_open_size(described: &mut ValueInfoProto) {
    let Some(type_proto::Value::TensorType(tensor)) = &mut described.r#type.as_mut().unwrap().value else {
        panic!("no tensor: {described:?}")
    };
    let sizes = &mut tensor.shape.as_mut().unwrap().dim[2..];
    for (size, name) in sizes.iter_mut().zip(["height", "width"]) {
        let value = dimension::Value::DimParam(name.to_owned());
        *size = Dimension { value: Some(value), denotation: None };
    }
}

#[test]
fn networks_for_images_of_any_size_compute_the_same_on_all_of_them() {
    let mut wrong = Vec::new();
    for architecture in
        [Architecture::UNetTransposed, Architecture::UNetOverlapping, Architecture::UNetResized]
    {
        for norms in [Norms::Kept, Norms::Folded] {
            let mut model = architecture.small(norms, 11);
            let graph = model.graph.as_mut().unwrap();
            graph.input.iter_mut().chain(&mut graph.output).for_each(with_open_size);
            if let Err(said) = check(model, &[[32, 32], [48, 40], [20, 84]]) {
                wrong.push(format!("{architecture:?} {norms:?}: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn networks_that_resize_to_sizes_compute_the_same() {
    for norms in [Norms::Kept, Norms::Folded] {
        let mut net = Sketch::new(norms, 12, IMAGE).calm();
        let value = net.conv_norm(&net.input(), 32, Window::same(3, 2));
        let value = net.relu(&value);
        let large = net.resize_to(&value, 37, 28);
        let head = net.conv(&large, 8, Window::same(3, 1));
        check(net.finish(&[head]), &[[IMAGE[1], IMAGE[2]]]).unwrap();
    }
}
