//! How many threads an inference is computed with.

use std::thread;

/// Who says how many threads there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// Whoever started the process.
    Given(usize),
    /// The CPU quota; without one, the processors that this process may run on: nobody else's work is expected here.
    OfMachine,
    /// The CPU quota; without one, a single thread: the node is shared, and what its other pods leave free changes by the minute. One thread is
    /// slowed down least by that, so that what was measured of it goes on to hold.
    OfSharedNode,
}

impl Threads {
    /// How many there are for this process, whose quota is so many CPUs.
    pub(super) fn count(self, quota: Option<f64>) -> usize {
        self.of(quota, thread::available_parallelism().map_or(1, usize::from))
    }

    /// As many as whole CPUs are granted: with more, the last part of each period would find the quota used up, and all of them wait.
    fn of(self, quota: Option<f64>, processors: usize) -> usize {
        match (self, quota) {
            (Self::Given(threads), _) => threads.max(1),
            (Self::OfMachine | Self::OfSharedNode, Some(quota)) => {
                (quota.floor() as usize).clamp(1, processors.max(1))
            }
            (Self::OfMachine, None) => processors,
            (Self::OfSharedNode, None) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_gives_as_many_threads_as_whole_processors() {
        for threads in [Threads::OfMachine, Threads::OfSharedNode] {
            for (quota, expected) in [(0.5, 1), (1.0, 1), (1.9, 1), (2.0, 2), (3.5, 3), (64.0, 8)] {
                assert_eq!(threads.of(Some(quota), 8), expected, "{quota}");
            }
        }
    }

    #[test]
    fn without_a_quota_a_machine_gives_all_its_processors_and_a_shared_node_one() {
        assert_eq!(Threads::OfMachine.of(None, 8), 8);
        assert_eq!(Threads::OfMachine.of(None, 1), 1);
        assert_eq!(Threads::OfSharedNode.of(None, 8), 1);
    }

    #[test]
    fn who_says_how_many_is_obeyed() {
        for quota in [None, Some(0.5)] {
            assert_eq!(Threads::Given(4).of(quota, 2), 4);
        }
    }
}
