//! Measuring a variant under the limits that it really has.
//!
//! Inferences are paced, so that measuring neither exhausts the CPU quota nor holds up requests. A sample during which a
//! request was computed, the quota ran out, or another process had the processor is put aside, and used only if there are hardly
//! any others: what a variant takes is measured, not what happens to run beside it while the node starts.

use std::time::{Duration, Instant};

use dnnshifter_portfolio::{CpuQuota, profile::Distribution};

use crate::cgroup;

/// With fewer clean samples than this the disturbed ones count too.
const FEWEST: usize = 10;
/// This part of the granted CPU time is used for measuring while there are no requests...
const DUTY: f64 = 0.5;
/// ... and this part beside requests, which need the quota themselves.
const DUTY_BESIDE_REQUESTS: f64 = 0.1;

/// What is measured.
pub(super) trait Subject {
    /// Whether requests wait.
    fn busy(&self) -> bool;
    /// Changes when something disturbs: inferences of others, throttled periods.
    fn disturbances(&self) -> (u64, u64);
    /// CPU time used so far.
    fn cpu(&self) -> Duration;
    /// Computes once; whether it worked.
    fn run(&self) -> bool;
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The CPU time that is granted.
    pub(super) quota: Option<CpuQuota>,
    /// So many clean samples are enough.
    pub(super) samples: usize,
    /// It ends after so long.
    pub(super) longest: Duration,
}

impl Terms {
    /// The first time: enough for a 99th percentile that is not just the worst.
    pub(super) fn whole(quota: Option<CpuQuota>) -> Self {
        Self { quota, samples: 100, longest: Duration::from_secs(3) }
    }

    /// Again, to see whether it still holds.
    pub(super) fn brief(quota: Option<CpuQuota>) -> Self {
        Self { quota, samples: 25, longest: Duration::from_secs(1) }
    }
}

/// Time of an inference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Measured {
    /// By the clock on the wall.
    pub(super) wall: Distribution,
    /// Of the CPU.
    pub(super) cpu: Distribution,
    /// Periods that were throttled meanwhile.
    pub(super) throttled_periods: u64,
}

#[derive(Default)]
struct Samples {
    wall: Vec<Duration>,
    cpu: Vec<Duration>,
}

/// Measures `subject` on these `terms`, resting between inferences, until there are enough samples, or too long, or `stopped`.
/// `None` when an inference failed, or when it was stopped before the first: a time of zero would be taken for a fast variant.
pub(super) fn measure(
    subject: &impl Subject,
    terms: Terms,
    rest: impl Fn(Duration),
    stopped: impl Fn() -> bool,
) -> Option<Measured> {
    let (mut clean, mut disturbed) = (Samples::default(), Samples::default());
    let share = share(terms.quota);
    let started = Instant::now();
    let mut seen = subject.disturbances();
    let throttled_before = seen.1;
    while clean.wall.len() < terms.samples && started.elapsed() < terms.longest && !stopped() {
        let before = (subject.disturbances(), subject.busy());
        let (began, cpu_before) = (Instant::now(), subject.cpu());
        if !subject.run() {
            return None;
        }
        let (wall, cpu) = (began.elapsed(), subject.cpu().saturating_sub(cpu_before));
        let undisturbed = before == (subject.disturbances(), false) && !preempted(wall, cpu);
        let samples = if undisturbed { &mut clean } else { &mut disturbed };
        samples.wall.push(wall);
        samples.cpu.push(cpu);
        let duty = if subject.disturbances().0 == seen.0 { DUTY } else { DUTY_BESIDE_REQUESTS };
        seen = subject.disturbances();
        rest(pause(cpu, duty * share));
    }
    if clean.wall.len() < FEWEST {
        clean.wall.append(&mut disturbed.wall);
        clean.cpu.append(&mut disturbed.cpu);
    }
    (!clean.wall.is_empty()).then(|| Measured {
        wall: distribution(clean.wall),
        cpu: distribution(clean.cpu),
        throttled_periods: seen.1.saturating_sub(throttled_before),
    })
}

/// Whether the thread stood still for a good part of an inference.
fn preempted(wall: Duration, cpu: Duration) -> bool {
    wall > cpu.mul_f64(1.25) + Duration::from_micros(100)
}

/// The pause after `cpu` of work that leaves the quota to requests.
pub(super) fn pause_beside_requests(cpu: Duration, quota: Option<CpuQuota>) -> Duration {
    pause(cpu, DUTY_BESIDE_REQUESTS * share(quota))
}

/// The part of one CPU that is granted.
fn share(quota: Option<CpuQuota>) -> f64 {
    quota.map_or(1.0, cgroup::share).min(1.0)
}

/// The pause after `cpu` of work that keeps the use at this part of a CPU.
fn pause(cpu: Duration, part: f64) -> Duration {
    cpu.mul_f64(1.0 / part.clamp(0.01, 1.0) - 1.0)
}

/// Mean, standard deviation and quantiles (nearest rank) of `samples`.
fn distribution(mut samples: Vec<Duration>) -> Distribution {
    samples.sort_unstable();
    let microseconds: Vec<f64> = samples.iter().map(|sample| sample.as_secs_f64() * 1e6).collect();
    let count = microseconds.len().max(1) as f64;
    let mean = microseconds.iter().sum::<f64>() / count;
    let variance = microseconds.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let quantile = |q: f64| {
        let rank = (q * count).ceil() as usize;
        microseconds.get(rank.saturating_sub(1)).copied().unwrap_or_default().round() as u64
    };
    Distribution {
        mean_us: mean.round() as u64,
        deviation_us: variance.sqrt().round() as u64,
        p50_us: quantile(0.50),
        p95_us: quantile(0.95),
        p99_us: quantile(0.99),
        samples: u32::try_from(samples.len()).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Uses 1 ms of CPU a run; every fourth run is disturbed by a throttled period.
    #[derive(Default)]
    struct Throttled {
        runs: Cell<u64>,
        always: bool,
        /// This run, and all after it, fails.
        fails_at: Option<u64>,
    }

    impl Subject for Throttled {
        fn busy(&self) -> bool {
            false
        }

        fn disturbances(&self) -> (u64, u64) {
            (0, if self.always { self.runs.get() } else { self.runs.get() / 4 })
        }

        fn cpu(&self) -> Duration {
            Duration::from_millis(if self.always { 1 } else { 1 + self.runs.get() / 4 })
                * self.runs.get() as u32
        }

        fn run(&self) -> bool {
            self.runs.set(self.runs.get() + 1);
            self.fails_at.is_none_or(|run| self.runs.get() < run)
        }
    }

    #[test]
    fn disturbed_samples_do_not_count() {
        let subject = Throttled::default();
        let measured = measure(&subject, Terms::whole(None), |_| (), || false).unwrap();
        assert_eq!(measured.wall.samples, 100);
        assert_eq!((subject.runs.get(), measured.throttled_periods), (133, 33));
    }

    #[test]
    fn where_everything_is_disturbed_the_disturbed_samples_count() {
        let subject = Throttled { always: true, ..Throttled::default() };
        let measured = measure(&subject, Terms::whole(None), |_| (), || subject.runs.get() >= 20).unwrap();
        assert_eq!((measured.cpu.samples, measured.cpu.mean_us), (20, 1000));
    }

    #[test]
    fn what_fails_or_was_not_run_has_no_measurement() {
        for run in [1, 5] {
            let subject = Throttled { fails_at: Some(run), ..Throttled::default() };
            assert_eq!(measure(&subject, Terms::whole(None), |_| (), || false), None);
            assert_eq!(subject.runs.get(), run);
        }
        assert_eq!(measure(&Throttled::default(), Terms::whole(None), |_| (), || true), None);
    }

    #[test]
    fn an_inference_that_stood_still_is_told_apart_from_a_slow_one() {
        let ms = Duration::from_millis;
        assert!(preempted(ms(5), ms(1)));
        assert!(!preempted(ms(5), ms(5)));
        // Several threads use more CPU time than passes.
        assert!(!preempted(ms(5), ms(10)));
    }

    #[test]
    fn pauses_keep_the_use_at_the_wanted_part() {
        assert_eq!(pause(Duration::from_millis(2), 0.5), Duration::from_millis(2));
        assert_eq!(pause(Duration::from_millis(2), 0.25), Duration::from_millis(6));
        assert_eq!(pause(Duration::from_millis(2), 0.0), Duration::from_millis(198));
        let half = CpuQuota { quota_us: 50_000, period_us: 100_000 };
        let after = |quota| pause_beside_requests(Duration::from_millis(2), quota);
        assert_eq!((after(None), after(Some(half))), (Duration::from_millis(18), Duration::from_millis(38)));
    }

    #[test]
    fn a_distribution_has_the_quantiles_of_its_samples() {
        let found = distribution((1..=100).rev().map(Duration::from_micros).collect());
        let expected =
            Distribution { mean_us: 51, deviation_us: 29, p50_us: 50, p95_us: 95, p99_us: 99, samples: 100 };
        assert_eq!(found, expected);
        assert_eq!(distribution(Vec::new()), Distribution::default());
    }
}
