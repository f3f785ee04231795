//! Which of the networks that were made become variants: those that no other beats on accuracy, latency and memory, far enough
//! apart to be worth a switch. Pure.

use dnnshifter_portfolio::{Fraction, VariantName, name::InvalidVariantName};

/// A network that may become a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Accuracy on the validation split.
    pub(crate) accuracy: Fraction,
    /// Median latency in microseconds, all measured in turns.
    pub(crate) latency_us: u64,
    /// Weights, and room for what is computed.
    pub(crate) memory_bytes: u64,
}

/// So many times less memory is worth a variant that is no faster. What is faster is mostly smaller, too, by more than it is faster:
/// less would let every small step be a variant.
const MUCH_SMALLER: f64 = 2.0;

/// What is asked of the variants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) minimum_accuracy: Fraction,
    pub(crate) maximum_variants: usize,
    /// Each variant is at least so many times faster than each more accurate one, or [`MUCH_SMALLER`].
    pub(crate) least_ratio: f64,
}

impl Candidate {
    /// Whether nothing speaks for `other` when this one is there.
    fn dominates(&self, other: &Self) -> bool {
        self != other
            && self.accuracy >= other.accuracy
            && self.latency_us <= other.latency_us
            && self.memory_bytes <= other.memory_bytes
    }

    /// Whether it is worth its room beside a more accurate one.
    fn is_apart(&self, better: &Self, least_ratio: f64) -> bool {
        better.latency_us as f64 >= least_ratio * self.latency_us as f64
            || better.memory_bytes as f64 >= MUCH_SMALLER * self.memory_bytes as f64
    }
}

/// Positions of the candidates that become variants, the slowest first.
pub(crate) fn choose(candidates: &[Candidate], wanted: Wanted) -> Vec<usize> {
    let mut order: Vec<(usize, Candidate)> = candidates.iter().copied().enumerate().collect();
    order.retain(|(_, candidate)| {
        candidate.accuracy >= wanted.minimum_accuracy
            && !candidates.iter().any(|other| other.dominates(candidate))
    });
    // The most accurate first, so that what comes later must be worth its room.
    order.sort_by_key(|&(_, candidate)| {
        (std::cmp::Reverse(candidate.accuracy), candidate.latency_us, candidate.memory_bytes)
    });
    let mut chosen: Vec<(usize, Candidate)> = Vec::new();
    for (position, candidate) in order {
        if chosen.iter().all(|(_, better)| candidate.is_apart(better, wanted.least_ratio)) {
            chosen.push((position, candidate));
        }
    }
    chosen.sort_by_key(|&(_, candidate)| std::cmp::Reverse(candidate.latency_us));
    thin(&mut chosen, wanted.maximum_variants);
    chosen.into_iter().map(|(position, _)| position).collect()
}

/// Leaves `most`: the slowest and the fastest, and between them those that are missed the most.
fn thin(chosen: &mut Vec<(usize, Candidate)>, most: usize) {
    while chosen.len() > most.max(2) {
        // Without its neighbour in the middle, how many times slower the one before is than the one after.
        let gap = |window: &[(usize, Candidate); 3]| {
            let [(_, slower), _, (_, faster)] = window;
            slower.latency_us as f64 / faster.latency_us.max(1) as f64
        };
        let gaps = chosen.array_windows().map(gap).enumerate();
        let Some((position, _)) = gaps.min_by(|(_, left), (_, right)| left.total_cmp(right)) else { break };
        chosen.remove(position + 1);
    }
    chosen.truncate(most);
}

/// Names by the share of the dense network's multiply-accumulates: `macs-100`, `macs-42`; equal ones are numbered.
pub(crate) fn names(macs: &[u64], dense: u64) -> Result<Vec<VariantName>, InvalidVariantName> {
    let mut names: Vec<VariantName> = Vec::new();
    for &macs in macs {
        let percent = (macs as f64 * 100.0 / dense.max(1) as f64).round() as u64;
        let plain = VariantName::parse(&format!("macs-{percent}"))?;
        let mut name = plain.clone();
        let mut number = 1;
        while names.contains(&name) {
            number += 1;
            name = VariantName::parse(&format!("{plain}-{number}"))?;
        }
        names.push(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accuracy, latency and memory.
    fn chosen(candidates: &[(&str, u64, u64)], least_ratio: f64, maximum_variants: usize) -> Vec<usize> {
        let minimum_accuracy = Fraction::parse("0.8").unwrap();
        let candidate = |&(accuracy, latency_us, memory_bytes): &(&str, u64, u64)| Candidate {
            accuracy: Fraction::parse(accuracy).unwrap(),
            latency_us,
            memory_bytes,
        };
        let candidates: Vec<_> = candidates.iter().map(candidate).collect();
        choose(&candidates, Wanted { minimum_accuracy, maximum_variants, least_ratio })
    }

    #[test]
    fn dominated_variants_are_dropped() {
        assert_eq!(chosen(&[("0.9", 900, 9), ("0.91", 600, 6), ("0.85", 300, 3)], 1.2, 9), [1, 2]);
        assert_eq!(chosen(&[("0.9", 900, 9), ("0.9", 600, 6)], 1.2, 9), [1]);
        assert_eq!(chosen(&[("0.9", 600, 6), ("0.85", 600, 6)], 1.0, 9), [0]);
    }

    #[test]
    fn of_networks_that_are_equal_one_becomes_a_variant() {
        assert_eq!(chosen(&[("0.9", 600, 6), ("0.9", 600, 6)], 1.2, 9), [0]);
    }

    #[test]
    fn what_takes_less_memory_is_worth_having_though_it_is_slower() {
        assert_eq!(chosen(&[("0.9", 600, 9), ("0.85", 620, 3)], 1.2, 9), [1, 0]);
        assert_eq!(chosen(&[("0.9", 900, 9), ("0.85", 890, 3)], 1.2, 9), [0, 1]);
        assert_eq!(chosen(&[("0.9", 600, 90), ("0.85", 620, 89)], 1.2, 9), [0]);
    }

    #[test]
    fn neighbours_are_far_enough_apart() {
        assert_eq!(chosen(&[("0.9", 900, 9), ("0.89", 850, 9), ("0.88", 600, 9)], 1.25, 9), [0, 2]);
        assert_eq!(chosen(&[("0.9", 900, 9), ("0.89", 850, 6), ("0.88", 600, 5)], 1.25, 9), [0, 2]);
    }

    #[test]
    fn what_is_too_inaccurate_is_left_out() {
        assert_eq!(chosen(&[("0.9", 900, 9), ("0.79", 100, 1)], 1.25, 9), [0]);
        assert_eq!(chosen(&[("0.5", 900, 9)], 1.25, 2), [] as [usize; 0]);
    }

    #[test]
    fn of_too_many_the_ends_stay_and_those_that_are_missed_the_most() {
        let four = [("0.9", 900, 9), ("0.89", 700, 7), ("0.88", 300, 3), ("0.85", 100, 1)];
        assert_eq!(chosen(&four, 1.25, 3), [0, 2, 3]);
        assert_eq!(chosen(&four, 1.25, 2), [0, 3]);
        assert_eq!(chosen(&four, 1.25, 1), [0]);
    }

    #[test]
    fn names_are_unique() {
        let names = names(&[1000, 420, 14, 11], 1000).unwrap();
        let names: Vec<_> = names.iter().map(VariantName::as_str).collect();
        assert_eq!(names, ["macs-100", "macs-42", "macs-1", "macs-1-2"]);
    }
}
