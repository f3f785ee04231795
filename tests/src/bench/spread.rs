//! A figure that was measured several times.

use serde::{Deserialize, Serialize};

/// The median of some measurements, with the smallest and the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// The median (of an even number, the upper one).
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of `values`; zero without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        Self { median: at(values.len() / 2), least: at(0), most: at(values.len().saturating_sub(1)) }
    }
}

/// The value below which the part `quantile` of `sorted` is (nearest rank); zero without any.
pub(super) fn quantile(sorted: &[u64], quantile: f64) -> u64 {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The slope of the straight line through points (least squares), and how far off it may be by chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slope {
    /// Units of y for one unit of x.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
}

impl Slope {
    /// Of `points`; zero of less than three.
    pub(super) fn of(points: &[(f64, f64)]) -> Self {
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
            (above + (point.0 - x) * (point.1 - y), below + (point.0 - x).powi(2))
        });
        if points.len() < 3 || below <= 0.0 {
            return Self::default();
        }
        let value = above / below;
        let rest: f64 = points.iter().map(|point| (point.1 - y - value * (point.0 - x)).powi(2)).sum();
        Self { value, error: (rest / (count - 2.0) / below).sqrt() }
    }

    /// The mean of what `values` are each for one unit; zero of less than two.
    pub(super) fn mean(values: &[f64]) -> Self {
        let count = values.len() as f64;
        if values.len() < 2 {
            return Self::default();
        }
        let value = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|it| (it - value).powi(2)).sum::<f64>() / (count - 1.0);
        Self { value, error: (variance / count).sqrt() }
    }

    /// For so many units of x.
    pub(super) fn times(self, units: f64) -> Self {
        Self { value: self.value * units, error: self.error * units }
    }

    /// Whether it may be chance that it is not zero: within two standard errors.
    pub fn is_noise(self) -> bool {
        self.value.abs() <= 2.0 * self.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_median_and_the_ends() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!((quantile(&sorted, 0.5), quantile(&sorted, 0.99), quantile(&[], 0.5)), (50, 99, 0));
    }

    #[test]
    fn a_slope_is_that_of_the_line_with_its_error() {
        let exact = Slope::of(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]);
        assert!((exact.value - 2.0).abs() < 1e-9 && exact.error < 1e-9 && !exact.is_noise());
        let noise = Slope::of(&[(0.0, 1.0), (1.0, -1.0), (2.0, 1.0), (3.0, -1.0)]);
        assert!(noise.is_noise(), "{noise:?}");
        assert_eq!(Slope::of(&[(1.0, 1.0), (2.0, 2.0)]), Slope::default());
        assert_eq!(Slope::mean(&[1.0, 3.0]), Slope { value: 2.0, error: 1.0 });
        assert_eq!(Slope::mean(&[1.0]), Slope::default());
    }
}
