//! What was measured of a variant, and what is seen of it since then: pure.
//!
//! Whatever runs beside a measurement makes it slower, never faster. So the fastest one is the base: one that was taken while the node
//! started is replaced by a faster one. A node that has become slower since then is for the
//! [`Correction`](dnnshifter_portfolio::Correction), which is told how many times as long as the base an inference takes now.

use std::time::{Duration, Instant};

use super::measure::Measured;

/// A variant is measured again after so long.
const MEASURE_EVERY: Duration = Duration::from_mins(1);

/// Fewer requests in that time say nothing of how fast the variant is.
const FEWEST_REQUESTS: usize = 100;

/// The fastest measurement of one variant.
pub(super) struct History {
    base: Measured,
    /// It is an earlier process' base: the first measurement of this one counts, whether it is faster or slower.
    is_recalled: bool,
    /// When it was looked at last, if that was in this process.
    seen_at: Option<Instant>,
}

/// What a look says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// An inference takes so many times as long as the base that there was before the look.
    pub(super) ratio: f64,
    /// The base is new.
    pub(super) is_base: bool,
}

impl History {
    /// Begins with a first measurement.
    pub(super) fn new(base: Measured, now: Instant) -> Self {
        Self { base, is_recalled: false, seen_at: Some(now) }
    }

    /// Goes on with the base of an earlier process. It is time to measure again.
    pub(super) fn recalled(base: Measured) -> Self {
        Self { base, is_recalled: true, seen_at: None }
    }

    /// The fastest measurement so far.
    pub(super) fn base(&self) -> Measured {
        self.base
    }

    /// The variant was measured again.
    pub(super) fn add(&mut self, measured: Measured, now: Instant) -> Seen {
        self.seen_at = Some(now);
        let (before, found) = (self.base.wall.p50_us, measured.wall.p50_us);
        let is_base = found < before || std::mem::take(&mut self.is_recalled);
        if is_base {
            self.base = measured;
        }
        Seen { ratio: ratio(found, before), is_base }
    }

    /// There was no chance to measure: the next one comes as if there had been.
    pub(super) fn skip(&mut self, now: Instant) {
        self.seen_at = Some(now);
    }

    /// Whether it is time to measure again.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.seen_at.is_none_or(|at| now.saturating_duration_since(at) >= MEASURE_EVERY)
    }

    /// What the times of real requests say, in microseconds: the fastest quarter of them is held against the base. What is slower than
    /// that may have waited for the processor. That they are faster than the median of a measurement says nothing: only a measurement
    /// makes a variant faster. `None` if there are too few.
    pub(super) fn by_traffic(&mut self, mut times_us: Vec<u32>, now: Instant) -> Option<Seen> {
        if times_us.len() < FEWEST_REQUESTS {
            return None;
        }
        times_us.sort_unstable();
        let quarter = times_us.get(times_us.len() / 4).copied()?;
        self.seen_at = Some(now);
        let ratio = ratio(u64::from(quarter), self.base.wall.p50_us).max(1.0);
        Some(Seen { ratio, is_base: false })
    }
}

fn ratio(now_us: u64, before_us: u64) -> f64 {
    now_us.max(1) as f64 / before_us.max(1) as f64
}

#[cfg(test)]
mod tests {
    use dnnshifter_portfolio::profile::Distribution;

    use super::*;

    fn measured(microseconds: u64) -> Measured {
        let time = Distribution::constant(microseconds, 100);
        Measured { wall: time, cpu: time, throttled_periods: 0 }
    }

    #[test]
    fn a_measurement_of_a_busy_moment_is_replaced_by_a_faster_one() {
        let now = Instant::now();
        let mut history = History::new(measured(5000), now);
        assert_eq!(history.add(measured(2000), now), Seen { ratio: 0.4, is_base: true });
        assert_eq!(history.base(), measured(2000));
        assert_eq!(history.add(measured(5000), now), Seen { ratio: 2.5, is_base: false });
        assert_eq!(history.base(), measured(2000));
    }

    #[test]
    fn the_fastest_quarter_of_enough_requests_is_held_against_the_base() {
        let now = Instant::now();
        let mut history = History::new(measured(2000), now);
        // A quarter is not disturbed; the rest waited for the processor.
        let times = (0..200).map(|request| if request < 60 { 3000 } else { 9000 }).collect();
        assert_eq!(history.by_traffic(times, now), Some(Seen { ratio: 1.5, is_base: false }));
        assert_eq!(history.by_traffic(vec![1500; 99], now), None);
        assert_eq!(history.by_traffic(vec![1500; 100], now), Some(Seen { ratio: 1.0, is_base: false }));
        assert_eq!(history.base(), measured(2000));
    }

    #[test]
    fn times_of_zero_are_no_division_by_zero() {
        let now = Instant::now();
        let mut history = History::new(measured(0), now);
        assert_eq!(history.add(measured(0), now), Seen { ratio: 1.0, is_base: false });
        assert_eq!(history.by_traffic(vec![0; 100], now).map(|seen| seen.ratio), Some(1.0));
    }

    #[test]
    fn what_an_earlier_process_measured_holds_but_is_measured_again_at_once() {
        let now = Instant::now();
        let mut history = History::recalled(measured(2000));
        assert!(history.is_stale(now));
        assert_eq!(history.base(), measured(2000));
        assert_eq!(history.add(measured(2500), now), Seen { ratio: 1.25, is_base: true });
        assert!(!history.is_stale(now));
        assert_eq!(history.base(), measured(2500));
        history.add(measured(3000), now);
        assert_eq!(history.base(), measured(2500));
    }

    #[test]
    fn a_measurement_gets_stale_and_may_be_skipped() {
        let now = Instant::now();
        let mut history = History::new(measured(1), now);
        assert!(!history.is_stale(now + MEASURE_EVERY / 2));
        assert!(history.is_stale(now + MEASURE_EVERY));
        history.skip(now + MEASURE_EVERY);
        assert!(!history.is_stale(now + MEASURE_EVERY));
        history.by_traffic(vec![1; 100], now + 2 * MEASURE_EVERY).unwrap();
        assert!(!history.is_stale(now + 2 * MEASURE_EVERY));
    }
}
