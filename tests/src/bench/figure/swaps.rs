//! Swaps between resident variants under load: how long they take, what requests notice, what memory they leave.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Spread,
        client::{Client, Form},
        open_loop::{capacity, load, poisson},
        server::Server,
        spread::{Slope, quantile},
        variants::TWINS,
    },
    Stage,
};

/// Swaps between two looks at the memory: less than the 512 durations that the runtime keeps.
const SWAPS_BETWEEN_LOOKS: u64 = 250;
/// Between two swaps.
const PAUSE: Duration = Duration::from_millis(2);
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
    /// Requests per second meanwhile.
    pub requests_per_second: f64,
    /// Requests that were sent while swaps were made.
    pub requests: u64,
    /// Of these, those that were neither answered nor shed.
    pub failed: u64,
    /// 99th percentile of the latency without swaps, in milliseconds.
    pub steady_p99_ms: Spread,
    /// The same while swaps were made.
    pub swapping_p99_ms: Spread,
    /// The second over the first, round by round.
    pub p99_ratio: Spread,
    /// Growth of private memory with swaps after the first round, in bytes for 1,000.
    pub growth_bytes: Slope,
}

/// What was seen of swaps so far.
#[derive(Default)]
struct Seen {
    count: u64,
    durations_us: Vec<u64>,
    /// Private memory after so many swaps.
    memory: Vec<(f64, f64)>,
}

/// Steady load and load with swaps in turns, on one server.
pub(in super::super) async fn measure(stage: &Stage<'_>) -> Result<SwapReport> {
    let server = stage.serve(&["--variant", TWINS[0]]).await?;
    server.wait_settled().await?;
    let client = server.client(Form::Raw);
    let rate = (capacity(&client, 2, stage.extent.seconds).await * PART_OF_CAPACITY).round();
    let mut seen = Seen::default();
    let (mut steady, mut swapping, mut tallies) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=stage.extent.rounds {
        stage.round(&format!("swaps under {rate} requests a second"), round);
        let swaps = stage.extent.swaps / stage.extent.rounds;
        let calm = load(&client, &poisson(rate, stage.extent.seconds), NO_OBJECTIVE).await;
        // A swap takes the pause and its request; should the load end before the swaps, the rest of them are without.
        let seconds = PAUSE.as_secs_f64() * swaps as f64 * 1.5;
        let busy = beside(&client, rate, seconds, seen.swap(&server, swaps)).await?;
        if round == 1 {
            seen.memory.clear();
        }
        steady.push(calm.p99_ms);
        swapping.push(busy.p99_ms);
        tallies.push(busy);
    }
    seen.durations_us.sort_unstable();
    Ok(SwapReport {
        count: seen.count,
        p50_us: quantile(&seen.durations_us, 0.5),
        p99_us: quantile(&seen.durations_us, 0.99),
        longest_us: quantile(&seen.durations_us, 1.0),
        requests_per_second: rate,
        requests: tallies.iter().map(|tally| tally.offered).sum(),
        failed: tallies.iter().map(|tally| tally.failed).sum(),
        p99_ratio: Spread::of(swapping.iter().zip(&steady).map(|(swapping, steady)| swapping / steady)),
        steady_p99_ms: Spread::of(steady),
        swapping_p99_ms: Spread::of(swapping),
        growth_bytes: Slope::of(&seen.memory).times(1e3),
    })
}

/// The load's sum, while `work` is done beside it.
async fn beside(
    client: &Arc<Client>,
    rate: f64,
    seconds: f64,
    work: impl Future<Output = Result<()>>,
) -> Result<crate::load::Tally> {
    let arrivals = poisson(rate, seconds);
    let (tally, done) = tokio::join!(load(client, &arrivals, NO_OBJECTIVE), work);
    done.map(|()| tally)
}

impl Seen {
    async fn swap(&mut self, server: &Server, swaps: u64) -> Result<()> {
        let before = server.swaps().await?.count;
        let mut made = 0;
        while made < swaps {
            let next = SWAPS_BETWEEN_LOOKS.min(swaps - made);
            for index in 0..next {
                let twin = TWINS.get(usize::from((made + index) % 2 == 0)).copied().unwrap_or_default();
                server.swap_to(twin).await?;
                tokio::time::sleep(PAUSE).await;
            }
            made += next;
            let seen = server.swaps().await?;
            ensure!(seen.count == before + made, "{made} swaps were asked for, {} made", seen.count - before);
            let latest = seen.durations_microseconds.iter().rev().take(next as usize);
            self.durations_us.extend(latest);
            self.count += next;
            self.memory.push((self.count as f64, server.memory()?.anonymous_bytes as f64));
        }
        Ok(())
    }
}
