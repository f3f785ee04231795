//! Memory: what the process uses, what a variant takes, and whether one more fits.

use std::fs;

use crate::variant::VariantError;

/// This part of the limit is left for requests and for the page cache.
const RESERVE: u64 = 10;

/// What a loaded variant takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Private memory.
    pub(crate) anonymous_bytes: u64,
    /// Memory mapped from files.
    pub(crate) mapped_bytes: u64,
}

/// What the process uses, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessMemory {
    /// Private memory.
    pub(crate) anonymous: u64,
    /// Resident pages of mapped files, libraries included.
    pub(crate) mapped: u64,
}

impl ProcessMemory {
    /// What this process uses now; zero where the kernel does not say.
    pub(crate) fn now() -> Self {
        fs::read_to_string("/proc/self/status").map(|status| Self::parse(&status)).unwrap_or_default()
    }

    /// Reads `RssAnon` and `RssFile` of `/proc/PID/status` (`proc_pid_status(5)`), which are in units of 1024 bytes.
    fn parse(status: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
        };
        Self { anonymous: field("RssAnon:"), mapped: field("RssFile:") }
    }

    /// All resident memory.
    pub(crate) fn resident(self) -> u64 {
        self.anonymous.saturating_add(self.mapped)
    }
}

impl Footprint {
    /// What was added between two looks by a variant whose file has `file_bytes`, of which so many are mapped. Memory that earlier
    /// loads gave back may be used again, so that nothing seems to be added; but no variant takes less than its weights.
    pub(crate) fn measured(
        before: ProcessMemory,
        after: ProcessMemory,
        file_bytes: u64,
        mapped_bytes: u64,
    ) -> Self {
        let added = after.anonymous.saturating_sub(before.anonymous);
        Self { anonymous_bytes: added.max(file_bytes.saturating_sub(mapped_bytes)), mapped_bytes }
    }
}

/// Whether a variant that takes `needed_bytes` at its peak may be loaded within the limit.
pub(crate) fn admit(used: ProcessMemory, needed_bytes: u64, limit: Option<u64>) -> Result<(), VariantError> {
    let Some(limit) = limit else { return Ok(()) };
    let free_bytes = (limit - limit / RESERVE).saturating_sub(used.resident());
    if needed_bytes > free_bytes { Err(VariantError::Memory { needed_bytes, free_bytes }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_kernels_words_are_read() {
        let status =
            "Name:\tx\nVmRSS:\t   30000 kB\nRssAnon:\t   20480 kB\nRssFile:\t    9216 kB\nRssShmem:\t 0 kB\n";
        assert_eq!(ProcessMemory::parse(status), ProcessMemory { anonymous: 20 * MIB, mapped: 9 * MIB });
        assert!(ProcessMemory::now().anonymous > 0);
    }

    #[test]
    fn a_variant_is_let_in_only_if_its_peak_fits() {
        let used = ProcessMemory { anonymous: 30 * MIB, mapped: 10 * MIB };
        assert!(admit(used, 50 * MIB, Some(100 * MIB)).is_ok());
        assert!(admit(used, 51 * MIB, Some(100 * MIB)).is_err());
        assert!(admit(used, 1 << 40, None).is_ok());
    }

    #[test]
    fn a_footprint_is_at_least_the_weights() {
        let at = |anonymous| ProcessMemory { anonymous: anonymous * MIB, mapped: 0 };
        assert_eq!(Footprint::measured(at(10), at(60), 15 * MIB, 0).anonymous_bytes, 50 * MIB);
        assert_eq!(Footprint::measured(at(60), at(55), 15 * MIB, 0).anonymous_bytes, 15 * MIB);
        let mapped = Footprint::measured(at(10), at(13), 15 * MIB, 14 * MIB);
        assert_eq!(mapped, Footprint { anonymous_bytes: 3 * MIB, mapped_bytes: 14 * MIB });
    }
}
