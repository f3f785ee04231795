//! What became of each request, and what that amounts to.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Answered; whether in time is a matter of the objective.
    Answered,
    /// Refused at once, since it could not have been answered in time (429).
    Shed,
    /// Anything else: no connection, no answer, a server's error.
    Failed,
}

/// One request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When it was meant to leave, since the start of the run.
    pub intended: Duration,
    /// From then to the end of the answer.
    pub latency: Duration,
    /// When that was, in microseconds of Unix time: to compare with what another process of the same machine did.
    pub ended_unix_us: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// The variant that answered.
    pub variant: Option<String>,
    /// Whether the answer was the image's label.
    pub correct: bool,
    /// Why it failed.
    pub error: Option<String>,
}

/// The sum of many requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Requests that were meant to leave.
    pub offered: u64,
    /// Of these, answered (late ones included).
    pub answered: u64,
    /// Of the answered, those after the objective.
    pub late: u64,
    /// Refused at once.
    pub shed: u64,
    /// Neither answered nor shed.
    pub failed: u64,
    /// Median latency of the answered, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of the latency of the answered, in milliseconds.
    pub p99_ms: f64,
    /// Right answers within the objective, of all offered: what is late, shed or failed counts as wrong.
    pub effective_accuracy: f64,
    /// Answers by variant.
    pub variants: BTreeMap<String, u64>,
}

impl Tally {
    /// Sums records up against a latency objective.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>, objective: Duration) -> Self {
        let mut tally = Self::default();
        let mut right = 0_u64;
        // Up to ten minutes at three significant digits; such bounds are always valid.
        let mut latencies = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).ok();
        for record in records {
            tally.offered += 1;
            match record.outcome {
                Outcome::Answered => {
                    tally.answered += 1;
                    let late = record.latency > objective;
                    tally.late += u64::from(late);
                    right += u64::from(record.correct && !late);
                    if let Some(latencies) = &mut latencies {
                        latencies.saturating_record(record.latency.as_micros() as u64);
                    }
                }
                Outcome::Shed => tally.shed += 1,
                Outcome::Failed => tally.failed += 1,
            }
            if let Some(variant) = &record.variant {
                *tally.variants.entry(variant.clone()).or_default() += 1;
            }
        }
        let quantile =
            |q| latencies.as_ref().map_or(0.0, |latencies| latencies.value_at_quantile(q) as f64 / 1e3);
        (tally.p50_ms, tally.p99_ms) = (quantile(0.5), quantile(0.99));
        tally.effective_accuracy = if tally.offered == 0 { 0.0 } else { right as f64 / tally.offered as f64 };
        tally
    }
}

/// Now, in microseconds of Unix time.
pub fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(latency_ms: u64, outcome: Outcome, correct: bool) -> Record {
        let latency = Duration::from_millis(latency_ms);
        Record {
            intended: Duration::ZERO,
            latency,
            ended_unix_us: 0,
            outcome,
            variant: Some("macs-100".to_owned()),
            correct,
            error: None,
        }
    }

    #[test]
    fn late_shed_and_failed_count_as_wrong() {
        let records = [
            record(5, Outcome::Answered, true),
            record(5, Outcome::Answered, false),
            record(50, Outcome::Answered, true),
            record(0, Outcome::Shed, false),
            record(0, Outcome::Failed, false),
        ];
        let tally = Tally::of(&records, Duration::from_millis(20));
        assert_eq!((tally.offered, tally.answered, tally.late, tally.shed, tally.failed), (5, 3, 1, 1, 1));
        assert!((tally.effective_accuracy - 0.2).abs() < 1e-9);
        assert!((tally.p50_ms - 5.0).abs() < 0.1 && (tally.p99_ms - 50.0).abs() < 0.1, "{tally:?}");
    }
}
