//! Swaps between resident variants under load: how long they take, what requests notice, what memory they leave.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Spread,
        client::{Client, Form},
        open_loop::{another_poisson, capacity, records},
        server::Server,
        spread::{Slope, quantile},
        variants::TWINS,
    },
    Stage,
};
use crate::load::{Record, Tally};

/// Swaps in a slice of a round: less than the 512 durations that the runtime keeps. Slices with and without swaps take turns, so
/// that what disturbs the machine disturbs both.
const SWAPS_IN_A_SLICE: u64 = 100;
/// Between two swaps: no node swaps as often as fifty times a second, and a load that lasts ten thousand of them has enough requests for
/// a tail.
const PAUSE: Duration = Duration::from_millis(20);
/// The load, as a part of the capacity.
const PART_OF_CAPACITY: f64 = 0.3;
/// No request is late here.
const NO_OBJECTIVE: Duration = Duration::from_secs(5);

/// Swaps under load.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwapReport {
    /// Swaps that were made.
    pub count: u64,
    /// From decision received to pointer stored, in microseconds, over all swaps.
    pub p50_us: u64,
    /// The same, 99th percentile.
    pub p99_us: u64,
    /// The same, the longest.
    pub longest_us: u64,
    /// Milliseconds between two swaps.
    pub pause_ms: u64,
    /// Requests per second meanwhile.
    pub requests_per_second: f64,
    /// Requests that were sent while swaps were made.
    pub requests: u64,
    /// Of these, those that were neither answered nor shed.
    pub failed: u64,
    /// 99th percentile of the latency without swaps, in milliseconds: the same requests to swap are sent, but for the variant that
    /// serves already.
    pub steady_p99_ms: Spread,
    /// The same while swaps were made.
    pub swapping_p99_ms: Spread,
    /// The second over the first, round by round.
    pub p99_ratio: Spread,
    /// Growth of private memory in slices with swaps, less that in the slices without before them, in bytes for 1,000 swaps.
    pub growth_bytes: Slope,
    /// Growth of private memory with swaps and all requests after the first round, in bytes for 1,000 swaps.
    pub whole_growth_bytes: Slope,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    count: u64,
    durations_us: Vec<u64>,
    /// Private memory after so many swaps.
    memory: Vec<(f64, f64)>,
    /// By how much more it grew in a slice with swaps than in the one before it.
    growths: Vec<f64>,
}

/// Slices without and with swaps in turns, on one server under one load.
pub(in super::super) async fn measure(stage: &Stage<'_>) -> Result<SwapReport> {
    let server = stage.serve(&["--variant", TWINS[0]]).await?;
    server.wait_settled().await?;
    let client = server.client(Form::Raw);
    let rate = (capacity(&client, 2, stage.extent.seconds).await * PART_OF_CAPACITY).round();
    let course = Course { server: &server, client: &client, rate };
    let mut seen = Seen::default();
    let (mut steady, mut swapping, mut tallies) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=stage.extent.rounds {
        stage.round(&format!("swaps under {rate} requests a second"), round);
        let (mut calm, mut busy) = (Vec::new(), Vec::new());
        for _ in 0..(stage.extent.swaps / stage.extent.rounds).div_ceil(SWAPS_IN_A_SLICE) {
            let (without, with) = course.slices(&mut seen).await?;
            calm.extend(without);
            busy.extend(with);
        }
        if round == 1 {
            seen.memory.clear();
            seen.growths.clear();
        }
        let [calm, busy] = [calm, busy].map(|records| Tally::of(&records, NO_OBJECTIVE));
        steady.push(calm.p99_ms);
        swapping.push(busy.p99_ms);
        tallies.push(busy);
    }
    seen.durations_us.sort_unstable();
    let per_thousand = 1e3 / SWAPS_IN_A_SLICE as f64;
    Ok(SwapReport {
        count: seen.count,
        p50_us: quantile(&seen.durations_us, 0.5),
        p99_us: quantile(&seen.durations_us, 0.99),
        longest_us: quantile(&seen.durations_us, 1.0),
        pause_ms: PAUSE.as_millis() as u64,
        requests_per_second: rate,
        requests: tallies.iter().map(|tally| tally.offered).sum(),
        failed: tallies.iter().map(|tally| tally.failed).sum(),
        p99_ratio: Spread::of(swapping.iter().zip(&steady).map(|(swapping, steady)| swapping / steady)),
        steady_p99_ms: Spread::of(steady),
        swapping_p99_ms: Spread::of(swapping),
        growth_bytes: Slope::mean(&seen.growths).times(per_thousand),
        whole_growth_bytes: Slope::of(&seen.memory).times(1e3),
    })
}

/// A server under load.
struct Course<'a> {
    server: &'a Server,
    client: &'a Arc<Client>,
    rate: f64,
}

impl Course<'_> {
    /// The requests of a slice without swaps, and of one with.
    async fn slices(&self, seen: &mut Seen) -> Result<(Vec<Record>, Vec<Record>)> {
        let [twin, other] = TWINS;
        // The load ends before the swaps do, each of which takes longer than its pause.
        let seconds = PAUSE.as_secs_f64() * SWAPS_IN_A_SLICE as f64;
        // The same for both, and another for each pair: else the tail would be that of a single second's arrivals.
        let arrivals = another_poisson(self.rate, seconds, seen.count);
        let start = self.memory()?;
        let (without, ()) = self.beside(&arrivals, self.ask(|_| twin)).await?;
        let middle = self.memory()?;
        let before = self.server.swaps().await?.count;
        // An even number of swaps: the last one leads back to the first twin.
        let turn = |index: u64| if index.is_multiple_of(2) { other } else { twin };
        let (with, ()) = self.beside(&arrivals, self.ask(turn)).await?;
        let swaps = self.server.swaps().await?;
        let made = swaps.count - before;
        ensure!(made == SWAPS_IN_A_SLICE, "{SWAPS_IN_A_SLICE} swaps were asked for, {made} made");
        let latest = swaps.durations_microseconds.iter().rev().take(SWAPS_IN_A_SLICE as usize);
        seen.durations_us.extend(latest);
        seen.count += made;
        let end = self.memory()?;
        seen.memory.push((seen.count as f64, end));
        seen.growths.push((end - middle) - (middle - start));
        Ok((without, with))
    }

    /// Asks that the variants which `variant` gives serve, one after the other.
    async fn ask(&self, variant: impl Fn(u64) -> &'static str) -> Result<()> {
        for index in 0..SWAPS_IN_A_SLICE {
            self.server.swap_to(variant(index)).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The load's requests, while `work` is done beside it.
    async fn beside<T>(
        &self,
        arrivals: &[Duration],
        work: impl Future<Output = Result<T>>,
    ) -> Result<(Vec<Record>, T)> {
        let (records, done) = tokio::join!(records(self.client, arrivals), work);
        Ok((records, done?))
    }

    fn memory(&self) -> Result<f64> {
        Ok(self.server.memory()?.anonymous_bytes as f64)
    }
}
