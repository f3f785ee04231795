//! The measurement as a whole: what is measured, and in which order.

use std::{fs, path::Path};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Machine, Programs,
    figure::{
        Stage,
        latency::{self, LatencyReport},
        limit::{self, LimitReport},
        overload::{self, OverloadReport},
        peers::{self, PeerReport},
        quota::{self, QuotaReport},
        reload::{self, ReloadReport},
        resident::{self, ResidentReport},
        swaps::{self, SwapReport},
    },
    variants::{self, VARIANTS},
};

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extent {
    /// Swaps in all.
    pub swaps: u64,
    /// Rounds, each of everything.
    pub rounds: u64,
    /// Seconds of each load in a round.
    pub seconds: f64,
}

/// What was measured. What this machine does not allow says why.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// On what.
    pub machine: Machine,
    /// How much.
    pub extent: Extent,
    /// Sizes of the variants' files, in bytes, the largest first.
    pub variants: Vec<(String, u64)>,
    /// Without requests.
    pub resident: ResidentReport,
    /// Swaps between resident variants under load.
    pub swaps: SwapReport,
    /// Swaps to a variant on disk.
    pub reload: ReloadReport,
    /// Single requests.
    pub latency: LatencyReport,
    /// More requests than can be answered.
    pub overload: OverloadReport,
    /// Half a CPU.
    pub quota: Result<QuotaReport, String>,
    /// The smallest memory limit.
    pub limit: Result<LimitReport, String>,
    /// The runtime, then others; nothing if they were not asked for.
    pub peers: Vec<PeerReport>,
}

/// A part of the report that is measured in a minute or two: for who works on what it is about.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Part {
    /// Swaps between resident variants.
    Swaps,
    /// Swaps to a variant on disk.
    Reload,
    /// Single requests.
    Latency,
    /// More requests than can be answered.
    Overload,
    /// Half a CPU.
    Quota,
}

/// Measures a part alone.
pub async fn measure_part(
    programs: &Programs,
    directory: &Path,
    extent: Extent,
    part: Part,
    say: &dyn Fn(&str),
) -> Result<Value> {
    let stage = prepare(programs, directory, extent, say)?;
    let report = match part {
        Part::Swaps => serde_json::to_value(swaps::measure(&stage).await?),
        Part::Reload => serde_json::to_value(reload::measure(&stage).await?),
        Part::Latency => serde_json::to_value(latency::measure(&stage).await?),
        Part::Overload => serde_json::to_value(overload::measure(&stage).await?),
        Part::Quota => serde_json::to_value(quota::measure(&stage).await?),
    };
    Ok(report?)
}

fn prepare<'a>(
    programs: &'a Programs,
    directory: &'a Path,
    extent: Extent,
    say: &'a dyn Fn(&str),
) -> Result<Stage<'a>> {
    say("making six variants of VGG-16");
    let models = directory.join("models");
    let networks = variants::make(programs, &models)?;
    Ok(Stage { programs, directory, models, networks, extent, say })
}

/// Measures in `directory`, and says what it does; other servers too, if there are `environments` with them.
pub async fn measure(
    programs: &Programs,
    directory: &Path,
    extent: Extent,
    environments: Option<&Path>,
    say: &dyn Fn(&str),
) -> Result<Report> {
    let stage = prepare(programs, directory, extent, say)?;
    let sizes = stage.networks.iter().map(|network| Ok(fs::metadata(network)?.len()));
    let sizes = sizes.collect::<Result<Vec<_>>>()?;
    let resident = resident::measure(&stage).await?;
    let (swaps, reload) = (swaps::measure(&stage).await?, reload::measure(&stage).await?);
    let (latency, overload) = (latency::measure(&stage).await?, overload::measure(&stage).await?);
    let quota = quota::measure(&stage).await.map_err(|error| format!("{error:#}"));
    let limit = limit::measure(&stage, &resident).await.map_err(|error| format!("{error:#}"));
    let peers = match environments {
        Some(environments) => peers::measure(&stage, environments).await,
        None => Vec::new(),
    };
    Ok(Report {
        machine: Machine::this(programs),
        extent,
        variants: VARIANTS.iter().map(|(name, ..)| (*name).to_owned()).zip(sizes).collect(),
        resident,
        swaps,
        reload,
        latency,
        overload,
        quota,
        limit,
        peers,
    })
}
