//! Architectures that answer for every place of an image: U-Net and a detector after YOLO.

use dnnshifter_network::onnx::ModelProto;

use super::{
    proto::float,
    sketch::{Sketch, Value, Window},
};

/// How U-Net grows its maps again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// Transposed convolutions without overlap, as published.
    Transposed,
    /// Transposed convolutions whose windows overlap.
    Overlapping,
    /// Nearest neighbours and a convolution.
    Resized,
}

/// U-Net (Ronneberger et al. 2015), its second level dilated.
pub(crate) fn unet(mut net: Sketch, growth: Growth) -> ModelProto {
    let input = net.input();
    let mut value = twice(&mut net, &input, 12);
    let mut skipped = Vec::new();
    for width in [24, 48] {
        skipped.push(value.clone());
        let pooled = net.max_pool(&value, Window::unpadded(2, 2));
        value = twice(&mut net, &pooled, width);
    }
    while let Some(skip) = skipped.pop() {
        let width = skip.channels();
        let grown = match growth {
            Growth::Transposed => net.conv_transpose(&value, width, 2, 1),
            Growth::Overlapping => net.conv_transpose(&value, width, 3, 1),
            Growth::Resized => {
                let large = net.upsample(&value);
                net.conv_norm(&large, width, Window::same(3, 1))
            }
        };
        let joined = net.concat(&[&skip, &grown]);
        value = twice(&mut net, &joined, width);
    }
    let classes = net.conv(&value, 3, Window::unpadded(1, 1));
    let output = net.unary("Sigmoid", &classes, vec![]);
    net.finish(&[output])
}

fn twice(net: &mut Sketch, value: &Value, width: usize) -> Value {
    let conv = net.conv_norm(value, width, Window::same(3, 1));
    let conv = net.relu(&conv);
    let conv = net.conv_norm(&conv, width, Window::same(3, 1).dilated(2));
    net.relu(&conv)
}

/// A detector after YOLO v5 and v8: split stages, pyramid pooling, a pyramid up and down, one head a scale.
pub(crate) fn yolo(mut net: Sketch) -> ModelProto {
    const ANSWERS: usize = 9;
    let input = net.input();
    let stem = block(&mut net, &input, 8, 3, 2);
    let large = block(&mut net, &stem, 16, 3, 2);
    let large = split_stage(&mut net, &large);
    let middle = block(&mut net, &large, 32, 3, 2);
    let middle = split_stage(&mut net, &middle);
    let small = block(&mut net, &middle, 48, 3, 2);
    let small = pyramid_pooling(&mut net, &small);

    let up = net.upsample(&small);
    let joined = net.concat(&[&up, &middle]);
    let middle = block(&mut net, &joined, 32, 1, 1);
    let up = net.upsample(&middle);
    let joined = net.concat(&[&up, &large]);
    let large = block(&mut net, &joined, 16, 3, 1);
    let down = block(&mut net, &large, 32, 3, 2);
    let joined = net.concat(&[&down, &middle]);
    let middle = block(&mut net, &joined, 32, 1, 1);

    let mut answers = Vec::new();
    for scale in [&large, &middle, &small] {
        let inner = block(&mut net, scale, scale.channels(), 3, 1);
        let head = net.conv(&inner, ANSWERS, Window::unpadded(1, 1));
        answers.push(net.reshape(&head, &[ANSWERS, head.shape[1] * head.shape[2]]));
    }
    let answers: Vec<&Value> = answers.iter().collect();
    let all = net.concat_along(1, &answers);
    let boxes = net.slice(&all, 0, 4);
    let scores = net.slice(&all, 4, ANSWERS);
    let scores = net.unary("Sigmoid", &scores, vec![]);
    net.finish(&[boxes, scores])
}

fn block(net: &mut Sketch, value: &Value, width: usize, kernel: usize, stride: usize) -> Value {
    let conv = net.conv_norm(value, width, Window::same(kernel, stride));
    net.swish(&conv)
}

/// Half of the channels go through a residual block; all that was made is joined.
fn split_stage(net: &mut Sketch, value: &Value) -> Value {
    let wide = block(net, value, value.channels(), 1, 1);
    let (kept, half) = net.halves(&wide, 0);
    let inner = block(net, &half, half.channels(), 3, 1);
    let inner = block(net, &inner, half.channels(), 3, 1);
    let sum = net.binary("Add", &half, &inner);
    let joined = net.concat(&[&kept, &half, &sum]);
    block(net, &joined, value.channels(), 1, 1)
}

fn pyramid_pooling(net: &mut Sketch, value: &Value) -> Value {
    let conv = net.conv_norm(value, value.channels() / 2, Window::unpadded(1, 1));
    let inner = net.unary("LeakyRelu", &conv, vec![float("alpha", 0.1)]);
    let once = net.max_pool(&inner, Window::same(5, 1));
    let again = net.max_pool(&once, Window::same(5, 1));
    let joined = net.concat(&[&inner, &once, &again]);
    block(net, &joined, value.channels(), 1, 1)
}
