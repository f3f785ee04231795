//! Which inputs of a layer have a weight, output by output.

use std::sync::Arc;

use fixedbitset::FixedBitSet;

use super::{source::Weight, step::Layout};
use crate::network::cells::{BLOCK, Cells, ones};

/// For each output of a layer, which of the inputs of its group have a weight that is not zero.
pub(super) struct Rows(Arc<Cells>);

impl Rows {
    /// Of `weight`, where a group has `ins` inputs.
    pub(super) fn of(weight: &Weight, layout: Layout, ins: usize) -> Self {
        let cells = weight.cells();
        match layout {
            Layout::OutputFirst => Self(cells),
            Layout::InputFirst => Self(Arc::new(cells.turned(ins))),
        }
    }

    /// The inputs of `output`.
    pub(super) fn row(&self, output: usize) -> impl Iterator<Item = usize> {
        ones(self.0.row(output))
    }

    /// Whether `input` is one of the inputs of `output`.
    pub(super) fn reads(&self, output: usize, input: usize) -> bool {
        self.0.row(output).get(input / BLOCK).is_some_and(|bits| bits >> (input % BLOCK) & 1 == 1)
    }

    /// Adds the inputs of `output` to `read`.
    pub(super) fn add_to(&self, output: usize, read: &mut FixedBitSet) {
        for (bits, block) in read.as_mut_slice().iter_mut().zip(self.0.row(output)) {
            *bits |= block;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::FloatTensor;

    #[test]
    fn the_inputs_of_an_output_are_found_in_both_layouts() {
        // Input 67 of output 1, of two outputs and 70 inputs.
        for (layout, dims, place) in
            [(Layout::OutputFirst, vec![2, 70], 70 + 67), (Layout::InputFirst, vec![70, 2], 67 * 2 + 1)]
        {
            let mut values = vec![0.0; 140];
            values[place] = 1.0;
            let tensor = FloatTensor::new(dims, values).unwrap().to_proto("");
            let rows = Rows::of(&Weight::of(&tensor, None).unwrap(), layout, 70);
            assert_eq!([0, 1].map(|output| rows.row(output).collect::<Vec<_>>()), [vec![], vec![67]]);
            assert!(rows.reads(1, 67) && !rows.reads(0, 67) && !rows.reads(1, 3));
            let mut read: FixedBitSet = [5].into_iter().collect();
            read.grow(70);
            rows.add_to(1, &mut read);
            assert_eq!(read.ones().collect::<Vec<_>>(), [5, 67]);
        }
    }
}
