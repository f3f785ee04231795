//! The swaps that were made, kept as they were measured, so that exact quantiles can be taken from them.

use std::collections::VecDeque;

use dnnshifter_portfolio::VariantName;
use serde::Serialize;

/// So many durations are kept.
const KEPT: usize = 512;

/// One swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Swap {
    /// The variant that served until then.
    pub(crate) from: VariantName,
    /// The variant that serves since.
    pub(crate) to: VariantName,
    /// Why, in one word.
    pub(crate) reason: String,
    /// From the decision received to the pointer stored.
    pub(crate) microseconds: u64,
    /// Whether the variant was loaded already when the decision came.
    pub(crate) was_resident: bool,
}

/// All swaps of this process: how many, the last one, and how long the latest between resident variants took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Swaps {
    /// Swaps to a variant that was resident when the decision came.
    count: u64,
    /// Swaps to a variant that had to be loaded first.
    count_after_loading: u64,
    /// The last swap of either kind.
    last: Option<Swap>,
    /// From decision received to pointer stored, of the latest 512 swaps to a resident variant, the oldest first.
    durations_microseconds: VecDeque<u64>,
}

impl Swaps {
    pub(super) fn record(&mut self, swap: Swap) {
        if swap.was_resident {
            self.count += 1;
            self.durations_microseconds.push_back(swap.microseconds);
            if self.durations_microseconds.len() > KEPT {
                self.durations_microseconds.pop_front();
            }
        } else {
            self.count_after_loading += 1;
        }
        self.last = Some(swap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swap(microseconds: u64, was_resident: bool) -> Swap {
        let name = |name| VariantName::parse(name).unwrap();
        Swap { from: name("a"), to: name("b"), reason: "Pinned".to_owned(), microseconds, was_resident }
    }

    #[test]
    fn the_latest_durations_are_kept_and_all_swaps_counted() {
        let mut swaps = Swaps::default();
        for microseconds in 0..1000 {
            swaps.record(swap(microseconds, true));
        }
        swaps.record(swap(5_000_000, false));
        assert_eq!((swaps.count, swaps.count_after_loading), (1000, 1));
        assert_eq!(swaps.durations_microseconds, (488..1000).collect::<Vec<_>>());
        assert_eq!(swaps.last, Some(swap(5_000_000, false)));
    }
}
