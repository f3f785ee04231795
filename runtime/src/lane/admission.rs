//! Whether a batch may join the queue: pure arithmetic.
//!
//! The wait is predicted from what is queued and the measured time of an item. A request that cannot be answered within the
//! objective, or within its own timeout, is refused at once: its client can still do something else, and the requests behind it
//! are not made late too.

use std::time::Duration;

/// More requests than this never wait, whatever the objective: it bounds the memory that they hold.
pub(crate) const LONGEST_QUEUE: usize = 512;

/// Nor do more items than this: requests of full batches would otherwise hold 128 times as much.
pub(crate) const MOST_ITEMS: usize = 2048;

/// Why a batch was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Shed {
    /// It would wait too long.
    #[error(
        "overloaded: the answer would take {}, {} are allowed; send fewer requests or try again later",
        milliseconds(predicted),
        milliseconds(allowed)
    )]
    TooLate {
        /// When it would be answered, from now.
        predicted: Duration,
        /// The objective, or the request's own timeout.
        allowed: Duration,
    },
    /// It did wait too long: something held up the processor.
    #[error(
        "overloaded: the request has waited {}, {} are allowed; send fewer requests or try again later",
        milliseconds(waited),
        milliseconds(allowed)
    )]
    Expired {
        /// How long it waited.
        waited: Duration,
        /// The objective.
        allowed: Duration,
    },
    /// Its own timeout has passed, so that nobody waits for the answer.
    #[error(
        "the request's own timeout of {} has passed: ask with a longer one, or send fewer requests",
        milliseconds(timeout)
    )]
    Deadline {
        /// The timeout.
        timeout: Duration,
    },
    /// It has more items than are computed in time, whatever else there is to do.
    #[error(
        "{items} items take {}, {} are allowed: send at most {most} at a time",
        milliseconds(predicted),
        milliseconds(allowed)
    )]
    TooManyItems {
        /// How many it has.
        items: usize,
        /// How long they take.
        predicted: Duration,
        /// The objective, or the request's own timeout.
        allowed: Duration,
        /// How many could be computed.
        most: usize,
    },
    /// It waited, and has made room for a client that had less waiting.
    #[error("overloaded: others who send less come first; send fewer requests or try again later")]
    Unfair,
    /// Too many wait already.
    #[error("overloaded: {waiting} requests wait already; send fewer requests or try again later")]
    Full {
        /// How many.
        waiting: usize,
    },
}

impl Shed {
    /// Whether there is too much to do, with this `objective`. A client that gives less time than everybody is promised is refused by
    /// its own wish, which says nothing of the others.
    pub(crate) fn is_overload(self, objective: Option<Duration>) -> bool {
        match self {
            Self::TooLate { predicted, .. } => objective.is_some_and(|objective| predicted > objective),
            Self::Deadline { timeout } => objective.is_some_and(|objective| timeout >= objective),
            Self::TooManyItems { .. } => false,
            Self::Expired { .. } | Self::Unfair | Self::Full { .. } => true,
        }
    }
}

/// What stands before a batch that wants to join.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ahead {
    /// Requests that wait.
    pub(crate) requests: usize,
    /// Their items.
    pub(crate) items: usize,
    /// Items of the batch that is being computed, and how long it has been.
    pub(crate) running: Option<(usize, Duration)>,
}

impl Ahead {
    /// Whether nothing is.
    pub(crate) fn is_idle(self) -> bool {
        self.requests == 0 && self.running.is_none()
    }
}

/// What is known of the time that a batch will take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// The time of an item.
    pub(crate) per_item: Duration,
    /// How much later than that adds up to answers come.
    pub(crate) lateness: Duration,
}

/// Lets a batch of `items` in, and predicts, without the lateness, when it will be computed; or says why not. With nothing ahead a
/// single item always may: nobody would be faster, and what is known of its time is corrected by it.
pub(crate) fn admit(
    ahead: Ahead,
    items: usize,
    pace: Pace,
    allowed: Option<Duration>,
) -> Result<Duration, Shed> {
    if ahead.requests >= LONGEST_QUEUE || ahead.items.saturating_add(items) > MOST_ITEMS {
        return Err(Shed::Full { waiting: ahead.requests });
    }
    let Pace { per_item, lateness } = pace;
    let alone = time_of(items, per_item);
    let computed = wait(ahead, per_item).saturating_add(alone);
    let Some(allowed) = allowed else { return Ok(computed) };
    if alone > allowed && items > 1 {
        let most = (allowed.as_nanos() / per_item.as_nanos().max(1)).max(1) as usize;
        return Err(Shed::TooManyItems { items, predicted: alone, allowed, most });
    }
    let predicted = computed.saturating_add(lateness);
    if predicted > allowed && !ahead.is_idle() {
        return Err(Shed::TooLate { predicted, allowed });
    }
    Ok(computed)
}

/// The time until all that is ahead is done.
fn wait(ahead: Ahead, per_item: Duration) -> Duration {
    let rest = ahead
        .running
        .map_or(Duration::ZERO, |(items, elapsed)| time_of(items, per_item).saturating_sub(elapsed));
    time_of(ahead.items, per_item).saturating_add(rest)
}

fn time_of(items: usize, per_item: Duration) -> Duration {
    per_item.saturating_mul(u32::try_from(items).unwrap_or(u32::MAX))
}

fn milliseconds(duration: &Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace(per_item: Duration) -> Pace {
        Pace { per_item, lateness: Duration::ZERO }
    }

    fn ahead(requests: usize, running_for: Option<u32>) -> Ahead {
        Ahead { requests, items: requests, running: running_for.map(|elapsed| (1, MS * elapsed)) }
    }

    #[test]
    fn requests_are_let_in_until_the_last_would_be_late() {
        let limit = Some(MS * 20);
        assert_eq!(admit(ahead(8, Some(0)), 1, pace(MS * 2), limit), Ok(MS * 20));
        let late = Shed::TooLate { predicted: MS * 22, allowed: MS * 20 };
        assert_eq!(admit(ahead(9, Some(0)), 1, pace(MS * 2), limit), Err(late));
    }

    #[test]
    fn the_lateness_of_answers_keeps_requests_out() {
        let late = Pace { per_item: MS * 2, lateness: MS * 3 };
        assert_eq!(admit(ahead(6, Some(0)), 1, late, Some(MS * 20)), Ok(MS * 16));
        let refused = Shed::TooLate { predicted: MS * 21, allowed: MS * 20 };
        assert_eq!(admit(ahead(7, Some(0)), 1, late, Some(MS * 20)), Err(refused));
        assert!(admit(ahead(0, None), 1, Pace { lateness: MS * 50, ..late }, Some(MS * 20)).is_ok());
    }

    #[test]
    fn what_already_ran_of_the_present_batch_does_not_count() {
        assert_eq!(admit(ahead(9, Some(2)), 1, pace(MS * 2), Some(MS * 20)), Ok(MS * 20));
        assert_eq!(admit(ahead(9, Some(50)), 1, pace(MS * 2), Some(MS * 20)), Ok(MS * 20));
    }

    #[test]
    fn a_batch_counts_with_all_its_items() {
        assert!(admit(ahead(1, None), 9, pace(MS * 2), Some(MS * 20)).is_ok());
        assert!(admit(ahead(1, None), 10, pace(MS * 2), Some(MS * 20)).is_err());
    }

    #[test]
    fn an_idle_lane_takes_an_item_even_if_it_will_be_late() {
        assert_eq!(admit(ahead(0, None), 1, pace(MS * 50), Some(MS * 20)), Ok(MS * 50));
        assert!(admit(ahead(0, Some(0)), 1, pace(MS * 50), Some(MS * 20)).is_err());
    }

    #[test]
    fn a_batch_that_takes_too_long_by_itself_is_told_how_many_items_do_not() {
        let refused = Shed::TooManyItems { items: 11, predicted: MS * 22, allowed: MS * 20, most: 10 };
        for ahead in [ahead(0, None), ahead(3, Some(0))] {
            assert_eq!(admit(ahead, 11, pace(MS * 2), Some(MS * 20)), Err(refused));
        }
        assert_eq!(
            refused.to_string(),
            "11 items take 22.0 ms, 20.0 ms are allowed: send at most 10 at a time"
        );
        assert!(admit(ahead(0, None), 10, pace(MS * 2), Some(MS * 20)).is_ok());
        assert!(!refused.is_overload(Some(MS * 20)));
    }

    #[test]
    fn without_an_objective_only_a_full_queue_sheds() {
        assert!(admit(ahead(LONGEST_QUEUE - 1, Some(0)), 1, pace(MS * 1000), None).is_ok());
        let full = Err(Shed::Full { waiting: LONGEST_QUEUE });
        assert_eq!(admit(ahead(LONGEST_QUEUE, Some(0)), 1, pace(MS), None), full);
    }

    #[test]
    fn a_queue_of_large_batches_is_full_before_it_is_long() {
        let batches = |requests| Ahead { requests, items: requests * 128, running: None };
        assert!(admit(batches(15), 128, pace(MS), None).is_ok());
        assert_eq!(admit(batches(16), 1, pace(MS), None), Err(Shed::Full { waiting: 16 }));
    }

    #[test]
    fn who_is_refused_for_its_own_haste_is_no_sign_of_overload() {
        let late = Shed::TooLate { predicted: MS * 5, allowed: MS };
        let deadline = Shed::Deadline { timeout: MS };
        for objective in [None, Some(MS * 20)] {
            assert!(!late.is_overload(objective) && !deadline.is_overload(objective));
        }
        assert!(late.is_overload(Some(MS * 4)) && deadline.is_overload(Some(MS)));
        assert!(Shed::Expired { waited: MS * 21, allowed: MS * 20 }.is_overload(Some(MS * 20)));
        assert!(Shed::Full { waiting: LONGEST_QUEUE }.is_overload(None));
    }

    #[test]
    fn absurd_sizes_do_not_overflow() {
        let absurd = Ahead { requests: 1, items: usize::MAX, running: Some((usize::MAX, MS)) };
        assert!(admit(absurd, usize::MAX, pace(Duration::MAX), Some(MS)).is_err());
    }
}
