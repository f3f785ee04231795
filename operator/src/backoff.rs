//! How long an object waits after a reconcile that failed: longer each time, each object for itself.
//!
//! kube's `error_policy` sees neither attempts nor successes, so they are counted here. No clock, no sleeping.

use std::{collections::HashMap, sync::Mutex, time::Duration};

const FIRST_DELAY: Duration = Duration::from_secs(1);
/// A mended dependency is noticed within so long, at the latest.
const LONGEST_DELAY: Duration = Duration::from_mins(2);

/// Failures in a row, by object.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// Counts a failure of `key`, and says how long to wait before the next attempt.
    pub(crate) fn failed(&self, key: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = failures.entry(key.to_owned()).or_default();
        let delay = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(*count)).min(LONGEST_DELAY);
        *count = count.saturating_add(1);
        delay
    }

    /// Forgets the failures of `key`: it succeeded, or is gone.
    pub(crate) fn succeeded(&self, key: &str) {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_up_to_two_minutes_and_success_forgives() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.failed("a").as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        assert_eq!(backoff.failed("b").as_secs(), 1);
        backoff.succeeded("a");
        assert_eq!(backoff.failed("a").as_secs(), 1);
    }
}
