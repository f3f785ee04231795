//! How a window moves over the constants of one value, and what may be spent on it.

use std::{
    cell::{Cell, OnceCell},
    rc::Rc,
};

use super::super::{
    map::{Grid, Taps},
    state::{State, common_grid},
    step::Walk,
};

/// Multiplications, and numbers, that may be spent on constants that differ from place to place. Beyond it they count as live, which
/// is as exact, and leaves a channel more.
const MOST_WORK: usize = 1 << 22;

/// Work that may still be spent.
pub(super) struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(MOST_WORK))
    }
}

impl Budget {
    pub(super) fn spend(&self, work: usize) -> Option<()> {
        self.0.set(self.0.get().checked_sub(work)?);
        Some(())
    }
}

/// A window over the constants of one value.
pub(super) struct Windows<'p> {
    walk: Option<&'p Walk>,
    /// Where the constants are maps, their grid.
    grid: Option<Rc<Grid>>,
    /// Found when the first constant needs it.
    taps: OnceCell<Option<Taps>>,
    budget: &'p Budget,
}

impl<'p> Windows<'p> {
    /// Of a window, if there is one and it is known, over `states`.
    pub(super) fn of<'s>(
        walk: Option<&'p Walk>,
        states: impl Iterator<Item = &'s State>,
        budget: &'p Budget,
    ) -> Self {
        Self { walk, grid: common_grid(states), taps: OnceCell::new(), budget }
    }

    /// What the window reads, once for each constant it is asked for; `None` if it is not known, or too much work is done already.
    pub(super) fn taps(&self) -> Option<&Taps> {
        let taps = self.taps.get_or_init(|| {
            let walk = self.walk?;
            let sizes = walk.input.iter().chain(&walk.output);
            let places = sizes.fold(0_usize, |places, &size| places.saturating_add(size));
            self.budget.spend(places.saturating_mul(walk.window.edges()))?;
            let grid = self.grid.clone().unwrap_or_else(|| Rc::new(Grid::even(walk.input)));
            Taps::of(walk, grid)
        });
        let taps = taps.as_ref()?;
        self.budget.spend(taps.work())?;
        Some(taps)
    }
}
