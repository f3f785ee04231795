//! Operators with weights or with windows.

use super::{
    Convolution, Operator, Unsupported, Window,
    reading::{EXPLICIT, Reading, SIMPLIFY, form, sizes},
};

pub(super) fn convolution(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    if !read.weights_are_constant() {
        return Err(form("a convolution whose weight is computed", SIMPLIFY));
    }
    let weight = read.input(1).map(|name| read.network.float_shape(name)).transpose()?.flatten();
    let [_, _, height, width] = *weight.as_deref().unwrap_or_default() else {
        return Err(form("a convolution that is not two-dimensional", EXPLICIT));
    };
    let window = window(read, [height, width])?;
    let groups = usize::try_from(read.attributes.integer("group", 1)).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or_else(|| form("a group count below 1", EXPLICIT))?;
    Ok(Operator::Conv(Convolution { window, groups }))
}

pub(super) fn batch_norm(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    if read.attributes.integer("training_mode", 0) != 0 {
        return Err(form("BatchNormalization in training mode", "export the model in evaluation mode"));
    }
    if read.node.input.len() != 5 || !read.weights_are_constant() {
        return Err(form("BatchNormalization whose parameters are computed", SIMPLIFY));
    }
    Ok(Operator::BatchNorm { epsilon: f64::from(read.attributes.float("epsilon", 1e-5)) })
}

pub(super) fn gemm(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    let attributes = &read.attributes;
    let plain = attributes.float("alpha", 1.0).to_bits() == 1.0_f32.to_bits()
        && attributes.float("beta", 1.0).to_bits() == 1.0_f32.to_bits()
        && attributes.integer("transA", 0) == 0;
    if !plain {
        return Err(form("Gemm with alpha, beta or transA", SIMPLIFY));
    }
    if !read.weights_are_constant() {
        return Err(form("Gemm whose weight is computed", SIMPLIFY));
    }
    Ok(Operator::Gemm { transposed: attributes.integer("transB", 0) != 0 })
}

pub(super) fn matrix_product(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    let weight = read.input(1).map(|name| read.network.float_shape(name)).transpose()?.flatten();
    match weight.as_deref() {
        Some([_, _]) => Ok(Operator::MatMul),
        Some(_) => Err(form("MatMul with a weight that is no matrix", EXPLICIT)),
        None => Err(form("MatMul of two values (attention)", "take a convolutional network")),
    }
}

pub(super) fn max_pool(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    let round_up = read.attributes.integer("ceil_mode", 0) != 0;
    Ok(Operator::MaxPool { window: pool_window(read)?, round_up })
}

pub(super) fn average_pool(read: &Reading<'_>) -> Result<Operator, Unsupported> {
    let window = pool_window(read)?;
    if read.attributes.integer("ceil_mode", 0) != 0 {
        return Err(form("an AveragePool with ceil_mode", "export the model with ceil_mode=False"));
    }
    let [top, left, bottom, right] = window.padding;
    if top != bottom || left != right || window.dilation != [1; 2] {
        return Err(form(
            "an AveragePool with uneven padding or dilation",
            "use a Pad node and plain windows",
        ));
    }
    let count_padding = read.attributes.integer("count_include_pad", 0) != 0;
    Ok(Operator::AveragePool { window, count_padding })
}

fn pool_window(read: &Reading<'_>) -> Result<Window, Unsupported> {
    let kernel = read.attributes.integers("kernel_shape").unwrap_or_default();
    let Ok(kernel) = <[i64; 2]>::try_from(kernel) else {
        return Err(form("pooling that is not two-dimensional", EXPLICIT));
    };
    window(read, sizes(kernel, 1)?)
}

fn window(read: &Reading<'_>, kernel: [usize; 2]) -> Result<Window, Unsupported> {
    let attributes = &read.attributes;
    if !matches!(attributes.text("auto_pad"), None | Some(b"NOTSET" | b"VALID")) {
        return Err(form("automatic padding (auto_pad)", "export the model with explicit pads"));
    }
    let pair = |name, default, least| match attributes.integers(name) {
        None => Ok(default),
        Some(values) => match <[i64; 2]>::try_from(values) {
            Ok(values) => sizes(values, least),
            Err(_) => Err(form("a window that is not two-dimensional", EXPLICIT)),
        },
    };
    let padding = match attributes.integers("pads") {
        None => [0; 4],
        Some(pads) => match <[i64; 4]>::try_from(pads) {
            Ok(pads) => sizes(pads, 0)?,
            Err(_) => return Err(form("padding that is not two-dimensional", EXPLICIT)),
        },
    };
    Ok(Window {
        kernel,
        stride: pair("strides", [1; 2], 1)?,
        dilation: pair("dilations", [1; 2], 1)?,
        padding,
    })
}
