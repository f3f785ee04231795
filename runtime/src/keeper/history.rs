//! What was measured of a variant over time, and what of it is to be believed: pure.
//!
//! Whatever runs beside a measurement makes it slower, never faster. So the fastest of the latest measurements is believed: one that
//! was taken while the node started is corrected by the next, and a node that has become slower for good is believed once the
//! faster ones are forgotten.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use dnnshifter_portfolio::profile::Distribution;

use super::measure::Measured;

/// So many measurements are kept: at one a minute, a slowdown must last five minutes to be believed.
const KEPT: usize = 5;

/// A variant is measured again after so long.
const MEASURE_EVERY: Duration = Duration::from_mins(1);

/// Fewer requests in that time say nothing of how fast the variant is.
const FEWEST_REQUESTS: usize = 100;

/// One correction by traffic moves a measurement at most by this factor.
const LARGEST_STEP: f64 = 2.0;

/// The latest measurements of one variant, at least one.
pub(super) struct History {
    kept: VecDeque<Measured>,
    /// None in this process yet.
    measured_at: Option<Instant>,
}

impl History {
    /// Begins with a first measurement.
    pub(super) fn new(first: Measured, now: Instant) -> Self {
        Self { kept: VecDeque::from([first]), measured_at: Some(now) }
    }

    /// Goes on with what an earlier process believed. It is time to measure again.
    pub(super) fn recalled(believed: Measured) -> Self {
        Self { kept: VecDeque::from([believed]), measured_at: None }
    }

    /// Adds the next one.
    pub(super) fn add(&mut self, measured: Measured, now: Instant) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(measured);
        self.measured_at = Some(now);
    }

    /// There was no chance to measure: the next one comes as if there had been.
    pub(super) fn skip(&mut self, now: Instant) {
        self.measured_at = Some(now);
    }

    /// The fastest of the measurements that are kept.
    pub(super) fn believed(&self) -> Measured {
        self.kept.iter().min_by_key(|measured| measured.wall.p50_us).copied().unwrap_or_default()
    }

    /// Whether it is time to measure again.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.measured_at.is_none_or(|at| now.saturating_duration_since(at) >= MEASURE_EVERY)
    }

    /// What the times of real requests say, in microseconds: a measurement of the believed shape, moved to where the fastest quarter
    /// of them is. What is slower than that may have waited for the processor. `None` if there are too few.
    pub(super) fn by_traffic(&self, mut times_us: Vec<u32>) -> Option<Measured> {
        if times_us.len() < FEWEST_REQUESTS {
            return None;
        }
        times_us.sort_unstable();
        let quarter = times_us.get(times_us.len() / 4).copied().map(f64::from)?;
        let believed = self.believed();
        let factor = (quarter / believed.wall.p50_us.max(1) as f64).clamp(1.0 / LARGEST_STEP, LARGEST_STEP);
        let samples = u32::try_from(times_us.len()).unwrap_or(u32::MAX);
        let moved = |time| Distribution { samples, ..scaled(time, factor) };
        Some(Measured { wall: moved(believed.wall), cpu: moved(believed.cpu), ..believed })
    }
}

fn scaled(time: Distribution, factor: f64) -> Distribution {
    let scale = |microseconds: u64| (microseconds as f64 * factor).round() as u64;
    Distribution {
        mean_us: scale(time.mean_us),
        deviation_us: scale(time.deviation_us),
        p50_us: scale(time.p50_us),
        p95_us: scale(time.p95_us),
        p99_us: scale(time.p99_us),
        samples: time.samples,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(microseconds: u64) -> Measured {
        let time = Distribution {
            mean_us: microseconds,
            p50_us: microseconds,
            p99_us: microseconds * 2,
            samples: 100,
            ..Distribution::default()
        };
        Measured { wall: time, cpu: time, throttled_periods: 0 }
    }

    fn history(microseconds: &[u64]) -> History {
        let now = Instant::now();
        let mut history = History::new(measured(microseconds[0]), now);
        for next in &microseconds[1..] {
            history.add(measured(*next), now);
        }
        history
    }

    #[test]
    fn a_measurement_of_a_busy_moment_is_corrected_by_the_next() {
        assert_eq!(history(&[5000, 2000]).believed(), measured(2000));
        assert_eq!(history(&[2000, 5000]).believed(), measured(2000));
    }

    #[test]
    fn a_node_that_has_become_slower_for_good_is_believed_in_the_end() {
        assert_eq!(history(&[2000, 3000, 3000, 3000, 3000]).believed(), measured(2000));
        assert_eq!(history(&[2000, 3000, 3000, 3000, 3000, 3000]).believed(), measured(3000));
    }

    #[test]
    fn the_fastest_quarter_of_the_requests_moves_a_measurement_within_bounds() {
        let history = history(&[2000]);
        // A quarter is not disturbed; the rest waited for the processor.
        let times = (0..200).map(|request| if request < 60 { 1500 } else { 9000 }).collect();
        let moved = history.by_traffic(times).unwrap();
        assert_eq!((moved.wall.p50_us, moved.wall.p99_us, moved.cpu.mean_us), (1500, 3000, 1500));
        assert_eq!(moved.wall.samples, 200);
        assert_eq!(history.by_traffic(vec![10; 100]).unwrap().wall.p50_us, 1000);
        assert_eq!(history.by_traffic(vec![90_000; 100]).unwrap().wall.p50_us, 4000);
        assert_eq!(history.by_traffic(vec![1500; 99]), None);
    }

    #[test]
    fn what_an_earlier_process_believed_holds_but_is_measured_again_at_once() {
        let now = Instant::now();
        let mut history = History::recalled(measured(2000));
        assert!(history.is_stale(now));
        assert_eq!(history.believed(), measured(2000));
        history.add(measured(1500), now);
        assert!(!history.is_stale(now));
        assert_eq!(history.believed(), measured(1500));
    }

    #[test]
    fn a_measurement_gets_stale_and_may_be_skipped() {
        let now = Instant::now();
        let mut history = History::new(measured(1), now);
        assert!(!history.is_stale(now + MEASURE_EVERY / 2));
        assert!(history.is_stale(now + MEASURE_EVERY));
        history.skip(now + MEASURE_EVERY);
        assert!(!history.is_stale(now + MEASURE_EVERY));
    }
}
