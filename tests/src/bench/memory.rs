//! The memory of a process, as the kernel counts it.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

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
}
