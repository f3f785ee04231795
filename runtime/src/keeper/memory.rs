//! Memory: what the process uses, what a variant takes, and whether one more fits.
//!
//! Variants are counted by what each takes when all of it is in use, not by what happens to be resident: the kernel drops idle
//! pages of mapped files, so that more would be let in than can be warm at once.

use std::fs;

use crate::variant::VariantError;

/// Requests may hold this part of the limit, ...
const PART_OF_REQUESTS: u64 = 8;
/// ... but never more than this: it is enough for four of the largest ones.
pub(crate) const MOST_OF_REQUESTS: u64 = 64 << 20;
/// This part of the limit is left for what is not counted: page tables, sockets, files that are only read.
const PART_UNCOUNTED: u64 = 20;

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
        let field = |name: &str| status.lines().find_map(|line| bytes(line, name)).unwrap_or(0);
        Self { anonymous: field("RssAnon:"), mapped: field("RssFile:") }
    }

    /// All resident memory.
    pub(crate) fn resident(self) -> u64 {
        self.anonymous.saturating_add(self.mapped)
    }
}

/// The bytes that a `line` of `/proc/PID/status` or `smaps` tells, if it is the one that begins with `name`.
pub(super) fn bytes(line: &str, name: &str) -> Option<u64> {
    let kilobytes = line.strip_prefix(name)?.trim().trim_end_matches(" kB").parse::<u64>();
    kilobytes.ok().map(|kilobytes| kilobytes << 10)
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

    /// All of it, if batches of twice the size took twice the private memory.
    pub(crate) fn with_twice_the_batch(self) -> u64 {
        self.bytes().saturating_add(self.anonymous_bytes)
    }

    /// All of it.
    pub(crate) fn bytes(self) -> u64 {
        self.anonymous_bytes.saturating_add(self.mapped_bytes)
    }
}

/// So many bytes of a memory limit requests may hold, all together.
pub(crate) fn reserved_for_requests(limit: Option<u64>) -> u64 {
    limit.map_or(MOST_OF_REQUESTS, |limit| MOST_OF_REQUESTS.min(limit / PART_OF_REQUESTS))
}

/// What is in use where the process needs `base` bytes without variants, and these are loaded: what they may take, or what the
/// process uses now if that is more.
pub(crate) fn in_use(now: ProcessMemory, base: u64, loaded: impl IntoIterator<Item = Footprint>) -> u64 {
    let counted = loaded.into_iter().map(Footprint::bytes).fold(base, u64::saturating_add);
    counted.max(now.resident())
}

/// What of a memory limit, if there is one, may be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budget(Option<u64>);

impl Budget {
    /// Beside what requests may hold.
    pub(crate) fn beside_requests(limit: Option<u64>) -> Self {
        let without = Self::without_requests(limit).0;
        Self(without.map(|bytes| bytes.saturating_sub(reserved_for_requests(limit))))
    }

    /// Where there are no requests.
    pub(crate) fn without_requests(limit: Option<u64>) -> Self {
        Self(limit.map(|limit| limit - limit / PART_UNCOUNTED))
    }

    /// Whether `needed_bytes` may be taken besides those that are in use.
    pub(crate) fn admit(self, in_use: u64, needed_bytes: u64) -> Result<(), VariantError> {
        let Some(free_bytes) = self.0.map(|bytes| bytes.saturating_sub(in_use)) else { return Ok(()) };
        if needed_bytes > free_bytes {
            Err(VariantError::Memory { needed_bytes, free_bytes })
        } else {
            Ok(())
        }
    }
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
    fn a_variant_is_let_in_only_beside_what_requests_may_hold() {
        // Of 800 MiB, 64 are for requests and 40 are not counted.
        let budget = Budget::beside_requests(Some(800 * MIB));
        assert!(budget.admit(96 * MIB, 600 * MIB).is_ok());
        assert!(budget.admit(96 * MIB, 601 * MIB).is_err());
        assert!(budget.admit(900 * MIB, 1).is_err());
        let alone = Budget::without_requests(Some(800 * MIB));
        assert!(alone.admit(96 * MIB, 664 * MIB).is_ok() && alone.admit(96 * MIB, 665 * MIB).is_err());
        assert!(Budget::beside_requests(None).admit(96 * MIB, 1 << 40).is_ok());
    }

    #[test]
    fn requests_may_hold_an_eighth_of_a_small_limit() {
        let reserved = |limit: u64| reserved_for_requests(Some(limit * MIB)) / MIB;
        assert_eq!([64, 256, 512, 4096].map(reserved), [8, 32, 64, 64]);
        assert_eq!(reserved_for_requests(None), 64 * MIB);
    }

    #[test]
    fn variants_count_by_what_they_may_take_even_while_the_kernel_has_dropped_their_pages() {
        let now = ProcessMemory { anonymous: 30 * MIB, mapped: 10 * MIB };
        let each = Footprint { anonymous_bytes: 5 * MIB, mapped_bytes: 60 * MIB };
        assert_eq!(in_use(now, 20 * MIB, [each, each]), 150 * MIB);
        assert_eq!(in_use(now, 20 * MIB, []), 40 * MIB);
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
