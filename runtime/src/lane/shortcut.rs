//! Whether a request is computed by the thread that has read it, instead of the lane's own: pure.
//!
//! To hand it over and its answer back wakes two threads, which for a small network takes as long as the inference. But who
//! computes reads no other requests meanwhile: those wait unseen, and cannot be shed. So only a short inference is computed there,
//! and only where requests come seldom: after one, the next must leave at least the same time free, which it does not as soon
//! as the lane is busy for more than half of the time. Nor where more than the inference may be in the way: a network that somebody
//! else uses, or whose weights were not lately seen in memory.

use std::time::Duration;

/// An inference that is predicted to take longer goes to the lane's thread: the two wakes are then a few hundredths of it.
pub(crate) const LONGEST: Duration = Duration::from_millis(2);

/// For a batch that is predicted to take so long, with nothing ahead of it since the lane has `rested`: `None` if it has never
/// computed. A time of zero is not known yet.
pub(super) fn is_worth_it(predicted: Duration, rested: Option<Duration>, longest: Duration) -> bool {
    !predicted.is_zero() && predicted <= longest && rested.is_none_or(|rested| rested >= predicted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_short_and_seldom_is_computed_at_once() {
        assert!(is_worth_it(MS, None, LONGEST));
        assert!(is_worth_it(MS, Some(MS), LONGEST));
        assert!(is_worth_it(LONGEST, Some(MS * 5), LONGEST));
    }

    #[test]
    fn what_is_long_or_unknown_or_comes_often_is_not() {
        assert!(!is_worth_it(LONGEST + MS, None, LONGEST));
        assert!(!is_worth_it(Duration::ZERO, None, LONGEST));
        assert!(!is_worth_it(MS, Some(MS / 2), LONGEST));
    }
}
