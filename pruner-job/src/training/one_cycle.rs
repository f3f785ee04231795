//! The one-cycle learning rate (Smith and Topin, "Super-Convergence", 2018): up, then down to almost nothing, by cosines. A
//! pure function of the step.

use std::f64::consts::PI;

/// A learning rate for each step of a training.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneCycle {
    steps: usize,
    peak: f64,
}

/// Share of the steps in which the rate rises.
const RISE: f64 = 0.25;
/// The first rate, and the last, as shares of the peak.
const FIRST: f64 = 0.04;
const LAST: f64 = 1e-4;

impl OneCycle {
    /// For `steps` steps with the highest rate `peak`.
    pub(super) fn new(steps: usize, peak: f64) -> Self {
        Self { steps, peak }
    }

    /// The learning rate of a step, counted from 0.
    pub(super) fn learning_rate(self, step: usize) -> f64 {
        let position = step as f64 / self.steps.saturating_sub(1).max(1) as f64;
        let share = if position < RISE {
            blend(FIRST, 1.0, position / RISE)
        } else {
            blend(1.0, LAST, ((position - RISE) / (1.0 - RISE)).min(1.0))
        };
        share * self.peak
    }
}

/// From `start` to `end` along half a cosine.
fn blend(start: f64, end: f64, position: f64) -> f64 {
    end + (start - end) * f64::midpoint((PI * position).cos(), 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_to_its_peak_and_falls_to_almost_nothing() {
        let schedule = OneCycle::new(101, 0.1);
        let rates: Vec<f64> = (0..101).map(|step| schedule.learning_rate(step)).collect();
        assert!((rates[0] - 0.004).abs() < 1e-12 && (rates[100] - 0.000_01).abs() < 1e-12);
        let highest = rates.iter().copied().fold(0.0, f64::max);
        assert!((highest - 0.1).abs() < 1e-12 && (rates[25] - highest).abs() < 1e-12);
        assert!(rates[..26].is_sorted() && rates[25..].iter().rev().is_sorted());
    }

    #[test]
    fn very_short_trainings_have_a_rate() {
        for steps in 0..3 {
            let rate = OneCycle::new(steps, 0.1).learning_rate(steps);
            assert!(rate.is_finite() && rate > 0.0 && rate <= 0.1, "{rate}");
        }
    }
}
