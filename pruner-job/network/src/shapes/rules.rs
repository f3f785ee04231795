//! What operators do to shapes. Shapes are without the batch, axes count it; `None` means that it does not fit.

use crate::operator::{Convolution, Operator, Window};

/// The position in a shape without batch of an axis that counts the batch and may count from the end.
pub(crate) fn position(axis: i64, count: usize) -> Option<usize> {
    let rank = count as i64 + 1;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    (1..rank).contains(&axis).then(|| axis as usize - 1)
}

fn positions(axes: &[i64], count: usize) -> Option<Vec<usize>> {
    axes.iter().map(|&axis| position(axis, count)).collect()
}

pub(super) fn convolved(input: &[usize], weight: &[usize], convolution: &Convolution) -> Option<Vec<usize>> {
    let (&[channels, height, width], &[outputs, inputs, _, _]) = (input, weight) else { return None };
    let [height, width] = moved(&convolution.window, [height, width], false)?;
    let fits = inputs.checked_mul(convolution.groups)? == channels && outputs % convolution.groups == 0;
    fits.then(|| vec![outputs, height, width])
}

pub(super) fn pooled(input: &[usize], window: &Window, round_up: bool) -> Option<Vec<usize>> {
    let &[channels, height, width] = input else { return None };
    let [height, width] = moved(window, [height, width], round_up)?;
    Some(vec![channels, height, width])
}

pub(super) fn of_channels(input: &[usize]) -> Option<Vec<usize>> {
    let &[channels, _, _] = input else { return None };
    Some(vec![channels, 1, 1])
}

pub(super) fn padded(input: &[usize], [top, left, bottom, right]: [usize; 4]) -> Option<Vec<usize>> {
    let &[channels, height, width] = input else { return None };
    Some(vec![channels, top + height + bottom, left + width + right])
}

pub(super) fn fully_connected(input: &[usize], weight: &[usize], transposed: bool) -> Option<Vec<usize>> {
    let (&[features], &[rows, columns]) = (input, weight) else { return None };
    let (outputs, inputs) = if transposed { (rows, columns) } else { (columns, rows) };
    (inputs == features).then(|| vec![outputs])
}

pub(super) fn multiplied(input: &[usize], weight: &[usize]) -> Option<Vec<usize>> {
    let (&[ref outer @ .., features], &[inputs, outputs]) = (input, weight) else { return None };
    (inputs == features).then(|| [outer, &[outputs]].concat())
}

/// Two values: as many axes, and along each the same size, or one of them 1.
pub(super) fn broadcast(left: &[usize], right: &[usize]) -> Option<Vec<usize>> {
    let size = |(&left, &right): (&usize, &usize)| match (left, right) {
        (1, size) | (size, 1) => Some(size),
        (left, right) => (left == right).then_some(left),
    };
    if left.len() == right.len() { left.iter().zip(right).map(size).collect() } else { None }
}

/// A value and a constant, which has fewer axes or 1 for the batch.
pub(super) fn with_constant(value: &[usize], constant: &[usize]) -> Option<Vec<usize>> {
    let constant = aligned(value.len(), constant)?;
    broadcast(value, &constant)
}

/// A constant's shape with as many axes as a value has without batch.
pub(crate) fn aligned(axes: usize, constant: &[usize]) -> Option<Vec<usize>> {
    let constant = match constant {
        [1, inner @ ..] if inner.len() == axes => inner,
        other => other,
    };
    let missing = axes.checked_sub(constant.len())?;
    Some(std::iter::repeat_n(1, missing).chain(constant.iter().copied()).collect())
}

pub(super) fn without_axes(input: &[usize], axes: &[i64], keep: bool) -> Option<Vec<usize>> {
    let gone = positions(axes, input.len())?;
    let size = |(position, &size): (usize, &usize)| match (gone.contains(&position), keep) {
        (false, _) => Some(size),
        (true, true) => Some(1),
        (true, false) => None,
    };
    Some(input.iter().enumerate().filter_map(size).collect())
}

pub(super) fn squeezed(input: &[usize], axes: &[i64]) -> Option<Vec<usize>> {
    let gone = positions(axes, input.len())?;
    let are_one = gone.iter().all(|&position| input.get(position) == Some(&1));
    are_one.then(|| without_axes(input, axes, false))?
}

pub(super) fn unsqueezed(input: &[usize], axes: &[i64]) -> Option<Vec<usize>> {
    let count = input.len() + axes.len();
    let mut new = positions(axes, count)?;
    new.sort_unstable();
    new.dedup();
    let mut old = input.iter().copied();
    let shape: Option<Vec<usize>> =
        (0..count).map(|position| if new.contains(&position) { Some(1) } else { old.next() }).collect();
    shape.filter(|_| new.len() == axes.len())
}

pub(super) fn transposed(input: &[usize], order: &[usize]) -> Option<Vec<usize>> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    let all = sorted.iter().copied().eq(1..=input.len());
    all.then(|| order.iter().filter_map(|&axis| input.get(axis - 1).copied()).collect())
}

/// The batch must stay the batch: it is 0 (kept), or -1 or its size at export beside sizes that make up the whole value.
pub(super) fn reshaped(input: &[usize], shape: &[i64]) -> Option<Vec<usize>> {
    let (&batch, rest) = shape.split_first()?;
    let count: usize = input.iter().product();
    let mut sizes = Vec::new();
    let mut open = None;
    for (position, &size) in rest.iter().enumerate() {
        match size {
            -1 if open.is_none() && batch != -1 => {
                open = Some(position);
                sizes.push(1);
            }
            0 => sizes.push(*input.get(position)?),
            size => sizes.push(usize::try_from(size).ok()?),
        }
    }
    let known = sizes.iter().try_fold(1_usize, |known, &size| known.checked_mul(size))?;
    if let Some(open) = open.and_then(|position| sizes.get_mut(position)) {
        *open = count.checked_div(known)?;
    }
    let whole = sizes.iter().product::<usize>() == count;
    whole.then_some(sizes)
}

pub(super) fn joined(inputs: &[&[usize]], axis: i64) -> Option<Vec<usize>> {
    let first = inputs.first()?;
    let axis = position(axis, first.len())?;
    let mut shape = first.to_vec();
    let size = shape.get_mut(axis)?;
    *size = 0;
    for input in inputs {
        let alike = input.len() == first.len()
            && input.iter().zip(*first).enumerate().all(|(position, (a, b))| position == axis || a == b);
        *size += alike.then(|| input.get(axis).copied())??;
    }
    Some(shape)
}

pub(super) fn part(input: &[usize], operator: &Operator) -> Option<Vec<usize>> {
    let (axis, start, end) = range(input, operator)?;
    let mut shape = input.to_vec();
    *shape.get_mut(axis)? = end.checked_sub(start)?;
    Some(shape)
}

/// The position of the axis in a shape without batch, the first index and the one after the last of a Slice or a Share;
/// `None` for other operators, and if there is no such axis.
pub fn range(input: &[usize], operator: &Operator) -> Option<(usize, usize, usize)> {
    match *operator {
        Operator::Slice { axis, start, end } => {
            let axis = position(axis, input.len())?;
            let size = *input.get(axis)? as i64;
            let index = |index: i64| if index < 0 { index.saturating_add(size) } else { index };
            let (start, end) = (index(start).clamp(0, size), index(end).clamp(0, size));
            Some((axis, start as usize, end as usize))
        }
        Operator::Share { axis, index, of } => {
            let axis = position(axis, input.len())?;
            let size = *input.get(axis)?;
            let step = size.div_ceil(of.max(1));
            Some((axis, (index * step).min(size), ((index + 1) * step).min(size)))
        }
        _ => None,
    }
}

pub(super) fn gathered(input: &[usize], axis: i64, places: &[i64]) -> Option<Vec<usize>> {
    let axis = position(axis, input.len())?;
    let mut shape = input.to_vec();
    let size = shape.get_mut(axis)?;
    let within = places.iter().all(|&place| (-(*size as i64)..*size as i64).contains(&place));
    *size = places.len();
    within.then_some(shape)
}

pub(super) fn normed(input: &[usize], axis: i64, to_the_end: bool) -> Option<Vec<usize>> {
    let axis = position(axis, input.len())?;
    (!to_the_end || axis + 1 == input.len()).then(|| input.to_vec())
}

/// How often the window fits: `(size + padding - dilation * (kernel - 1) - 1) / stride + 1`. Rounded up, a last window must start
/// before the padding at the end.
fn moved(window: &Window, [height, width]: [usize; 2], round_up: bool) -> Option<[usize; 2]> {
    let [top, left, bottom, right] = window.padding;
    let ([kernel_y, kernel_x], [step_y, step_x]) = (window.kernel, window.stride);
    let [spread_y, spread_x] = window.dilation;
    let count = |size: usize, edges: [usize; 2], kernel: usize, spread: usize, step: usize| {
        let reach = kernel.checked_sub(1)?.checked_mul(spread)?.checked_add(1)?;
        let [before, after] = edges;
        let room = (size + before + after).checked_sub(reach)?;
        let steps = if round_up { room.div_ceil(step) } else { room / step };
        let starts_within = !round_up || steps * step < size + before;
        Some(if starts_within { steps + 1 } else { steps })
    };
    let rows = count(height, [top, bottom], kernel_y, spread_y, step_y)?;
    Some([rows, count(width, [left, right], kernel_x, spread_x, step_x)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reshape_keeps_the_batch_or_is_refused() {
        for shape in [&[0, 2, 3, 4][..], &[-1, 2, 3, 4], &[1, 2, 3, 4], &[0, 2, -1, 4], &[1, -1, 3, 4]] {
            assert_eq!(reshaped(&[6, 4], shape), Some(vec![2, 3, 4]), "{shape:?}");
        }
        assert_eq!(reshaped(&[6, 4], &[0, 0, 2, 2]), Some(vec![6, 2, 2]));
        assert_eq!(reshaped(&[6, 4], &[2, 3, 4, 2]), Some(vec![3, 4, 2]), "a batch of two");
        for shape in [&[-1, 2, 3][..], &[2, 3, 2, 2], &[-1, -1, 4], &[0, -1, -1], &[0, -2, 3]] {
            assert_eq!(reshaped(&[6, 4], shape), None, "{shape:?}");
        }
    }

    #[test]
    fn axes_count_the_batch_and_may_count_from_the_end() {
        assert_eq!([1, 3, -1, -3].map(|axis| position(axis, 3)), [Some(0), Some(2), Some(2), Some(0)]);
        assert_eq!([0, 4, -4, -5, i64::MIN].map(|axis| position(axis, 3)), [None; 5]);
        assert_eq!(without_axes(&[5, 4, 3], &[2, -1], false), Some(vec![5]));
        assert_eq!(without_axes(&[5, 4, 3], &[2, 3], true), Some(vec![5, 1, 1]));
        assert_eq!(squeezed(&[5, 1, 1], &[2, 3]), Some(vec![5]));
        assert_eq!(squeezed(&[5, 1, 2], &[2, 3]), None);
        assert_eq!(unsqueezed(&[5], &[2, 3]), Some(vec![5, 1, 1]));
        assert_eq!(unsqueezed(&[5], &[-1, -2]), Some(vec![5, 1, 1]));
        assert_eq!(transposed(&[2, 3, 4], &[2, 1, 3]), Some(vec![3, 2, 4]));
        assert_eq!(transposed(&[2, 3, 4], &[2, 2, 3]), None);
    }

    #[test]
    fn constants_are_broadcast_from_the_right() {
        assert_eq!(with_constant(&[5, 4, 3], &[]), Some(vec![5, 4, 3]));
        assert_eq!(with_constant(&[5, 4, 3], &[5, 1, 1]), Some(vec![5, 4, 3]));
        assert_eq!(with_constant(&[5, 4, 3], &[1, 5, 1, 1]), Some(vec![5, 4, 3]));
        assert_eq!(with_constant(&[5, 4, 3], &[5]), None);
        assert_eq!(with_constant(&[5, 4, 3], &[2, 5, 1, 1]), None);
        assert_eq!(broadcast(&[5, 4, 3], &[5, 1, 1]), Some(vec![5, 4, 3]));
        assert_eq!(broadcast(&[5, 4, 3], &[5]), None);
    }

    #[test]
    fn parts_of_an_axis_are_within_it() {
        let slice = |start, end| part(&[5, 4], &Operator::Slice { axis: 1, start, end });
        assert_eq!(slice(1, 3), Some(vec![2, 4]));
        assert_eq!(slice(-2, i64::MAX), Some(vec![2, 4]));
        assert_eq!(slice(3, 1), None);
        let shares = [0, 1].map(|index| part(&[5, 4], &Operator::Share { axis: 1, index, of: 2 }));
        assert_eq!(shares, [Some(vec![3, 4]), Some(vec![2, 4])]);
        assert_eq!(joined(&[&[5, 4], &[2, 4]], 1), Some(vec![7, 4]));
        assert_eq!(joined(&[&[5, 4], &[2, 3]], 1), None);
    }
}
