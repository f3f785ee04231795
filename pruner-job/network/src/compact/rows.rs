//! Which weights of a layer are none. Reading them from memory is what takes the time: those of a dense layer say so at a glance, those
//! of a sparse one are looked at once, as they lie, and without a branch, so that the compiler tests several of them at a time.

use std::cell::OnceCell;

use fixedbitset::FixedBitSet;

use super::{source::Weight, step::Layout};

/// Weights that are smaller than this are none: ONNX Runtime would flush their products to zero.
const NONE: f32 = 1e-30;

/// [`NONE`] as its bits.
const LEAST: i32 = NONE.to_bits() as i32;

/// Cells of one block of a bit set.
const BLOCK: usize = usize::BITS as usize;

/// Numbers of a row that are looked at before all of a layer are: two lines of a processor's cache.
const GLANCE: usize = 32;

/// A number as it was read.
type Float = [u8; 4];

/// For each output of a layer, which of the inputs of its group have a weight that is not zero.
pub(super) struct Rows {
    weight: Weight,
    layout: Layout,
    /// Numbers of a cell.
    cell: usize,
    /// Inputs of a group.
    ins: usize,
    /// The blocks of all outputs, found when a glance does not do.
    found: OnceCell<Vec<usize>>,
}

impl Rows {
    /// Of `weight`, where a group has `ins` inputs.
    pub(super) fn of(weight: &Weight, layout: Layout, ins: usize) -> Self {
        let cell = weight.dims.iter().skip(2).product();
        Self { weight: weight.clone(), layout, cell, ins, found: OnceCell::new() }
    }

    /// The inputs of `output`.
    pub(super) fn row(&self, output: usize) -> impl Iterator<Item = usize> {
        let blocks = self.blocks(output).iter().enumerate();
        blocks.flat_map(|(position, &bits)| ones(bits).map(move |bit| position * BLOCK + bit))
    }

    /// Whether any of the inputs of `output` is one that is asked for.
    pub(super) fn has(&self, output: usize, is_wanted: impl Fn(usize) -> bool) -> bool {
        let (numbers, cell) = (self.unsearched(output), self.cell.max(1));
        let mut first = numbers.chunks_exact(cell).take(GLANCE.div_ceil(cell)).enumerate();
        first.any(|(input, numbers)| is_used(numbers) == 1 && is_wanted(input))
            || self.row(output).any(is_wanted)
    }

    /// Whether `input` is one of the inputs of `output`.
    pub(super) fn reads(&self, output: usize, input: usize) -> bool {
        self.blocks(output).get(input / BLOCK).is_some_and(|bits| bits >> (input % BLOCK) & 1 == 1)
    }

    /// Adds the inputs of `output` to `read`.
    pub(super) fn add_to(&self, output: usize, read: &mut FixedBitSet) {
        if read.is_full() {
            return;
        }
        // One row of a dense layer has all inputs.
        let numbers = self.unsearched(output);
        let is_first = !numbers.is_empty() && read.is_clear();
        let first: Vec<usize> = if is_first { blocks_of(numbers, self.cell).collect() } else { vec![] };
        let blocks = if is_first { &first } else { self.blocks(output) };
        for (bits, block) in read.as_mut_slice().iter_mut().zip(blocks) {
            *bits |= block;
        }
    }

    /// The blocks of `output`.
    fn blocks(&self, output: usize) -> &[usize] {
        let count = self.ins.div_ceil(BLOCK);
        let found = self.found.get_or_init(|| self.search());
        found.get(output * count..(output + 1) * count).unwrap_or_default()
    }

    /// The numbers of an output, if they lie together and not all of the layer were looked at.
    fn unsearched(&self, output: usize) -> &[Float] {
        match (self.layout, self.found.get()) {
            (Layout::OutputFirst, None) => self.weight.cell(output, self.cell * self.ins).as_chunks().0,
            (Layout::OutputFirst, Some(_)) | (Layout::InputFirst, _) => &[],
        }
    }

    fn search(&self) -> Vec<usize> {
        let numbers: &[Float] = self.weight.bytes().as_chunks().0;
        match (self.layout, self.weight.dims.get(1)) {
            // Sizes without a number may be of any length.
            _ if numbers.is_empty() => vec![],
            (Layout::OutputFirst, _) => {
                let rows = numbers.chunks_exact(self.cell * self.ins);
                let mut blocks = Vec::with_capacity(rows.len() * self.ins.div_ceil(BLOCK));
                rows.for_each(|row| blocks.extend(blocks_of(row, self.cell)));
                blocks
            }
            (Layout::InputFirst, width) => {
                let rows = turned(numbers, width.copied().unwrap_or(1), self.cell, self.ins);
                rows.iter().flat_map(FixedBitSet::as_slice).copied().collect()
            }
        }
    }
}

/// The rows of a weight whose first axis is the inputs of all groups, and whose second the outputs of one, `width` of them.
fn turned(numbers: &[Float], width: usize, cell: usize, ins: usize) -> Vec<FixedBitSet> {
    let lines = numbers.chunks_exact(cell * width);
    let mut rows = vec![FixedBitSet::with_capacity(ins); lines.len() / ins * width];
    for (position, line) in lines.enumerate() {
        let (group, input) = (position / ins, position % ins);
        for (position, bits) in blocks_of(line, cell).enumerate() {
            for output in ones(bits) {
                if let Some(row) = rows.get_mut(group * width + position * BLOCK + output) {
                    row.insert(input);
                }
            }
        }
    }
    rows
}

/// Which cells, of `cell` numbers each, are used, 64 cells at a time.
fn blocks_of(line: &[Float], cell: usize) -> impl Iterator<Item = usize> {
    line.chunks(cell * BLOCK).map(move |block| block_of(block, cell))
}

/// Which of up to 64 cells are used. Sizes of kernels that are common are known to the compiler.
fn block_of(block: &[Float], cell: usize) -> usize {
    // In a sparse layer most blocks are empty, which is seen faster than which cells are.
    if is_empty(block) {
        return 0;
    }
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

/// Whether all of the numbers are surely no weights: no number has more bits than all of them together.
fn is_empty(numbers: &[Float]) -> bool {
    let bits = numbers.iter().fold(0, |bits, number| bits | i32::from_le_bytes(*number));
    bits & i32::MAX < LEAST
}

/// 1 if any of the numbers is a weight. Without their signs, floats are in the order of their bits, and NaN is above all.
fn is_used(numbers: &[Float]) -> u8 {
    let is_weight = |number: &Float| i32::from_le_bytes(*number) & i32::MAX >= LEAST;
    u8::from(numbers.iter().fold(false, |used, number| used | is_weight(number)))
}

/// The positions of the bits that are set, in ascending order.
fn ones(mut bits: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let first = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (first < BLOCK).then_some(first)
    })
}

/// Eight flags as eight bits, the first one lowest: the product moves flag i to bit 56 + i, and no two flags meet there or below.
fn eight_bits(flags: [u8; 8]) -> usize {
    (u64::from_le_bytes(flags).wrapping_mul(0x0102_0408_1020_4080) >> 56) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::FloatTensor;

    #[test]
    fn flags_become_bits_in_their_order() {
        for bits in 0..=255_usize {
            let flags = std::array::from_fn(|place| (bits >> place & 1) as u8);
            assert_eq!(eight_bits(flags), bits);
        }
    }

    /// A weight of zeros but for one number, of two outputs and 70 inputs.
    fn rows(layout: Layout, kernel: &[usize], at: [usize; 3], number: f32) -> Rows {
        let cell: usize = kernel.iter().product();
        let [output, input, place] = at;
        let (axes, line) = match layout {
            Layout::OutputFirst => ([2, 70], output * 70 + input),
            Layout::InputFirst => ([70, 2], input * 2 + output),
        };
        let mut values = vec![0.0; 140 * cell];
        values[line * cell + place] = number;
        let tensor = FloatTensor::new([&axes, kernel].concat(), values).unwrap();
        Rows::of(&Weight::of(&tensor.to_proto("")).unwrap(), layout, 70)
    }

    #[test]
    fn an_input_is_read_if_any_number_of_its_cell_is_a_weight() {
        let nothing = [0.0, -0.0, 9e-31, -1e-40].map(|number| (number, vec![]));
        let inputs = [0, 3, 67];
        let weights = [1e-30, -1e-30, 1e30, f32::INFINITY, f32::NAN, -f32::NAN];
        let kernels: [&[usize]; 6] = [&[], &[1, 1], &[2, 1], &[3, 3], &[5, 5], &[7, 7]];
        for (layout, kernel) in [Layout::OutputFirst, Layout::InputFirst]
            .into_iter()
            .flat_map(|layout| kernels.map(|kernel| (layout, kernel)))
        {
            let used = inputs.into_iter().flat_map(|input| weights.map(|number| (number, vec![input])));
            for (number, expected) in nothing.iter().cloned().chain(used) {
                let input = expected.first().copied().unwrap_or(5);
                for place in 0..kernel.iter().product() {
                    let rows = || rows(layout, kernel, [1, input, place], number);
                    let found: Vec<usize> = rows().row(1).collect();
                    assert_eq!(found, expected, "{number} at {place} of {kernel:?}, {layout:?}");
                    let mut read = FixedBitSet::with_capacity(70);
                    rows().add_to(1, &mut read);
                    assert_eq!(read.ones().collect::<Vec<_>>(), expected);
                    let other = rows();
                    assert_eq!(other.row(0).count(), 0);
                    assert!(!other.has(1, |wanted| wanted != input));
                    assert_eq!(other.has(1, |wanted| wanted == input), !expected.is_empty());
                    assert_eq!(other.reads(1, input), !expected.is_empty());
                    assert_eq!(rows().has(1, |_| true), !expected.is_empty());
                }
            }
        }
    }

    #[test]
    fn what_is_read_already_stays_read() {
        let mut read: FixedBitSet = (0..70).collect();
        rows(Layout::OutputFirst, &[3, 3], [1, 5, 0], 1.0).add_to(0, &mut read);
        assert_eq!(read.count_ones(..), 70);
    }
}
