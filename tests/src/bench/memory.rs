//! The memory and the time of a process, as the kernel counts them.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// `USER_HZ`: the unit of times in `/proc`, on every architecture that Linux runs on today but Alpha.
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Private memory, which no other process shares and the kernel cannot take back.
    pub anonymous_bytes: u64,
    /// Pages of files, the libraries' included, which the kernel can read again.
    pub mapped_bytes: u64,
}

impl Memory {
    /// Of the process `id`.
    pub fn of(id: u32) -> Result<Self> {
        let path = format!("/proc/{id}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
            kilobytes.map(|kilobytes| kilobytes << 10).with_context(|| format!("{path} has no {name}"))
        };
        Ok(Self { anonymous_bytes: field("RssAnon:")?, mapped_bytes: field("RssFile:")? })
    }

    /// All of it.
    pub fn resident_bytes(self) -> u64 {
        self.anonymous_bytes + self.mapped_bytes
    }
}

/// CPU time of the process `id` so far, of the user and of the system.
pub(super) fn cpu(id: u32) -> Result<Duration> {
    let path = format!("/proc/{id}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    // proc_pid_stat(5): the name is in brackets and may hold anything; utime and stime are the 14th and 15th field.
    let (_, after) = stat.rsplit_once(") ").with_context(|| format!("{path} has no name"))?;
    let ticks: Option<u64> = after.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(
        ticks.with_context(|| format!("{path} has no times"))? as f64 / TICKS_PER_SECOND,
    ))
}

/// Memory of the process `id` in bytes, of which pages that are shared count in parts; zero if it has ended.
pub(super) fn proportional(id: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}
