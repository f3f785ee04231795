//! The latency model: which tail a variant will have at a given load, under the node's CPU quota.
//!
//! The unthrottled server is an M/G/1 queue (Poisson arrivals, one server, first come first served). Its mean wait is that of
//! Pollaczek and Khinchine; its waiting time's tail is taken as exponential beyond the probability of not waiting at all, which
//! is exact for M/M/1 and close for what we serve.
//!
//! A CPU quota does not make a slow server: in each period of `P` the whole quota `Q` is there at once, and the tail is the
//! unthrottled one until the work of a period nears the quota. The distance is
//! `z = (Q - λ·P·s) / √(λ·P·(s² + σ²))`, the standard deviations of the work of one period that are left. Below
//! [`SAFE_DISTANCE`] a request may have to wait for the next period, `P - Q` at worst.

use std::time::Duration;

use crate::{
    fraction::Fraction,
    profile::{CpuQuota, Distribution, VariantProfile},
};

/// From so many standard deviations on a period's work practically never exceeds its quota (1 % of normal periods do).
/// Measured: at 2.3 the tail of the unthrottled server holds, at 1.1 it is three times as long.
pub const SAFE_DISTANCE: f64 = 2.3;

/// What the model says of one variant at one load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prediction {
    /// The wanted quantile of the latency.
    Latency(Duration),
    /// More work than the node can do: the queue grows without end.
    Overload,
}

impl Prediction {
    /// Whether the latency is at most `limit`.
    pub fn within(self, limit: Duration) -> bool {
        matches!(self, Self::Latency(latency) if latency <= limit)
    }
}

/// Predicts the `quantile` of the latency of `variant` at `load` items per second, each a request of its own.
pub fn predict(
    variant: &VariantProfile,
    load: f64,
    quota: Option<CpuQuota>,
    quantile: Fraction,
) -> Prediction {
    let protocol = seconds(variant.protocol_cpu_us);
    let wall = Service::of(&variant.wall, protocol);
    let cpu = Service::of(&variant.cpu, protocol);
    let Some(tail) = unthrottled_tail(wall, load, quantile) else {
        return Prediction::Overload;
    };
    match quota.map(|quota| throttling(quota, cpu, load)) {
        None | Some(Throttling::Negligible) => Prediction::Latency(tail),
        Some(Throttling::Waits(wait)) => Prediction::Latency(tail + wait),
        Some(Throttling::Overload) => Prediction::Overload,
    }
}

/// A service time: mean and standard deviation, in seconds, and its 99th percentile.
#[derive(Clone, Copy)]
struct Service {
    mean: f64,
    deviation: f64,
    p99: f64,
}

impl Service {
    fn of(measured: &Distribution, protocol: f64) -> Self {
        Self {
            mean: seconds(measured.mean_us) + protocol,
            deviation: seconds(measured.deviation_us),
            p99: seconds(measured.p99_us) + protocol,
        }
    }

    fn second_moment(self) -> f64 {
        self.mean * self.mean + self.deviation * self.deviation
    }
}

fn unthrottled_tail(service: Service, load: f64, quantile: Fraction) -> Option<Duration> {
    let utilisation = load * service.mean;
    if !(0.0..1.0).contains(&utilisation) {
        return None;
    }
    let beyond = (1.0 - quantile.as_f64()).max(1e-6);
    // Pollaczek-Khinchine: mean wait = λ E[S²] / 2(1-ρ), which is ρ times the mean wait of those that wait.
    let wait_if_waiting = service.second_moment() / (2.0 * service.mean * (1.0 - utilisation));
    let wait = if utilisation > beyond { wait_if_waiting * (utilisation / beyond).ln() } else { 0.0 };
    // The slowest service and the longest wait seldom meet: the larger of the two sums bounds both cases.
    let latency = (wait + service.mean).max(service.p99);
    latency.is_finite().then(|| Duration::from_secs_f64(latency.min(3600.0)))
}

enum Throttling {
    Negligible,
    Waits(Duration),
    Overload,
}

fn throttling(quota: CpuQuota, cpu: Service, load: f64) -> Throttling {
    let (granted, period) = (seconds(quota.quota_us), seconds(quota.period_us));
    if granted >= period {
        // One thread computes: a whole CPU or more never throttles it.
        return Throttling::Negligible;
    }
    let requests = load * period;
    let left = granted - requests * cpu.mean;
    if left <= 0.0 {
        return Throttling::Overload;
    }
    let distance = left / (requests * cpu.second_moment()).sqrt();
    if distance >= SAFE_DISTANCE {
        Throttling::Negligible
    } else {
        Throttling::Waits(Duration::from_secs_f64(period - granted))
    }
}

fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::name::VariantName;

    fn variant(mean_us: u64) -> VariantProfile {
        let time = Distribution::constant(mean_us, 100);
        VariantProfile {
            name: VariantName::parse("v").unwrap(),
            wall: time,
            cpu: time,
            protocol_cpu_us: 0,
            anonymous_bytes: 0,
            mapped_bytes: 0,
            warm_us: 0,
            throttled_periods: 0,
            digest: None,
        }
    }

    fn p99() -> Fraction {
        Fraction::parse("0.99").unwrap()
    }

    const HALF: Option<CpuQuota> = Some(CpuQuota { quota_us: 50_000, period_us: 100_000 });

    fn predicted_ms(mean_us: u64, load: f64, quota: Option<CpuQuota>) -> f64 {
        match predict(&variant(mean_us), load, quota, p99()) {
            Prediction::Latency(latency) => latency.as_secs_f64() * 1e3,
            Prediction::Overload => f64::INFINITY,
        }
    }

    /// Half a CPU, 2 ms, 150 a second: a simulation of the real scheduler gave 6.2 ms; a server of half the speed would have 22.
    #[test]
    fn a_quota_that_is_not_reached_does_not_slow() {
        let predicted = predicted_ms(2_000, 150.0, HALF);
        assert!((5.5..7.5).contains(&predicted), "{predicted}");
        assert!((predicted - predicted_ms(2_000, 150.0, None)).abs() < 1e-9);
    }

    #[test]
    fn a_quota_that_is_nearly_reached_costs_the_rest_of_a_period() {
        let (free, throttled) = (predicted_ms(2_000, 220.0, None), predicted_ms(2_000, 220.0, HALF));
        assert!((throttled - free - 50.0).abs() < 1e-6, "{free} {throttled}");
    }

    #[test]
    fn more_work_than_the_quota_is_overload() {
        assert!(predicted_ms(2_000, 260.0, HALF).is_infinite());
        assert!(predicted_ms(2_000, 260.0, None).is_finite());
        assert!(predicted_ms(2_000, 500.0, None).is_infinite());
    }

    #[test]
    fn without_load_the_latency_is_the_service_time() {
        assert!((predicted_ms(2_000, 0.0, HALF) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_load_that_is_no_number_is_overload() {
        assert_eq!(predict(&variant(2_000), f64::NAN, None, p99()), Prediction::Overload);
        assert_eq!(predict(&variant(2_000), -1.0, None, p99()), Prediction::Overload);
    }

    proptest! {
        #[test]
        fn more_load_never_predicts_less_latency(mean_us in 1_u64..100_000, load in 0.0..1000.0, more in 0.0..1000.0, quota in 1_000_u64..200_000) {
            let quota = Some(CpuQuota { quota_us: quota, period_us: 100_000 });
            prop_assert!(predicted_ms(mean_us, load, quota) <= predicted_ms(mean_us, load + more, quota));
        }

        #[test]
        fn a_slower_variant_never_predicts_less_latency(mean_us in 1_u64..100_000, slower in 0_u64..100_000, load in 0.0..1000.0) {
            prop_assert!(predicted_ms(mean_us, load, HALF) <= predicted_ms(mean_us + slower, load, HALF));
        }
    }
}
