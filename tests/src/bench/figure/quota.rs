//! Half a CPU by quota: the tail of a steady load that the quota can carry, over that without a quota.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Spread,
        client::Form,
        group::{Group, PERIOD_US},
        open_loop::{load, poisson},
        server::Start,
        variants::MODEST,
    },
    Stage,
};

/// Half a CPU.
const QUOTA_US: u64 = PERIOD_US / 2;
/// How many deviations of a period's work the quota is away from its mean; from 2.3 on it should not be felt.
const DISTANCE: f64 = 2.5;
/// The deviation of the CPU time of a request, as a part of its mean: more than was ever seen.
const DEVIATION: f64 = 0.25;
/// To learn the CPU time of a request.
const PROBE_RATE: f64 = 100.0;
/// No request is late here.
const NO_OBJECTIVE: Duration = Duration::from_secs(5);

/// A steady load with and without a quota.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaReport {
    /// CPU time of a request, in microseconds.
    pub cpu_us: f64,
    /// Requests per second.
    pub requests_per_second: f64,
    /// How many deviations of a period's work the quota is away from its mean.
    pub distance: f64,
    /// 99th percentile without a quota, in milliseconds.
    pub free_p99_ms: Spread,
    /// The same with it.
    pub held_p99_ms: Spread,
    /// The second over the first, round by round.
    pub p99_ratio: Spread,
    /// The part of the periods in which the server had to wait.
    pub throttled: f64,
}

/// Measures; it takes a cgroup.
pub(in super::super) async fn measure(stage: &Stage<'_>) -> Result<QuotaReport> {
    let group = Group::create("dnnshifter-bench")?;
    group.limit_cpu(Some(QUOTA_US))?;
    let options = ["--variant", MODEST];
    let start = Start { models: &stage.models, options: &options, group: Some(&group) };
    let server = stage.programs.serve(stage.directory, start).await?;
    server.wait_settled().await?;
    let client = server.client(Form::Raw);
    let seconds = stage.extent.seconds;
    let before = server.cpu()?;
    let probed = load(&client, &poisson(PROBE_RATE, seconds), NO_OBJECTIVE).await;
    let cpu = server.cpu()?.saturating_sub(before).as_secs_f64() / probed.answered.max(1) as f64;
    let rate = rate(cpu);
    let arrivals = poisson(rate, seconds);
    let (mut free, mut held, mut throttled) = (Vec::new(), Vec::new(), 0);
    for round in 1..=stage.extent.rounds {
        stage.round(&format!("half a CPU under {rate:.0} requests a second"), round);
        group.limit_cpu(None)?;
        free.push(load(&client, &arrivals, NO_OBJECTIVE).await.p99_ms);
        group.limit_cpu(Some(QUOTA_US))?;
        let before = group.throttled_periods()?;
        held.push(load(&client, &arrivals, NO_OBJECTIVE).await.p99_ms);
        throttled += group.throttled_periods()?.checked_sub(before).context("nr_throttled fell")?;
    }
    let periods = seconds * 1e6 / PERIOD_US as f64 * stage.extent.rounds as f64;
    Ok(QuotaReport {
        cpu_us: cpu * 1e6,
        requests_per_second: rate,
        distance: DISTANCE,
        p99_ratio: Spread::of(held.iter().zip(&free).map(|(held, free)| held / free)),
        free_p99_ms: Spread::of(free),
        held_p99_ms: Spread::of(held),
        throttled: throttled as f64 / periods,
    })
}

/// The rate at which the quota is [`DISTANCE`] deviations away from the mean work of a period, for requests that take `cpu` seconds:
/// `Q - n s = z sqrt(n (s^2 + sigma^2))` for the `n` requests of a period, solved for the root of `n`.
fn rate(cpu: f64) -> f64 {
    let (quota, period) = (QUOTA_US as f64 / 1e6, PERIOD_US as f64 / 1e6);
    let noise = DISTANCE * cpu * (1.0 + DEVIATION * DEVIATION).sqrt();
    let root = ((noise * noise + 4.0 * cpu * quota).sqrt() - noise) / (2.0 * cpu);
    root * root / period
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_rate_the_quota_is_as_far_away_as_is_wanted() {
        for cpu in [0.0003, 0.001, 0.004] {
            let requests = rate(cpu) * 0.1;
            let deviation = cpu * (requests * (1.0 + DEVIATION * DEVIATION)).sqrt();
            let distance = (0.05 - requests * cpu) / deviation;
            assert!((distance - DISTANCE).abs() < 1e-9, "{cpu}: {distance}");
        }
    }
}
