//! The smallest memory limit under which six variants answer as they do without one, and the same for six plain sessions.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{
    super::{
        Spread,
        client::Form,
        group::Group,
        open_loop::{load, paced},
        server::Start,
        spread::quantile,
        variants::VARIANTS,
    },
    Stage,
    reload::forget,
    resident::ResidentReport,
};

/// One request each period, longer than the largest variant takes.
const PERIOD: Duration = Duration::from_millis(25);
/// So many in a row on one variant before the next.
const IN_A_ROW: u32 = 4;
/// So many in all: each variant has three turns.
const COUNT: u32 = 6 * IN_A_ROW * 3;
/// The 99th percentile is the same if it is at most this times as long: of 72 requests it is the longest, which varies.
const SAME: f64 = 1.25;
/// So many times it is measured: what else the machine does makes it longer, and nothing makes it shorter.
const ATTEMPTS: usize = 3;
/// The limit is found to this.
const STEP_BYTES: u64 = 8 << 20;
/// Nothing of either takes less.
const LEAST_BYTES: u64 = 24 << 20;
/// Nor more.
const MOST_BYTES: u64 = 1 << 30;
/// Under a limit that is much too small it would go on for ever, reading the same pages again and again.
const PATIENCE: Duration = Duration::from_secs(30);
/// No request is late here.
const NO_OBJECTIVE: Duration = Duration::from_secs(5);

/// Memory limits in MB.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitReport {
    /// Of the runtime with six resident variants.
    pub ours_mb: f64,
    /// Of six plain sessions.
    pub plain_mb: f64,
}

/// Measures; it takes a cgroup. Of both it is known what they take without a limit.
pub(in super::super) async fn measure(stage: &Stage<'_>, known: &ResidentReport) -> Result<LimitReport> {
    let bytes = |one: Spread, other: Spread| ((one.median + other.median) * 1e6) as u64;
    let taken = bytes(known.anonymous_mb, known.mapped_mb);
    let ours = smallest(stage, "the runtime", taken, async |bytes| {
        timeout(PATIENCE, served_p99_ms(stage, bytes)).await.context("too slow")?
    });
    let ours = ours.await?;
    let taken = bytes(known.plain_anonymous_mb, known.plain_mapped_mb);
    let plain = smallest(stage, "plain sessions", taken, async |bytes| plain_p99_ms(stage, bytes)).await?;
    Ok(LimitReport { ours_mb: ours as f64 / 1e6, plain_mb: plain as f64 / 1e6 })
}

/// The smallest limit that will do, by halving from `taken` on: more memory never harms.
async fn smallest(
    stage: &Stage<'_>,
    what: &str,
    taken: u64,
    p99_ms: impl AsyncFn(u64) -> Result<f64>,
) -> Result<u64> {
    let mut most: f64 = 0.0;
    for _ in 0..ATTEMPTS {
        most = most.max(p99_ms(MOST_BYTES).await? * SAME);
    }
    let (mut fails, mut holds, mut tried) = (LEAST_BYTES, MOST_BYTES, taken + taken / 4);
    while holds - fails > STEP_BYTES {
        let mut done = false;
        for _ in 0..ATTEMPTS {
            done = done || p99_ms(tried).await.is_ok_and(|p99_ms| p99_ms <= most);
        }
        let verdict = if done { "enough" } else { "too little" };
        (stage.say)(&format!("memory limit of {what}: {} MB is {verdict}", tried / 1_000_000));
        if done {
            holds = tried;
        } else {
            fails = tried;
        }
        tried = u64::midpoint(fails, holds);
    }
    Ok(holds)
}

/// All six variants must be resident, and are asked in turns.
async fn served_p99_ms(stage: &Stage<'_>, limit_bytes: u64) -> Result<f64> {
    let group = prepared(stage, limit_bytes)?;
    let start = Start { models: &stage.models, options: &[], group: Some(&group) };
    let server = stage.programs.serve(stage.directory, start).await?;
    server.wait_settled().await?;
    let client = server.client(Form::Raw);
    let mut longest: f64 = 0.0;
    for turn in 0..(COUNT / IN_A_ROW) as usize {
        let (variant, ..) = VARIANTS.get(turn % VARIANTS.len()).copied().unwrap_or_default();
        server.swap_to(variant).await?;
        let tally = load(&client, &paced(IN_A_ROW, PERIOD), NO_OBJECTIVE).await;
        ensure!(tally.answered == tally.offered, "requests failed");
        longest = longest.max(tally.p99_ms);
    }
    ensure!(server.absent().await? == 0, "a variant was given up");
    Ok(longest)
}

fn plain_p99_ms(stage: &Stage<'_>, limit_bytes: u64) -> Result<f64> {
    let group = prepared(stage, limit_bytes)?;
    let mut arguments = stage.network_arguments();
    let options = [
        ("--count", u64::from(COUNT)),
        ("--in-a-row", u64::from(IN_A_ROW)),
        ("--period-us", PERIOD.as_micros() as u64),
    ];
    arguments.extend(options.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]));
    let seen = stage.programs.plain(&arguments, Some(&group), PATIENCE)?;
    Ok(quantile(&seen.inference_us, 0.99) as f64 / 1e3)
}

/// A group with this limit, that is charged for every page of a file that its process reads: none of them is in the cache.
fn prepared(stage: &Stage<'_>, limit_bytes: u64) -> Result<Group> {
    let group = Group::create("dnnshifter-bench")?;
    group.limit_memory(limit_bytes)?;
    forget(stage.directory)?;
    stage.programs.onnxruntime.parent().map_or(Ok(()), |library: &Path| forget(library))?;
    Ok(group)
}
