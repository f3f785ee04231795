//! One look at a weight's numbers: whether they all are finite, and which of its cells are used. A cell holds the numbers of one output
//! and one input of a layer, such as the kernel of a convolution.
//!
//! Reading the numbers from memory is what takes the time, so that both are found at once, as they lie, and without a branch for each
//! number, so that the compiler tests several of them at a time.

/// Weights that are smaller than this are none: ONNX Runtime would flush their products to zero.
const NONE: f32 = 1e-30;

/// [`NONE`] as its bits. Without their signs, floats are in the order of their bits, and NaN is above all.
const LEAST: i32 = NONE.to_bits() as i32;

/// The bits of an infinite number.
const INFINITE: i32 = f32::INFINITY.to_bits() as i32;

/// Cells of one block of bits.
pub(crate) const BLOCK: usize = usize::BITS as usize;

/// A number as it was read.
pub(crate) type Float = [u8; 4];

/// Which cells of a weight are used: rows of bits, one for each place of its first axis, each with a bit for each place of the second.
#[derive(Debug)]
pub(crate) struct Cells {
    blocks: Vec<usize>,
    /// Cells of a row.
    width: usize,
}

/// What a look at a weight has found.
pub(crate) struct Look {
    pub(crate) is_finite: bool,
    pub(crate) cells: Cells,
}

impl Look {
    /// At the `numbers` of a weight of this shape. One of fewer than two axes counts as one row; without a number there is none.
    pub(crate) fn at(numbers: &[Float], dims: &[usize]) -> Self {
        let (width, cell) = match dims {
            [_, width, kernel @ ..] if !numbers.is_empty() => (*width, kernel.iter().product()),
            _ => (numbers.len(), 1),
        };
        let mut look = Self { is_finite: true, cells: Cells { blocks: vec![], width } };
        // Without a number, the other axes may be of any size.
        if !numbers.is_empty() {
            for row in numbers.chunks_exact(width * cell) {
                for block in row.chunks(cell * BLOCK) {
                    look.add(block, cell);
                }
            }
        }
        look
    }

    /// Looks at up to 64 more cells.
    fn add(&mut self, block: &[Float], cell: usize) {
        let (mut none, mut some, mut odd) = (0, 0, 0);
        for number in block {
            let bits = i32::from_le_bytes(*number) & i32::MAX;
            let is_none = -i32::from(bits < LEAST);
            none |= is_none;
            some |= !is_none;
            odd |= -i32::from(bits >= INFINITE);
        }
        self.is_finite &= odd == 0;
        self.cells.blocks.push(match (some, none) {
            // In a sparse layer most blocks are empty, in a dense one all are full: which of their cells are used needs no second look.
            (0, _) => 0,
            (_, 0) => usize::MAX >> (BLOCK - block.len() / cell),
            _ => used(block, cell),
        });
    }
}

impl Cells {
    /// The bits of `row`.
    pub(crate) fn row(&self, row: usize) -> &[usize] {
        let count = self.width.div_ceil(BLOCK);
        self.blocks.get(row * count..(row + 1) * count).unwrap_or_default()
    }

    /// The same of a weight whose first axis is the inputs of all groups, `ins` of each, and whose second the outputs of one: a row for
    /// each output.
    pub(crate) fn turned(&self, ins: usize) -> Self {
        let count = ins.div_ceil(BLOCK);
        let lines = self.blocks.chunks_exact(self.width.div_ceil(BLOCK).max(1));
        let mut blocks = vec![0; lines.len() / ins.max(1) * self.width * count];
        for (position, line) in lines.enumerate() {
            let (group, input) = (position / ins, position % ins);
            for output in ones(line) {
                if let Some(block) = blocks.get_mut((group * self.width + output) * count + input / BLOCK) {
                    *block |= 1 << (input % BLOCK);
                }
            }
        }
        Self { blocks, width: ins }
    }
}

/// The positions of the bits that are set, in ascending order.
pub(crate) fn ones(blocks: &[usize]) -> impl Iterator<Item = usize> {
    blocks.iter().enumerate().flat_map(|(position, &block)| {
        let mut bits = block;
        std::iter::from_fn(move || {
            let first = bits.trailing_zeros() as usize;
            bits &= bits.wrapping_sub(1);
            (first < BLOCK).then_some(position * BLOCK + first)
        })
    })
}

/// Which of up to 64 cells are used. Sizes of kernels that are common are known to the compiler.
fn used(block: &[Float], cell: usize) -> usize {
    let mut flags = [0; BLOCK];
    match cell {
        1 => flag::<1>(block, &mut flags),
        9 => flag::<9>(block, &mut flags),
        25 => flag::<25>(block, &mut flags),
        49 => flag::<49>(block, &mut flags),
        _ => {
            for (flag, numbers) in flags.iter_mut().zip(block.chunks_exact(cell)) {
                *flag = is_used(numbers);
            }
        }
    }
    flags.as_chunks().0.iter().rev().fold(0, |bits, eight| (bits << 8) | eight_bits(*eight))
}

fn flag<const CELL: usize>(block: &[Float], flags: &mut [u8; BLOCK]) {
    for (flag, numbers) in flags.iter_mut().zip(block.as_chunks::<CELL>().0) {
        *flag = is_used(numbers);
    }
}

/// 1 if any of the numbers is a weight.
fn is_used(numbers: &[Float]) -> u8 {
    let is_weight = |number: &Float| i32::from_le_bytes(*number) & i32::MAX >= LEAST;
    u8::from(numbers.iter().fold(false, |used, number| used | is_weight(number)))
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

    fn look(values: &[f32], dims: &[usize]) -> Look {
        let numbers: Vec<Float> = values.iter().map(|value| value.to_le_bytes()).collect();
        Look::at(&numbers, dims)
    }

    fn rows(cells: &Cells, count: usize) -> Vec<Vec<usize>> {
        (0..count).map(|row| ones(cells.row(row)).collect()).collect()
    }

    const KERNELS: [&[usize]; 6] = [&[], &[1, 1], &[2, 1], &[3, 3], &[5, 5], &[7, 7]];

    #[test]
    fn a_cell_is_used_if_any_of_its_numbers_is_a_weight() {
        let nothing = [0.0, -0.0, 9e-31, -1e-40];
        let weights = [1e-30, -1e-30, 1e30, f32::INFINITY, f32::NAN, -f32::NAN];
        for kernel in KERNELS {
            let cell: usize = kernel.iter().product();
            let dims = [&[2, 70], kernel].concat();
            // One number that differs from all others, among zeros and among ones.
            for (place, input) in (0..cell).flat_map(|place| [0, 3, 67].map(|input| (place, input))) {
                let at = |background: f32, number: f32| {
                    let mut values = vec![background; 140 * cell];
                    values[(70 + input) * cell + place] = number;
                    look(&values, &dims)
                };
                for number in nothing {
                    assert_eq!(rows(&at(0.0, number).cells, 2), [vec![], vec![]]);
                    let others: Vec<_> = (0..70).filter(|&other| other != input || cell > 1).collect();
                    assert_eq!(rows(&at(1.0, number).cells, 2), [(0..70).collect(), others]);
                }
                for number in weights {
                    let look = at(0.0, number);
                    assert_eq!(
                        rows(&look.cells, 2),
                        [vec![], vec![input]],
                        "{number} at {place} of {kernel:?}"
                    );
                    assert_eq!(look.is_finite, number.is_finite());
                    assert_eq!(rows(&at(1.0, number).cells, 2), [0, 1].map(|_| (0..70).collect::<Vec<_>>()));
                }
            }
        }
    }

    #[test]
    fn a_weight_with_inputs_first_is_turned_group_by_group() {
        // Two groups of 70 inputs, three outputs of each.
        let mut values = vec![0.0; 140 * 3];
        for (input, output) in [(0, 0), (69, 2), (70, 0), (139, 1)] {
            values[input * 3 + output] = 1.0;
        }
        let turned = look(&values, &[140, 3]).cells.turned(70);
        let expected = [vec![0], vec![], vec![69], vec![0], vec![69], vec![]];
        assert_eq!(rows(&turned, 6), expected);
    }

    #[test]
    fn sizes_without_a_number_have_no_cells() {
        for dims in [&[0][..], &[0, 4], &[4, 0], &[4, 3, 0, 2]] {
            let Look { is_finite, cells } = look(&[], dims);
            assert!(is_finite && cells.row(0).is_empty());
            assert!(cells.turned(0).row(0).is_empty() && cells.turned(4).row(0).is_empty());
        }
    }
}
