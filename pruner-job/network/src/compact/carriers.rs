//! The constant inputs of a layer that stay, and stand for those that go: an image is padded with zeros, so at its border a constant
//! channel is no constant any more, but a multiple of any other that is.

use std::{ops::Range, rc::Rc};

use super::{
    basis::Basis,
    constants::Constants,
    demand::{Kept, Level},
    map::Grid,
    state::{State, common_grid},
};

/// Constant inputs that stay, and carry those that go.
pub(super) struct Carriers {
    basis: Basis,
    grid: Rc<Grid>,
}

impl Carriers {
    /// The carriers among `ins` that are kept already.
    pub(super) fn of(kept: &Kept<'_>, ins: Range<usize>, constants: &Constants) -> Self {
        let grid = common_grid(ins.clone().map(|slot| constants.at(slot)));
        let grid = grid.unwrap_or_else(|| Rc::new(Grid::even([1, 1])));
        let mut carriers = Self { basis: Basis::default(), grid };
        let is_constant = |slot: usize| !constants.at(slot).is_live() && !constants.at(slot).is_zero();
        let present = ins.filter(|&slot| kept.level(slot) == Level::Content && is_constant(slot));
        for slot in by_strength(present, constants) {
            carriers.add(slot, constants);
        }
        carriers
    }

    fn add(&mut self, slot: usize, constants: &Constants) {
        if let Some(map) = constants.at(slot).on(&self.grid) {
            self.basis.extend(slot, &map);
        }
    }

    /// Those of `folded` that must stay, so that all others can be carried.
    pub(super) fn missing(&mut self, folded: &[usize], constants: &Constants) -> Vec<usize> {
        let mut missing = Vec::new();
        for slot in by_strength(folded.iter().copied(), constants) {
            if self.factors(slot, constants).is_none() {
                self.add(slot, constants);
                missing.push(slot);
            }
        }
        missing
    }

    /// The carriers whose weighted sum is the constant of `slot`.
    pub(super) fn factors(&self, slot: usize, constants: &Constants) -> Option<Vec<(usize, f64)>> {
        self.basis.factors(&constants.at(slot).on(&self.grid)?)
    }
}

/// The largest constants first, whose factors are small.
fn by_strength(slots: impl Iterator<Item = usize>, constants: &Constants) -> Vec<usize> {
    let strength = |slot: usize| match constants.at(slot) {
        State::Live => 0.0,
        State::Scalar(value) => value.abs(),
        State::Field(map) => {
            (map.values.iter().map(|value| value * value).sum::<f64>() / map.values.len() as f64).sqrt()
        }
    };
    let mut slots: Vec<(f64, usize)> = slots.map(|slot| (strength(slot), slot)).collect();
    slots.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    slots.into_iter().map(|(_, slot)| slot).collect()
}
