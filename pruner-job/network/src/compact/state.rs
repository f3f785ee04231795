//! What is known of a channel before any image is seen: an abstract value, after Cousot and Cousot (1977).

use std::{borrow::Cow, rc::Rc};

/// A channel's abstract value, for every image.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// It depends on the image, or nothing is known.
    Live,
    /// The same everywhere.
    Scalar(f64),
    /// Constant, but not the same everywhere: row-major, height times width. Padding does that at the borders.
    Field(Rc<[f64]>),
}

impl State {
    pub(super) fn scalar(value: f64) -> Self {
        if value.is_finite() { Self::Scalar(value) } else { Self::Live }
    }

    /// Of a map; one whose values are all equal is a scalar.
    pub(super) fn field(values: Vec<f64>) -> Self {
        if values.iter().any(|value| !value.is_finite()) {
            return Self::Live;
        }
        match values.first() {
            // Equal as numbers: a zero is a zero, whatever its sign.
            #[expect(clippy::float_cmp, reason = "only values that are the same may be taken as one")]
            Some(&first) if values.iter().all(|&value| value == first) => Self::Scalar(first),
            Some(_) => Self::Field(values.into()),
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
            Self::Field(values) => Self::field(values.iter().map(|&value| function(value)).collect()),
        }
    }

    /// What a function of two numbers makes of two, place by place.
    pub(super) fn join(&self, other: &Self, function: impl Fn(f64, f64) -> f64) -> Self {
        match (self, other) {
            (Self::Live, _) | (_, Self::Live) => Self::Live,
            (Self::Scalar(left), _) => other.map(|right| function(*left, right)),
            (_, Self::Scalar(right)) => self.map(|left| function(left, *right)),
            (Self::Field(left), Self::Field(right)) if left.len() == right.len() => Self::field(
                left.iter().zip(right.iter()).map(|(&left, &right)| function(left, right)).collect(),
            ),
            (Self::Field(_), Self::Field(_)) => Self::Live,
        }
    }

    /// The constant at each of `places`; `None` if it is live or of another size.
    pub(super) fn vector(&self, places: usize) -> Option<Cow<'_, [f64]>> {
        match self {
            Self::Live => None,
            Self::Scalar(value) => Some(Cow::Owned(vec![*value; places])),
            Self::Field(values) => (values.len() == places).then_some(Cow::Borrowed(values)),
        }
    }
}
