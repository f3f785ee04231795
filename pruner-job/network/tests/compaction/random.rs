//! Networks that nobody would draw: any operators in any order, joined wherever shapes allow it. A list of numbers decides,
//! so that a shorter list is a simpler network and a failing one can be made smaller.

use dnnshifter_network::onnx::ModelProto;

use crate::zoo::{
    proto::{float, int},
    sketch::{Norms, Sketch, Value, Window},
};

/// Channels, height and width of the input.
pub(crate) const IMAGE: [usize; 3] = [2, 9, 9];

/// Operator sets, of which a network has one.
const OPSETS: [i64; 3] = [14, 17, 21];

/// Operators that change each number by itself; the last two came between the last two operator sets.
const UNARY: [&str; 14] = [
    "Abs",
    "Celu",
    "Dropout",
    "Elu",
    "Erf",
    "Identity",
    "Neg",
    "Selu",
    "Softplus",
    "Softsign",
    "Tanh",
    "ThresholdedRelu",
    "Gelu",
    "Mish",
];

/// One decision: what is added, to which values, how wide.
pub(crate) type Choice = (u8, u8, u8, u8);

/// The network of a list of decisions.
pub(crate) fn network(seed: u64, choices: &[Choice]) -> ModelProto {
    let norms = if seed.is_multiple_of(2) { Norms::Kept } else { Norms::Folded };
    let opset = OPSETS[seed as usize % OPSETS.len()];
    let mut net = Sketch::new(norms, seed, IMAGE).calm().at(opset);
    let mut values = vec![net.input()];
    for &choice in choices {
        let added = add(&mut net, &values, choice);
        values.extend(added);
    }
    let last = values[values.len() - 1].clone();
    // ONNX Runtime sums in f32 and in order, so that a mean is off by more the more values it is of: over 36 by 36 equal ones by 3e-6,
    // which is no fault of ours, and a third of what the judge lets pass. What has grown above 18 is halved first.
    let calm = if last.shape[1] > 18 { net.max_pool(&last, Window::unpadded(2, 2)) } else { last.clone() };
    let pooled = net.global_average_pool(&calm);
    let flat = net.flatten(&pooled);
    let answer = net.linear(&flat, 3);
    // An answer for every place as well: there mistakes at the border show as they are.
    let map = net.conv(&last, 2, Window::same(3, 1));
    net.finish(&[answer, map])
}

fn add(net: &mut Sketch, values: &[Value], (what, first, second, size): Choice) -> Vec<Value> {
    // Mostly the newest values, or most of a network would lead nowhere.
    let of = |number: u8| &values[values.len() - 1 - usize::from(number) % values.len().min(4)];
    let (left, right) = (of(first), of(second));
    let (width, channels) = (1 + usize::from(size) % 7, left.channels());
    let large = left.shape[1] >= 4 && left.shape[2] >= 4;
    let small = left.shape[1] <= 18;
    let same_size = left.shape[1..] == right.shape[1..];
    vec![match what % 40 {
        0 => net.conv(left, width, Window::same(3, 1)),
        1 => net.conv_norm(left, width, Window::same(3, 1)),
        2 if large => net.conv_norm(left, width, Window::same(3, 2)),
        3 => net.conv(left, width, Window::unpadded(1, 1)),
        4 if large => net.conv(left, width, Window::unpadded(3, 1)),
        5 => net.conv_norm(left, channels, Window::same(3, 1).grouped(channels)),
        6 if channels.is_multiple_of(2) => net.conv(left, 2 * width, Window::same(3, 1).grouped(2)),
        7 => net.conv(left, width, Window::same(3, 1).dilated(2)),
        8 => net.norm(left),
        9 => net.unary("LeakyRelu", left, vec![float("alpha", 0.1)]),
        10 => net.swish(left),
        11 => net.clip(left),
        12 => net.unary("HardSwish", left, vec![]),
        // Without padding: ONNX Runtime 1.31 takes a window that would start in it for one more, where it infers shapes.
        13 if large && (4..=left.shape[1] + 2).contains(&width) => {
            net.max_pool(left, Window::unpadded(width - 2, 2).rounded_up())
        }
        13 if large => net.max_pool(left, Window::same(3, 2)),
        14 if large && width > 3 => net.average_pool(left, Window::unpadded(2, 2).rounded_up(), false),
        14 => net.average_pool(left, Window::same(3, 1), size.is_multiple_of(2)),
        15 if left.shape == right.shape => {
            net.binary(["Add", "Sub", "Mul"][usize::from(size) % 3], left, right)
        }
        16 if same_size && channels + right.channels() <= 24 => net.concat(&[left, right]),
        17 if channels > 1 => {
            let (first, second) = net.halves(left, 0);
            return vec![first, second];
        }
        18 if channels.is_multiple_of(2) => net.shuffle(left, 2),
        19 => net.squeeze_excite(left, width, ["Sigmoid", "HardSigmoid"][usize::from(size) % 2]),
        20 if small => net.conv_transpose(left, width, 2 + usize::from(size) % 2, 1),
        21 if small => net.upsample(left),
        // A layer follows at once: ONNX Runtime 1.31 merges padding into the pooling behind it even where the padding is the largest.
        22 if small => {
            let padded = net.pad(left, 1);
            net.conv(&padded, width, Window::unpadded(3, 1))
        }
        23 if channels > 1 => net.slice(left, channels / 2, channels),
        24 if small && channels.is_multiple_of(2) => {
            net.conv_transpose(left, 2 * width, 2 + usize::from(size) % 2, 2)
        }
        25 if small => net.conv_transpose(left, channels, 2 + usize::from(size) % 2, channels),
        26 if left.shape[1] > 1 => {
            let (first, second) = net.halves(left, 1);
            return vec![first, second];
        }
        27 if small => net.mlp(left, width, false),
        28 => net.unary(["Softmax", "LogSoftmax"][usize::from(size) % 2], left, vec![int("axis", 3)]),
        29..=31 => unary(net, left, size),
        32 => net.prelu(left, size.is_multiple_of(2)),
        33 => {
            let operator = ["Div", "Add", "Sub", "Mul"][usize::from(size) % 4];
            net.with_constant(operator, left, operator != "Div" && second.is_multiple_of(2))
        }
        34 => net.gelu_by_parts(left),
        35 => {
            let axes: &[usize] = [&[1, 2][..], &[2], &[1]][usize::from(size) % 3];
            let reduced = net.reduce(["ReduceMean", "ReduceMax"][usize::from(second) % 2], left, axes, true);
            net.binary("Sub", left, &reduced)
        }
        36 => net.excite_squeezed(left, width),
        37 => net.gather(left, &dealt(channels, width, second)),
        38 => {
            let auto_pad = ["SAME_UPPER", "SAME_LOWER"][usize::from(first) % 2];
            let window = Window::fitted(2 + width % 2, 1 + usize::from(large), auto_pad);
            match second % 4 {
                0 => net.max_pool(left, window),
                1 => net.average_pool(left, window, size.is_multiple_of(2)),
                _ => net.conv(left, width, window),
            }
        }
        39 if left.shape[1] <= 4 => net.global_pool("GlobalMaxPool", left),
        _ => net.relu(left),
    }]
}

fn unary(net: &mut Sketch, value: &Value, size: u8) -> Value {
    let known = if net.opset() < 20 { UNARY.len() - 2 } else { UNARY.len() };
    let operator = UNARY[usize::from(size) % known];
    // It jumps at any other limit, and so would rounding.
    let limit = (operator == "ThresholdedRelu").then(|| float("alpha", 0.0));
    net.unary(operator, value, limit.into_iter().collect())
}

/// Channels in another order, some of them more than once or not at all, every other one counted from the last.
fn dealt(channels: usize, width: usize, step: u8) -> Vec<i64> {
    let channel = |at: usize| (at * usize::from(step) + at / 2) % channels;
    (0..width).map(|at| channel(at) as i64 - if at % 2 == 0 { 0 } else { channels as i64 }).collect()
}
