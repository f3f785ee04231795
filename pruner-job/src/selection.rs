//! Which of the networks that were made become variants: those that no other beats on both latency and accuracy, far enough
//! apart to be worth a switch. Pure.

use dnnshifter_portfolio::{Fraction, VariantName, name::InvalidVariantName};

/// A network that may become a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Accuracy on the validation split.
    pub(crate) accuracy: Fraction,
    /// Median latency in microseconds, all measured in turns.
    pub(crate) latency_us: u64,
}

/// What is asked of the variants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) minimum_accuracy: Fraction,
    pub(crate) maximum_variants: usize,
    /// Each variant is at least so many times faster than the next slower one.
    pub(crate) least_ratio: f64,
}

/// Positions of the candidates that become variants, the slowest first.
pub(crate) fn choose(candidates: &[Candidate], wanted: Wanted) -> Vec<usize> {
    let mut order: Vec<(usize, Candidate)> = candidates.iter().copied().enumerate().collect();
    order.retain(|(_, candidate)| candidate.accuracy >= wanted.minimum_accuracy);
    // The fastest first; of equally fast ones the most accurate.
    order.sort_by_key(|&(_, candidate)| (candidate.latency_us, std::cmp::Reverse(candidate.accuracy)));
    let mut best = None;
    order.retain(|&(_, candidate)| {
        let better = best.is_none_or(|best| candidate.accuracy > best);
        best = best.max(Some(candidate.accuracy));
        better
    });
    let mut chosen: Vec<(usize, Candidate)> = Vec::new();
    for (position, candidate) in order.into_iter().rev() {
        let apart =
            |slower: &Candidate| slower.latency_us as f64 >= wanted.least_ratio * candidate.latency_us as f64;
        if chosen.last().is_none_or(|(_, slower)| apart(slower)) {
            chosen.push((position, candidate));
        }
    }
    chosen.truncate(wanted.maximum_variants);
    chosen.into_iter().map(|(position, _)| position).collect()
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

    fn chosen(candidates: &[(&str, u64)], least_ratio: f64, maximum_variants: usize) -> Vec<usize> {
        let minimum_accuracy = Fraction::parse("0.8").unwrap();
        let candidate = |&(accuracy, latency_us): &(&str, u64)| Candidate {
            accuracy: Fraction::parse(accuracy).unwrap(),
            latency_us,
        };
        let candidates: Vec<_> = candidates.iter().map(candidate).collect();
        choose(&candidates, Wanted { minimum_accuracy, maximum_variants, least_ratio })
    }

    #[test]
    fn dominated_variants_are_dropped() {
        assert_eq!(chosen(&[("0.9", 900), ("0.91", 600), ("0.85", 300)], 1.2, 9), [1, 2]);
        assert_eq!(chosen(&[("0.9", 900), ("0.9", 600)], 1.2, 9), [1]);
        assert_eq!(chosen(&[("0.9", 600), ("0.85", 600)], 1.0, 9), [0]);
    }

    #[test]
    fn neighbours_are_far_enough_apart() {
        assert_eq!(chosen(&[("0.9", 900), ("0.89", 850), ("0.88", 600)], 1.25, 9), [0, 2]);
    }

    #[test]
    fn what_is_too_inaccurate_or_too_many_is_left_out() {
        assert_eq!(chosen(&[("0.9", 900), ("0.79", 100)], 1.25, 9), [0]);
        assert_eq!(chosen(&[("0.9", 900), ("0.88", 400), ("0.85", 100)], 1.25, 2), [0, 1]);
        assert_eq!(chosen(&[("0.5", 900)], 1.25, 2), [] as [usize; 0]);
    }

    #[test]
    fn names_are_unique() {
        let names = names(&[1000, 420, 14, 11], 1000).unwrap();
        let names: Vec<_> = names.iter().map(VariantName::as_str).collect();
        assert_eq!(names, ["macs-100", "macs-42", "macs-1", "macs-1-2"]);
    }
}
