//! Processes of this machine, as `/proc` shows them: containers run here too.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// Resident memory, in bytes, of the largest process whose program has that file name.
pub fn largest_rss_bytes(program: &str) -> Result<u64> {
    let processes = fs::read_dir("/proc").context("failed to read /proc")?.flatten();
    let largest = processes.filter_map(|process| rss_bytes(&process.path(), program)).max();
    largest.with_context(|| format!("no process of {program} runs"))
}

/// Nothing for a process that is another program's, or that ended meanwhile.
fn rss_bytes(process: &Path, program: &str) -> Option<u64> {
    let command = fs::read(process.join("cmdline")).ok()?;
    let first = String::from_utf8_lossy(command.split(|byte| *byte == 0).next()?).into_owned();
    if Path::new(&first).file_name()? != program {
        return None;
    }
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
