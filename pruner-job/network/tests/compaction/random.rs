//! Networks that nobody would draw: any operators in any order, joined wherever shapes allow it. A list of numbers decides,
//! so that a shorter list is a simpler network and a failing one can be made smaller.

use dnnshifter_network::onnx::ModelProto;

use crate::zoo::{
    proto::{float, int},
    sketch::{Norms, Sketch, Value, Window},
};

/// Channels, height and width of the input.
pub(crate) const IMAGE: [usize; 3] = [2, 9, 9];

/// One decision: what is added, to which values, how wide.
pub(crate) type Choice = (u8, u8, u8, u8);

/// The network of a list of decisions.
pub(crate) fn network(seed: u64, choices: &[Choice]) -> ModelProto {
    let norms = if seed.is_multiple_of(2) { Norms::Kept } else { Norms::Folded };
    let mut net = Sketch::new(norms, seed, IMAGE).calm();
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
    vec![match what % 29 {
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
        28 => net.unary("Softmax", left, vec![int("axis", 3)]),
        _ => net.relu(left),
    }]
}
