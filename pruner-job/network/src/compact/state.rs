//! What is known of a channel before any image is seen: an abstract value, after Cousot and Cousot (1977).

use std::{borrow::Cow, rc::Rc};

use super::map::{Grid, Map};

/// A channel's abstract value, for every image.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// It depends on the image, or nothing is known.
    Live,
    /// The same everywhere.
    Scalar(f64),
    /// Constant, but not the same everywhere. Padding does that at the borders.
    Field(Map),
}

impl State {
    pub(super) fn scalar(value: f64) -> Self {
        if value.is_finite() { Self::Scalar(value) } else { Self::Live }
    }

    /// Of a map; one whose values are all equal is a scalar.
    pub(super) fn field(grid: Rc<Grid>, values: Vec<f64>) -> Self {
        if values.iter().any(|value| !value.is_finite()) {
            return Self::Live;
        }
        match values.first() {
            // Equal as numbers: a zero is a zero, whatever its sign.
            #[expect(clippy::float_cmp, reason = "only values that are the same may be taken as one")]
            Some(&first) if values.iter().all(|&value| value == first) => Self::Scalar(first),
            Some(_) => Self::Field(Map { grid, values: values.into() }),
            None => Self::Live,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Live)
    }

    pub(super) fn is_scalar(&self) -> bool {
        matches!(self, Self::Scalar(_))
    }

    pub(super) fn is_zero(&self) -> bool {
        matches!(self, Self::Scalar(value) if *value == 0.0)
    }

    /// What a function of one number makes of it.
    pub(super) fn map(&self, function: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Live => Self::Live,
            Self::Scalar(value) => Self::scalar(function(*value)),
            Self::Field(map) => {
                Self::field(map.grid.clone(), map.values.iter().map(|&value| function(value)).collect())
            }
        }
    }

    /// What a function of two numbers makes of two, place by place.
    pub(super) fn join(&self, other: &Self, function: impl Fn(f64, f64) -> f64) -> Self {
        match (self, other) {
            (Self::Live, _) | (_, Self::Live) => Self::Live,
            (Self::Scalar(left), _) => other.map(|right| function(*left, right)),
            (_, Self::Scalar(right)) => self.map(|left| function(left, *right)),
            (Self::Field(left), Self::Field(right)) => {
                let grid = Grid::common(&left.grid, &right.grid);
                let (Some(left), Some(right)) = (left.on(&grid), right.on(&grid)) else { return Self::Live };
                let values = left.iter().zip(right.iter()).map(|(&left, &right)| function(left, right));
                Self::field(grid, values.collect())
            }
        }
    }

    /// The number that it is everywhere.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Scalar(value) => Some(*value),
            Self::Live | Self::Field(_) => None,
        }
    }

    /// The constant on a grid; `None` if it is live, or a map of an image of another size.
    pub(super) fn on(&self, grid: &Rc<Grid>) -> Option<Cow<'_, [f64]>> {
        match self {
            Self::Live => None,
            Self::Scalar(value) => Some(Cow::Owned(vec![*value; grid.len()])),
            Self::Field(map) => map.on(grid),
        }
    }
}

/// The grid on which all that is constant among `states` is a map; `None` if it is the same everywhere.
pub(super) fn common_grid<'s>(states: impl Iterator<Item = &'s State>) -> Option<Rc<Grid>> {
    let grids = states.filter_map(|state| match state {
        State::Field(map) => Some(&map.grid),
        State::Live | State::Scalar(_) => None,
    });
    grids.fold(None, |common, grid| {
        Some(common.map_or_else(|| grid.clone(), |common| Grid::common(&common, grid)))
    })
}
