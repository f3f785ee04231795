//! The load as it was observed on one node, and what became of earlier steps: the memory of [`select`](super::select).

use std::{collections::VecDeque, time::Duration};

use crate::time::Moment;

/// A step up that is taken back within so many step-up windows has failed.
const PROBATION_WINDOWS: u32 = 2;
/// After failures in a row the next step up waits 1, 2, 4, 8, then always 16 step-up windows.
const LONGEST_BACKOFF_DOUBLINGS: u32 = 4;

/// The way of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To a more accurate variant.
    Up,
    /// To a less accurate one.
    Down,
}

/// Offered load of one node, in items per second, without gaps: a sample that is missing empties it, so that windows begin
/// anew once the load is known again.
#[derive(Clone, Debug, Default)]
pub struct LoadHistory {
    samples: VecDeque<(Moment, f64)>,
    last_up: Option<Moment>,
    failures: u32,
    no_up_before: Option<Moment>,
}

impl LoadHistory {
    /// Records the load at `now`; `None`, or what is no load (negative, NaN, infinite), means unknown. Samples older than
    /// `keep`, the longest window that will be asked for, are dropped.
    pub fn observe(&mut self, now: Moment, load: Option<f64>, keep: Duration) {
        let Some(load) = load.filter(|load| load.is_finite() && *load >= 0.0) else {
            self.samples.clear();
            return;
        };
        self.samples.push_back((now, load));
        // One sample at or before the window's start is kept: it shows that the window was observed whole.
        while self.samples.get(1).is_some_and(|(second, _)| now.since(*second) >= keep) {
            self.samples.pop_front();
        }
    }

    /// Records a switch that was made. A step up that is taken back at once delays the next one, longer each time.
    pub fn switched(&mut self, now: Moment, direction: Direction, step_up_window: Duration) {
        let on_probation = self.last_up.is_some_and(|up| now.since(up) <= step_up_window * PROBATION_WINDOWS);
        match direction {
            Direction::Up => {
                if !on_probation && self.no_up_before.is_none_or(|until| now.since(until) > step_up_window) {
                    self.failures = 0;
                }
                self.last_up = Some(now);
            }
            Direction::Down if on_probation => {
                let doublings = self.failures.min(LONGEST_BACKOFF_DOUBLINGS);
                self.no_up_before = Some(now.plus(step_up_window * (1 << doublings)));
                self.failures = self.failures.saturating_add(1);
                self.last_up = None;
            }
            Direction::Down => self.last_up = None,
        }
    }

    /// The load now, if it is known.
    pub fn latest(&self) -> Option<f64> {
        self.samples.back().map(|(_, load)| *load)
    }

    /// The largest load in the `window` up to `now`; `None` unless the whole window was observed.
    pub fn largest(&self, now: Moment, window: Duration) -> Option<f64> {
        self.within(now, window)?.reduce(f64::max)
    }

    /// The smallest load in the `window` up to `now`; `None` unless the whole window was observed.
    pub fn smallest(&self, now: Moment, window: Duration) -> Option<f64> {
        self.within(now, window)?.reduce(f64::min)
    }

    /// Whether steps up wait, since an earlier one failed.
    pub(super) fn backs_off(&self, now: Moment) -> bool {
        self.no_up_before.is_some_and(|until| now < until)
    }

    fn within(&self, now: Moment, window: Duration) -> Option<impl Iterator<Item = f64>> {
        let start = now.minus(window);
        let (first, _) = self.samples.front()?;
        (now.since(*first) >= window)
            .then(|| self.samples.iter().filter(move |(at, _)| *at >= start).map(|(_, load)| *load))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_mins(1);

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_window_counts_only_when_it_was_observed_whole() {
        let mut history = LoadHistory::default();
        for second in (0..60).step_by(5) {
            history.observe(at(second), Some(second as f64), WINDOW);
            assert_eq!(history.largest(at(second), WINDOW), None);
        }
        history.observe(at(60), Some(60.0), WINDOW);
        assert_eq!(history.largest(at(60), WINDOW), Some(60.0));
        assert_eq!(history.smallest(at(60), Duration::from_secs(10)), Some(50.0));
    }

    #[test]
    fn an_unknown_load_begins_all_windows_anew() {
        for unknown in [None, Some(f64::NAN), Some(-1.0), Some(f64::INFINITY)] {
            let mut history = LoadHistory::default();
            history.observe(at(0), Some(1.0), WINDOW);
            history.observe(at(60), unknown, WINDOW);
            assert_eq!(history.latest(), None);
            history.observe(at(61), Some(2.0), WINDOW);
            assert_eq!((history.latest(), history.largest(at(61), WINDOW)), (Some(2.0), None));
        }
    }

    #[test]
    fn memory_is_bounded_by_the_window() {
        let mut history = LoadHistory::default();
        for second in 0..10_000 {
            history.observe(at(second), Some(1.0), WINDOW);
        }
        assert!(history.samples.len() <= 62, "{}", history.samples.len());
    }

    #[test]
    fn steps_up_that_fail_wait_longer_each_time() {
        let mut history = LoadHistory::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..7 {
            history.switched(at(now), Direction::Up, WINDOW);
            now += 30;
            history.switched(at(now), Direction::Down, WINDOW);
            let failed_at = now;
            while history.backs_off(at(now)) {
                now += 30;
            }
            waits.push((now - failed_at) / 60);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16]);
    }

    #[test]
    fn a_step_up_that_lasts_forgives_earlier_failures() {
        let mut history = LoadHistory::default();
        history.switched(at(0), Direction::Up, WINDOW);
        history.switched(at(30), Direction::Down, WINDOW);
        assert!(history.backs_off(at(60)));
        history.switched(at(1000), Direction::Up, WINDOW);
        history.switched(at(2000), Direction::Down, WINDOW);
        assert!(!history.backs_off(at(2000)));
        assert_eq!(history.failures, 0);
    }
}
