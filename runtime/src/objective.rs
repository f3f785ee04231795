//! Whether the latency objective is met, judged by the real requests of the last seconds.

use std::{collections::VecDeque, time::Duration};

use dnnshifter_portfolio::{Fraction, Moment};
use parking_lot::Mutex;

/// The requests of so many seconds are judged.
const WINDOW: Duration = Duration::from_secs(30);
/// Fewer requests say nothing about a 99th percentile.
const FEWEST_REQUESTS: u64 = 100;
/// Requests are counted by the second.
const BUCKET: Duration = Duration::from_secs(1);

/// Counts requests that were answered in time, and those that were not.
#[derive(Default)]
pub(crate) struct ObjectiveMeter(Mutex<VecDeque<Bucket>>);

struct Bucket {
    since: Moment,
    in_time: u64,
    all: u64,
}

/// The judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// There were too few requests to judge by.
    TooFew,
    /// At least the wanted part was answered in time.
    Met,
    /// Too many were late or refused.
    Missed,
}

impl ObjectiveMeter {
    /// A request ended at `now`.
    pub(crate) fn record(&self, in_time: bool, now: Moment) {
        let mut buckets = self.0.lock();
        let fresh = buckets.back().is_none_or(|bucket| now.since(bucket.since) >= BUCKET);
        if fresh {
            forget(&mut buckets, now);
            buckets.push_back(Bucket { since: now, in_time: 0, all: 0 });
        }
        if let Some(bucket) = buckets.back_mut() {
            bucket.all += 1;
            bucket.in_time += u64::from(in_time);
        }
    }

    /// Whether at least `quantile` of the latest requests were answered in time.
    pub(crate) fn judge(&self, quantile: Fraction, now: Moment) -> Judgement {
        let mut buckets = self.0.lock();
        forget(&mut buckets, now);
        let sum = |count: fn(&Bucket) -> u64| buckets.iter().map(count).sum::<u64>();
        let (all, part) =
            (sum(|bucket| bucket.all), Fraction::of(sum(|bucket| bucket.in_time), sum(|bucket| bucket.all)));
        if all < FEWEST_REQUESTS {
            Judgement::TooFew
        } else if part >= quantile {
            Judgement::Met
        } else {
            Judgement::Missed
        }
    }
}

fn forget(buckets: &mut VecDeque<Bucket>, now: Moment) {
    while buckets.front().is_some_and(|bucket| now.since(bucket.since) > WINDOW) {
        buckets.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn p99() -> Fraction {
        Fraction::parse("0.99").unwrap()
    }

    fn judged(late: u64, of: u64) -> Judgement {
        let meter = ObjectiveMeter::default();
        for request in 0..of {
            meter.record(request >= late, at(request * 20 / of));
        }
        meter.judge(p99(), at(20))
    }

    #[test]
    fn the_objective_is_met_while_the_wanted_part_is_in_time() {
        assert_eq!(judged(10, 1000), Judgement::Met);
        assert_eq!(judged(11, 1000), Judgement::Missed);
    }

    #[test]
    fn a_few_requests_are_no_ground_to_judge_on() {
        assert_eq!(judged(5, 99), Judgement::TooFew);
    }

    #[test]
    fn what_is_long_past_does_not_count() {
        let meter = ObjectiveMeter::default();
        for second in 0..100 {
            for _ in 0..10 {
                meter.record(second >= 50, at(second));
            }
        }
        assert_eq!(meter.judge(p99(), at(99)), Judgement::Met);
        assert_eq!(meter.judge(p99(), at(200)), Judgement::TooFew);
    }
}
