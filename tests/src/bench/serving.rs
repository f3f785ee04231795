//! The measurement: memory, swaps under load, start, overload. Everything that is compared is measured in turns.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{
    Memory, Programs, Spread,
    server::Server,
    spread::{quantile, slope},
    variants::{self, TWINS, VARIANTS},
};
use crate::load::{Piece, Record, Schedule, Tally, run};

/// Requests that take longer than this count as late in overload.
pub(super) const OBJECTIVE: Duration = Duration::from_millis(20);
/// Swaps between two looks at the memory: less than the 512 durations that the runtime keeps.
const SWAPS_BETWEEN_LOOKS: u64 = 250;
/// Between two swaps.
const PAUSE: Duration = Duration::from_millis(2);
/// The load while swaps are made, as a part of the capacity.
const PART_OF_CAPACITY: f64 = 0.3;
/// Overload, as a multiple of the capacity.
const OVERLOAD: f64 = 3.0;

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extent {
    /// Swaps in all.
    pub swaps: u64,
    /// Rounds, each of everything.
    pub rounds: u64,
    /// Seconds of steady load in a round, and of overload.
    pub seconds: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How much was measured.
    pub extent: Extent,
    /// Sizes of the variants' files, in bytes, the largest first.
    pub variants: Vec<(String, u64)>,
    /// Memory of all variants.
    pub memory: MemoryReport,
    /// Swaps between resident variants under load.
    pub swaps: SwapReport,
    /// From the start of the process to readiness, with a store that has all variants, in milliseconds.
    pub start_ms: Spread,
    /// More requests than can be answered.
    pub overload: OverloadReport,
}

/// Resident memory in MB (10^6 bytes).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryReport {
    /// Private memory of the runtime with all variants resident.
    pub anonymous_mb: Spread,
    /// Its pages of files, weights and libraries.
    pub mapped_mb: Spread,
    /// Private memory of a process with as many plain sessions.
    pub plain_anonymous_mb: Spread,
    /// Its pages of files.
    pub plain_mapped_mb: Spread,
    /// How many times more private memory the plain sessions take (medians).
    pub anonymous_ratio: f64,
    /// The same for all memory.
    pub all_ratio: f64,
}

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
    /// Growth of private memory, in bytes for 1,000 swaps (least squares).
    pub growth_bytes: f64,
}

/// Overload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverloadReport {
    /// The objective in milliseconds.
    pub objective_ms: f64,
    /// Answers per second when two clients ask as fast as they are answered.
    pub capacity: Spread,
    /// Requests per second that were sent.
    pub offered: Spread,
    /// Answers within the objective per second, over the capacity.
    pub goodput_ratio: Spread,
    /// 99th percentile of the latency of answered requests, in milliseconds.
    pub p99_ms: Spread,
    /// Requests that were neither answered nor shed.
    pub failed: u64,
}

/// Measures in `directory`, and says what it does.
pub async fn measure(
    programs: &Programs,
    directory: &Path,
    extent: Extent,
    say: impl Fn(&str),
) -> Result<Report> {
    say("making six variants of VGG-16");
    let networks = variants::make(programs, &directory.join("models"))?;
    let sizes = networks.iter().map(|network| Ok(std::fs::metadata(network)?.len()));
    let sizes = sizes.collect::<Result<Vec<_>>>()?;
    let variants = VARIANTS.iter().map(|(name, ..)| (*name).to_owned()).zip(sizes).collect();

    let (mut ours, mut plain, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=extent.rounds {
        say(&format!("memory and start, round {round} of {}", extent.rounds));
        plain.push(programs.plain_sessions(&networks)?.memory);
        let server = programs.serve(directory, &[]).await?;
        server.wait_loaded().await?;
        ours.push(server.memory()?);
        // The first start fills the store.
        if round > 1 {
            starts.push(server.ready_after.as_secs_f64() * 1e3);
        }
    }
    let memory = compared(&ours, &plain);
    Ok(Report {
        extent,
        variants,
        memory,
        start_ms: Spread::of(starts),
        swaps: swap(programs, directory, extent, &say).await?,
        overload: overload(programs, directory, extent, &say).await?,
    })
}

fn compared(ours: &[Memory], plain: &[Memory]) -> MemoryReport {
    let spread =
        |all: &[Memory], of: fn(&Memory) -> u64| Spread::of(all.iter().map(|one| of(one) as f64 / 1e6));
    let (anonymous, mapped) = (|it: &Memory| it.anonymous_bytes, |it: &Memory| it.mapped_bytes);
    let (anonymous_mb, mapped_mb) = (spread(ours, anonymous), spread(ours, mapped));
    let (plain_anonymous_mb, plain_mapped_mb) = (spread(plain, anonymous), spread(plain, mapped));
    let all = |anonymous: Spread, mapped: Spread| anonymous.median + mapped.median;
    MemoryReport {
        anonymous_ratio: plain_anonymous_mb.median / anonymous_mb.median,
        all_ratio: all(plain_anonymous_mb, plain_mapped_mb) / all(anonymous_mb, mapped_mb),
        anonymous_mb,
        mapped_mb,
        plain_anonymous_mb,
        plain_mapped_mb,
    }
}

/// Steady load and load with swaps in turns, on one server.
async fn swap(
    programs: &Programs,
    directory: &Path,
    extent: Extent,
    say: &impl Fn(&str),
) -> Result<SwapReport> {
    let server = programs.serve(directory, &["--variant", TWINS[0]]).await?;
    server.wait_loaded().await?;
    let capacity = capacity(&server, extent.seconds).await?;
    let rate = (capacity * PART_OF_CAPACITY).round();
    let mut seen = Swapping::default();
    let (mut steady, mut swapping, mut tallies) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=extent.rounds {
        say(&format!("swaps under {rate} requests a second, round {round} of {}", extent.rounds));
        let calm = load(&server, rate, extent.seconds).await?;
        let swaps = extent.swaps / extent.rounds;
        // A swap takes the pause and its request; should the load end before the swaps, the rest of them are without.
        let seconds = PAUSE.as_secs_f64() * swaps as f64 * 1.8;
        let (busy, ()) = tokio::try_join!(load(&server, rate, seconds), seen.swap(&server, swaps))?;
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
        growth_bytes: slope(&seen.memory) * 1e3,
    })
}

/// What was seen of swaps so far.
#[derive(Default)]
struct Swapping {
    count: u64,
    durations_us: Vec<u64>,
    /// Private memory after so many swaps.
    memory: Vec<(f64, f64)>,
}

impl Swapping {
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

/// Three times the capacity, on a server with an objective.
async fn overload(
    programs: &Programs,
    directory: &Path,
    extent: Extent,
    say: &impl Fn(&str),
) -> Result<OverloadReport> {
    let objective = OBJECTIVE.as_millis().to_string();
    let options = ["--variant", TWINS[0], "--latency-objective", &objective];
    let server = programs.serve(directory, &options).await?;
    server.wait_loaded().await?;
    let (mut capacities, mut offered, mut goodput, mut p99, mut failed) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 1..=extent.rounds {
        say(&format!("overload, round {round} of {}", extent.rounds));
        let capacity = capacity(&server, extent.seconds).await?;
        let tally = load(&server, capacity * OVERLOAD, extent.seconds).await?;
        goodput.push((tally.answered - tally.late) as f64 / extent.seconds / capacity);
        offered.push(tally.offered as f64 / extent.seconds);
        p99.push(tally.p99_ms);
        failed += tally.failed;
        capacities.push(capacity);
    }
    Ok(OverloadReport {
        objective_ms: OBJECTIVE.as_secs_f64() * 1e3,
        capacity: Spread::of(capacities),
        offered: Spread::of(offered),
        goodput_ratio: Spread::of(goodput),
        p99_ms: Spread::of(p99),
        failed,
    })
}

/// Answers a second when two clients ask as fast as they are answered.
async fn capacity(server: &Server, seconds: f64) -> Result<f64> {
    let time = Duration::from_secs_f64(seconds);
    let (one, other) = tokio::try_join!(server.ask_for(time), server.ask_for(time))?;
    Ok((one + other) as f64 / seconds)
}

/// An open-loop load of `rate` requests a second.
async fn load(server: &Server, rate: f64, seconds: f64) -> Result<Tally> {
    let schedule = Schedule { pieces: vec![Piece { seconds, from: rate, to: rate }] };
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let collecting = async {
        let mut records: Vec<Record> = Vec::new();
        while receiver.recv_many(&mut records, 1024).await > 0 {}
        Ok(records)
    };
    let arrivals = schedule.arrivals(1);
    let ((), records) = tokio::try_join!(run(server.target(), &arrivals, sender), collecting)
        .context("the load generator failed")?;
    Ok(Tally::of(&records, OBJECTIVE))
}
