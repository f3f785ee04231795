//! Architectures for small machines: `MobileNet` V2 and V3, `EfficientNet`, `ShuffleNet` V1 and V2.

use dnnshifter_network::onnx::ModelProto;

use super::{
    classic::classify,
    proto::float,
    sketch::{Sketch, Value, Window},
};

/// One stage: expansion, width, stride of the first block, kernel.
const STAGES: [(usize, usize, usize, usize); 4] = [(1, 8, 1, 3), (4, 16, 2, 3), (4, 24, 2, 5), (4, 32, 1, 3)];

/// `MobileNet` V2 (Sandler et al. 2018): inverted residuals with linear bottlenecks.
pub(crate) fn mobilenet_v2(mut net: Sketch) -> ModelProto {
    let value = inverted_residuals(&mut net, Sketch::clip, |_, value| value.clone());
    let head = net.conv_norm(&value, 128, Window::unpadded(1, 1));
    let head = net.clip(&head);
    classify(net, &head, 10)
}

/// `MobileNet` V3 (Howard et al. 2019): hard swish, and squeeze and excite by a hard sigmoid.
pub(crate) fn mobilenet_v3(mut net: Sketch) -> ModelProto {
    let hard_swish = |net: &mut Sketch, value: &Value| net.unary("HardSwish", value, vec![]);
    let excite = |net: &mut Sketch, value: &Value| {
        net.squeeze_excite(value, (value.channels() / 4).max(4), "HardSigmoid")
    };
    let value = inverted_residuals(&mut net, hard_swish, excite);
    let head = net.conv_norm(&value, 128, Window::unpadded(1, 1));
    let head = hard_swish(&mut net, &head);
    let pooled = net.global_average_pool(&head);
    let flat = net.flatten(&pooled);
    let hidden = net.linear(&flat, 64);
    let hidden = hard_swish(&mut net, &hidden);
    let output = net.linear(&hidden, 10);
    net.finish(&[output])
}

/// `EfficientNet` (Tan and Le 2019): swish as a sigmoid and a product, squeeze and excite by a sigmoid.
pub(crate) fn efficientnet(mut net: Sketch) -> ModelProto {
    let excite =
        |net: &mut Sketch, value: &Value| net.squeeze_excite(value, (value.channels() / 4).max(4), "Sigmoid");
    let value = inverted_residuals(&mut net, Sketch::swish, excite);
    let head = net.conv_norm(&value, 128, Window::unpadded(1, 1));
    let head = net.swish(&head);
    classify(net, &head, 10)
}

fn inverted_residuals(
    net: &mut Sketch,
    activate: impl Fn(&mut Sketch, &Value) -> Value,
    excite: impl Fn(&mut Sketch, &Value) -> Value,
) -> Value {
    let input = net.input();
    let stem = net.conv_norm(&input, 8, Window::same(3, 2));
    let mut value = activate(net, &stem);
    for (expansion, width, first_stride, kernel) in STAGES {
        for block in 0..2 {
            let stride = if block == 0 { first_stride } else { 1 };
            let inner_width = value.channels() * expansion;
            let mut inner = value.clone();
            if expansion > 1 {
                let expanded = net.conv_norm(&inner, inner_width, Window::unpadded(1, 1));
                inner = activate(net, &expanded);
            }
            let depthwise =
                net.conv_norm(&inner, inner_width, Window::same(kernel, stride).grouped(inner_width));
            let active = activate(net, &depthwise);
            let excited = excite(net, &active);
            let narrow = net.conv_norm(&excited, width, Window::unpadded(1, 1));
            value = if narrow.shape == value.shape { net.binary("Add", &value, &narrow) } else { narrow };
        }
    }
    value
}

/// `ShuffleNet` V1 (Zhang et al. 2017): grouped convolutions, whose channels are shuffled between.
pub(crate) fn shufflenet_v1(mut net: Sketch) -> ModelProto {
    const GROUPS: usize = 4;
    let input = net.input();
    let stem = net.conv_norm(&input, 16, Window::same(3, 1));
    let mut value = net.relu(&stem);
    for (width, stride) in [(48, 2), (48, 1), (96, 2), (96, 1)] {
        let out = if stride == 2 { width - value.channels() } else { width };
        let inner_width = width / 2;
        let inner = net.conv_norm(&value, inner_width, Window::unpadded(1, 1).grouped(GROUPS));
        let inner = net.relu(&inner);
        let inner = net.shuffle(&inner, GROUPS);
        let inner = net.conv_norm(&inner, inner_width, Window::same(3, stride).grouped(inner_width));
        let inner = net.conv_norm(&inner, out, Window::unpadded(1, 1).grouped(GROUPS));
        let joined = if stride == 2 {
            let pooled = net.average_pool(&value, Window::same(3, 2), true);
            net.concat(&[&pooled, &inner])
        } else {
            net.binary("Add", &value, &inner)
        };
        value = net.relu(&joined);
    }
    classify(net, &value, 10)
}

/// `ShuffleNet` V2 (Ma et al. 2018): channels are split, half of them worked on, and shuffled.
pub(crate) fn shufflenet_v2(mut net: Sketch) -> ModelProto {
    let input = net.input();
    let stem = net.conv_norm(&input, 16, Window::same(3, 1));
    let mut value = net.unary("LeakyRelu", &stem, vec![float("alpha", 0.1)]);
    for (width, blocks) in [(32, 2), (64, 2)] {
        let half = width / 2;
        let left = net.conv_norm(&value, value.channels(), Window::same(3, 2).grouped(value.channels()));
        let left = net.conv_norm(&left, half, Window::unpadded(1, 1));
        let left = net.relu(&left);
        let right = worked_on(&mut net, &value, half, 2);
        let joined = net.concat(&[&left, &right]);
        value = net.shuffle(&joined, 2);
        for _ in 0..blocks {
            let (kept, half_value) = net.halves(&value, 0);
            let right = worked_on(&mut net, &half_value, half, 1);
            let joined = net.concat(&[&kept, &right]);
            value = net.shuffle(&joined, 2);
        }
    }
    let head = net.conv_norm(&value, 128, Window::unpadded(1, 1));
    let head = net.relu(&head);
    classify(net, &head, 10)
}

fn worked_on(net: &mut Sketch, value: &Value, width: usize, stride: usize) -> Value {
    let inner = net.conv_norm(value, width, Window::unpadded(1, 1));
    let inner = net.relu(&inner);
    let inner = net.conv_norm(&inner, width, Window::same(3, stride).grouped(width));
    let inner = net.conv_norm(&inner, width, Window::unpadded(1, 1));
    net.relu(&inner)
}
