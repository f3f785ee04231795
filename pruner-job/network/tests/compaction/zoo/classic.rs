//! Architectures whose layers follow one another or add up: VGG, `ResNet`, `SqueezeNet`, `GoogLeNet`, `DenseNet`.

use dnnshifter_network::onnx::ModelProto;

use super::sketch::{Sketch, Value, Window};

/// Widths of the stages of VGG-16 as they are published; between stages the size is halved.
pub(crate) const VGG16: [&[usize]; 5] = [&[64; 2], &[128; 2], &[256; 3], &[512; 3], &[512; 3]];

/// Width, blocks of each stage and classes of ResNet-50 as it is published.
pub(crate) const RESNET50: (usize, [usize; 4], usize) = (64, [3, 4, 6, 3], 1000);

/// VGG (Simonyan and Zisserman 2014), with batch norm, as it is used on 32 x 32 images.
pub(crate) fn vgg(mut net: Sketch, stages: &[&[usize]], hidden: Option<usize>) -> ModelProto {
    let mut value = net.input();
    for stage in stages {
        for &width in *stage {
            let conv = net.conv_norm(&value, width, Window::same(3, 1));
            value = net.relu(&conv);
        }
        value = net.max_pool(&value, Window::unpadded(2, 2));
    }
    let mut value = net.flatten(&value);
    if let Some(width) = hidden {
        let linear = net.linear(&value, width);
        value = net.relu(&linear);
    }
    let output = net.linear(&value, 10);
    net.finish(&[output])
}

/// `ResNet` with basic blocks (He et al. 2015).
pub(crate) fn resnet_basic(mut net: Sketch) -> ModelProto {
    let input = net.input();
    let stem = net.conv_norm(&input, 16, Window::same(3, 1));
    let mut value = net.relu(&stem);
    for (stage, width) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let inner = net.conv_norm(&value, width, Window::same(3, stride));
            let inner = net.relu(&inner);
            let inner = net.conv_norm(&inner, width, Window::same(3, 1));
            value = residual(&mut net, &value, &inner, stride);
        }
    }
    classify(net, &value, 10)
}

/// `ResNet` with bottlenecks, its stem as on large images; `width` is 64 and `blocks` 3, 4, 6, 3 in ResNet-50.
pub(crate) fn resnet_bottleneck(
    mut net: Sketch,
    width: usize,
    blocks: &[usize],
    classes: usize,
) -> ModelProto {
    let input = net.input();
    let stem = net.conv_norm(&input, width, Window::same(7, 2));
    let stem = net.relu(&stem);
    let mut value = net.max_pool(&stem, Window::same(3, 2));
    for (stage, &count) in blocks.iter().enumerate() {
        let width = width << stage;
        for block in 0..count {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let inner = net.conv_norm(&value, width, Window::unpadded(1, 1));
            let inner = net.relu(&inner);
            let inner = net.conv_norm(&inner, width, Window::same(3, stride));
            let inner = net.relu(&inner);
            let inner = net.conv_norm(&inner, 4 * width, Window::unpadded(1, 1));
            value = residual(&mut net, &value, &inner, stride);
        }
    }
    classify(net, &value, classes)
}

/// The sum of both ways, through a projection where their shapes differ.
fn residual(net: &mut Sketch, value: &Value, inner: &Value, stride: usize) -> Value {
    let shortcut = if value.shape == inner.shape {
        value.clone()
    } else {
        net.conv_norm(value, inner.channels(), Window::unpadded(1, stride))
    };
    let sum = net.binary("Add", inner, &shortcut);
    net.relu(&sum)
}

pub(crate) fn classify(mut net: Sketch, value: &Value, classes: usize) -> ModelProto {
    let pooled = net.global_average_pool(value);
    let flat = net.flatten(&pooled);
    let output = net.linear(&flat, classes);
    net.finish(&[output])
}

/// `SqueezeNet` 1.1 (Iandola et al. 2016): fire modules, a convolution as classifier, softmax.
pub(crate) fn squeezenet(mut net: Sketch) -> ModelProto {
    let input = net.input();
    // Padding as a node of its own, as exporters of other frameworks write it.
    let padded = net.pad(&input, 1);
    let stem = net.conv(&padded, 16, Window::unpadded(3, 2));
    let stem = net.relu(&stem);
    let mut value = net.max_pool(&stem, Window::unpadded(3, 2));
    for (squeezed, expanded) in [(8, 16), (8, 16), (12, 24), (16, 32)] {
        let inner = net.conv(&value, squeezed, Window::unpadded(1, 1));
        let inner = net.relu(&inner);
        let left = net.conv(&inner, expanded, Window::unpadded(1, 1));
        let left = net.relu(&left);
        let right = net.conv(&inner, expanded, Window::same(3, 1));
        let right = net.relu(&right);
        value = net.concat(&[&left, &right]);
    }
    let classes = net.conv(&value, 10, Window::unpadded(1, 1));
    let classes = net.relu(&classes);
    let pooled = net.global_average_pool(&classes);
    let flat = net.flatten(&pooled);
    let output = net.unary("Softmax", &flat, vec![super::proto::int("axis", 1)]);
    net.finish(&[output])
}

/// `GoogLeNet` (Szegedy et al. 2014): four branches side by side, one of them pooling.
pub(crate) fn googlenet(mut net: Sketch) -> ModelProto {
    let input = net.input();
    let stem = net.conv_norm(&input, 16, Window::same(3, 1));
    let stem = net.relu(&stem);
    let mut value = net.max_pool(&stem, Window::same(3, 2));
    for scale in [1, 2, 2] {
        let one = branch(&mut net, &value, &[(8 * scale, 1)]);
        let three = branch(&mut net, &value, &[(8 * scale, 1), (12 * scale, 3)]);
        let five = branch(&mut net, &value, &[(4 * scale, 1), (8 * scale, 5)]);
        let pooled = net.max_pool(&value, Window::same(3, 1));
        let pooled = branch(&mut net, &pooled, &[(8 * scale, 1)]);
        value = net.concat(&[&one, &three, &five, &pooled]);
        if scale == 1 {
            value = net.max_pool(&value, Window::same(3, 2));
        }
    }
    classify(net, &value, 10)
}

fn branch(net: &mut Sketch, value: &Value, layers: &[(usize, usize)]) -> Value {
    let mut value = value.clone();
    for &(width, kernel) in layers {
        let conv = net.conv_norm(&value, width, Window::same(kernel, 1));
        value = net.relu(&conv);
    }
    value
}

/// `DenseNet` (Huang et al. 2016): each layer norms, by itself, all that was before it.
pub(crate) fn densenet(mut net: Sketch) -> ModelProto {
    const GROWTH: usize = 12;
    let input = net.input();
    let mut value = net.conv(&input, 2 * GROWTH, Window::same(3, 1));
    for stage in 0..3 {
        if stage > 0 {
            let normed = net.norm(&value);
            let active = net.relu(&normed);
            let narrow = net.conv(&active, value.channels() / 2, Window::unpadded(1, 1));
            value = net.average_pool(&narrow, Window::unpadded(2, 2), false);
        }
        for _ in 0..3 {
            let normed = net.norm(&value);
            let active = net.relu(&normed);
            let inner = net.conv_norm(&active, 4 * GROWTH, Window::unpadded(1, 1));
            let inner = net.relu(&inner);
            let grown = net.conv(&inner, GROWTH, Window::same(3, 1));
            value = net.concat(&[&value, &grown]);
        }
    }
    let normed = net.norm(&value);
    let active = net.relu(&normed);
    classify(net, &active, 10)
}
