//! Which weights of a layer are none: every number is looked at once and without a branch, so that the compiler tests several
//! of them at a time, and reading them from memory is what takes the time.

use fixedbitset::FixedBitSet;

use super::{source::Weight, step::Layout};

/// Weights that are smaller than this are none: ONNX Runtime would flush their products to zero.
const NONE: f32 = 1e-30;

/// Cells of one block of a bit set.
const BLOCK: usize = usize::BITS as usize;

/// A number as it was read.
type Float = [u8; 4];

/// For each output, which of the `ins` inputs of its group have a weight that is not zero.
pub(super) fn rows_of(weight: &Weight, layout: Layout, ins: usize) -> Vec<FixedBitSet> {
    let [first, width, kernel @ ..] = weight.dims.as_slice() else { return vec![] };
    let cell = kernel.iter().product::<usize>();
    let outs = match layout {
        Layout::OutputFirst => *first,
        Layout::InputFirst => first.checked_div(ins).unwrap_or(0) * width,
    };
    let mut rows = vec![FixedBitSet::with_capacity(ins); outs];
    if cell * width * ins == 0 {
        return rows;
    }
    let lines = weight.bytes().as_chunks().0.chunks_exact(cell * width).map(|line| cells_of(line, cell));
    match layout {
        Layout::OutputFirst => lines.collect(),
        Layout::InputFirst => {
            for (position, line) in lines.enumerate() {
                let (group, input) = (position / ins, position % ins);
                for output in line.ones() {
                    if let Some(row) = rows.get_mut(group * width + output) {
                        row.insert(input);
                    }
                }
            }
            rows
        }
    }
}

/// Which cells, of `cell` numbers each, are used. Sizes of kernels that are common are known to the compiler.
fn cells_of(line: &[Float], cell: usize) -> FixedBitSet {
    match cell {
        1 => cells_of_size::<1>(line),
        9 => cells_of_size::<9>(line),
        25 => cells_of_size::<25>(line),
        49 => cells_of_size::<49>(line),
        _ => packed(line.len() / cell, line.chunks(cell * BLOCK), |block, flags| {
            for (flag, numbers) in flags.iter_mut().zip(block.chunks_exact(cell)) {
                *flag = is_used(numbers);
            }
        }),
    }
}

fn cells_of_size<const CELL: usize>(line: &[Float]) -> FixedBitSet {
    let (cells, _) = line.as_chunks::<CELL>();
    packed(cells.len(), cells.chunks(BLOCK), |block, flags| {
        for (flag, numbers) in flags.iter_mut().zip(block) {
            *flag = is_used(numbers);
        }
    })
}

/// 1 if any of the numbers is a weight. Without their signs, floats are in the order of their bits, and NaN is above all.
fn is_used(numbers: &[Float]) -> u8 {
    const LEAST: i32 = NONE.to_bits() as i32;
    let is_weight = |number: &Float| i32::from_le_bytes(*number) & i32::MAX >= LEAST;
    u8::from(numbers.iter().fold(false, |used, number| used | is_weight(number)))
}

/// The set of `count` bits whose blocks have the flags that `flag` writes, 0 or 1 each.
fn packed<B>(
    count: usize,
    blocks: impl Iterator<Item = B>,
    flag: impl Fn(B, &mut [u8; BLOCK]),
) -> FixedBitSet {
    let blocks = blocks.map(|block| {
        let mut flags = [0; BLOCK];
        flag(block, &mut flags);
        flags.as_chunks().0.iter().rev().fold(0, |bits, eight| (bits << 8) | eight_bits(*eight))
    });
    FixedBitSet::with_capacity_and_blocks(count, blocks)
}

/// Eight flags as eight bits, the first one lowest: the product moves flag i to bit 56 + i, and no two flags meet there or below.
fn eight_bits(flags: [u8; 8]) -> usize {
    (u64::from_le_bytes(flags).wrapping_mul(0x0102_0408_1020_4080) >> 56) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_bits_in_their_order() {
        for bits in 0..=255_usize {
            let flags = std::array::from_fn(|place| (bits >> place & 1) as u8);
            assert_eq!(eight_bits(flags), bits);
        }
    }

    #[test]
    fn a_cell_is_used_if_any_of_its_numbers_is() {
        let nothing = [0.0, -0.0, 9e-31, -1e-40];
        let weights = [1e-30, -1e-30, 1e30, f32::INFINITY, f32::NAN, -f32::NAN];
        let unused = nothing.map(|number| (number, vec![]));
        let used = weights.map(|number| (number, vec![67]));
        for cell in [1, 2, 9, 25, 49] {
            for (place, (number, expected)) in
                (0..cell).flat_map(|place| unused.iter().chain(&used).map(move |case| (place, case)))
            {
                let mut line = vec![0.0_f32.to_le_bytes(); 70 * cell];
                line[67 * cell + place] = number.to_le_bytes();
                let found: Vec<usize> = cells_of(&line, cell).ones().collect();
                assert_eq!(found, *expected, "{number} at {place} of {cell}");
            }
        }
    }
}
