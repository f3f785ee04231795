//! How much later answers come than admission predicts: what reading, writing and waking threads take, and inferences that are
//! slower than the mean. Pure.
//!
//! Under overload every request that is let in would be answered at the very end of what is allowed, if the prediction were just
//! right: half of them too late. So admission adds what all but a few of them were late by, tracked as one number that moves up when
//! an answer is later than that, and down, much less, when it is not (stochastic approximation of a quantile: Robbins
//! and Monro, 1951).

use std::time::Duration;

/// One answer in so many may be later than the lateness that is added.
const ONE_IN: f64 = 200.0;

/// The lateness moves up by this part of what is allowed.
const STEP: f64 = 0.02;

/// However late answers are, it is never more than this part of what is allowed: else nothing would be let in, and nothing learned.
const LARGEST: f64 = 0.5;

/// What passes before a request is read and after its answer is written cannot be seen from here: on a busy processor it is some tenths
/// of a millisecond. For that, admission keeps this part of what is allowed. It costs no throughput: a queue that is a little
/// shorter is not empty.
const UNSEEN: f64 = 0.05;

/// The lateness of all but a few answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lateness {
    seconds: f64,
}

impl Lateness {
    /// What is to be added to a prediction for which so much is allowed.
    pub(super) fn duration(self, allowed: Option<Duration>) -> Duration {
        let learned = Duration::from_secs_f64(self.seconds);
        let Some(allowed) = allowed else { return learned };
        learned.min(allowed.mul_f64(LARGEST)).saturating_add(allowed.mul_f64(UNSEEN))
    }

    /// From now on so much is allowed, where a request does not allow less.
    pub(super) fn keep_within(&mut self, allowed: Duration) {
        self.seconds = self.seconds.min(LARGEST * allowed.as_secs_f64());
    }

    /// An answer for which `allowed` was allowed took `taken` where `predicted` was predicted.
    pub(super) fn learn(&mut self, predicted: Duration, taken: Duration, allowed: Duration) {
        let (late, allowed) = (taken.as_secs_f64() - predicted.as_secs_f64(), allowed.as_secs_f64());
        let step = STEP * allowed;
        let moved = if late > self.seconds { step } else { -step / (ONE_IN - 1.0) };
        // Who allows little sets no limit for others: what was learned falls by its own steps only.
        let most = (LARGEST * allowed).max(self.seconds);
        self.seconds = (self.seconds + moved).clamp(0.0, most);
    }

    /// As [`Self::learn`], of an answer that would have taken longer than `taken`: whether it would have been in time is not known, unless
    /// it is late by now.
    pub(super) fn learn_later(&mut self, predicted: Duration, taken: Duration, allowed: Duration) {
        if taken.as_secs_f64() - predicted.as_secs_f64() > self.seconds {
            self.learn(predicted, taken, allowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Learns from 20,000 answers whose lateness runs evenly from zero to `latest`, over and over.
    fn learned(latest: Duration) -> Duration {
        let mut lateness = Lateness::default();
        for answer in 0..20_000_u32 {
            // Steps of 37 of 1,000 visit every thousandth, in no order.
            let late = latest * (answer * 37 % 1000) / 1000;
            lateness.learn(MS * 15, MS * 15 + late, MS * 20);
        }
        lateness.duration(None)
    }

    #[test]
    fn nearly_all_answers_are_less_late_than_is_learned() {
        let learned = learned(MS * 4);
        assert!(learned > MS * 3 && learned < MS * 5, "{learned:?}");
    }

    #[test]
    fn answers_as_predicted_need_no_allowance() {
        assert_eq!(learned(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn what_was_learned_leaves_room_for_those_who_allow_less() {
        let mut lateness = Lateness { seconds: 0.1 };
        assert_eq!(lateness.duration(Some(MS * 20)), MS * 11);
        assert_eq!(lateness.duration(Some(MS * 400)), MS * 120);
        lateness.keep_within(MS * 20);
        assert_eq!(lateness.duration(None), MS * 10);
    }

    #[test]
    fn an_answer_that_did_not_come_counts_once_it_is_late() {
        let mut lateness = Lateness::default();
        lateness.learn_later(MS * 15, MS * 10, MS * 20);
        assert_eq!(lateness.duration(None), Duration::ZERO);
        lateness.learn_later(MS * 15, MS * 16, MS * 20);
        assert_eq!(lateness.duration(None), MS.mul_f64(STEP * 20.0));
    }

    #[test]
    fn who_is_in_a_hurry_does_not_make_others_forget() {
        let mut lateness = Lateness { seconds: 0.020 };
        lateness.learn_later(Duration::ZERO, MS * 30, MS * 30);
        assert_eq!(lateness.duration(None), MS * 20);
    }

    #[test]
    fn a_part_of_what_is_allowed_is_kept_for_what_is_not_seen() {
        assert_eq!(Lateness::default().duration(Some(MS * 20)), MS);
    }

    #[test]
    fn a_server_that_is_always_late_still_lets_requests_in() {
        assert!(learned(MS * 10_000) <= MS * 10);
    }
}
