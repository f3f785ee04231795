//! What a node measured once, corrected by what it sees later: a factor of the node times one of each variant.
//!
//! A node that gets hot, or has a noisy neighbour, is slower for every variant, also for those that it does not run: what is seen of one
//! is, for the most part, held to be the node's. What is left is the variant's own.
//!
//! Whatever runs beside an inference makes it slower, never faster. So what is faster than expected is believed at once, and what is
//! slower by half each time (on a logarithmic scale): a slowdown counts in full only if it lasts.

use std::collections::BTreeMap;

use crate::{
    name::VariantName,
    profile::{Distribution, VariantProfile},
};

/// No factor is smaller, or larger: beyond, something else is wrong than the speed of the node.
const FACTORS: (f64, f64) = (0.5, 3.0);

/// The part of a slowdown that is believed each time it is seen: after three times in a row seven eighths of it.
const BELIEVED: f64 = 0.5;

/// The part of it that is held to be the node's.
const NODE: f64 = 0.75;

/// The factors, as natural logarithms, so that ratios add up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Correction {
    /// Never below zero: a node is not faster than it was measured, or it was measured at a bad moment.
    node: f64,
    variants: BTreeMap<VariantName, f64>,
}

impl Correction {
    /// The variant has just been measured by itself: it is as it was measured, whatever slows the node now.
    pub fn measured(&mut self, variant: &VariantName) {
        self.variants.insert(variant.clone(), -self.node);
    }

    /// Inferences of the variant were seen that took `ratio` times as long as was measured. A ratio that is no positive number says
    /// nothing.
    pub fn observe(&mut self, variant: &VariantName, ratio: f64) {
        if !(ratio > 0.0 && ratio.is_finite()) {
            return;
        }
        let own = self.variants.entry(variant.clone()).or_default();
        let error = ratio.clamp(FACTORS.0, FACTORS.1).ln() - (self.node + *own);
        if error > 0.0 {
            self.node += BELIEVED * NODE * error;
            *own += BELIEVED * (1.0 - NODE) * error;
        } else {
            let of_node = self.node.min(-error);
            self.node -= of_node;
            *own += error + of_node;
        }
    }

    /// How many times as long as measured an inference of the variant takes now; that of the node for one that was not seen yet.
    pub fn factor(&self, variant: &VariantName) -> f64 {
        let own = self.variants.get(variant).copied().unwrap_or_default();
        (self.node + own).exp().clamp(FACTORS.0, FACTORS.1)
    }

    /// A profile that was measured, as it is now.
    pub fn corrected(&self, measured: &VariantProfile) -> VariantProfile {
        let factor = self.factor(&measured.name);
        let (wall, cpu) = (scaled(measured.wall, factor), scaled(measured.cpu, factor));
        VariantProfile { wall, cpu, ..measured.clone() }
    }
}

fn scaled(time: Distribution, factor: f64) -> Distribution {
    let scale = |microseconds: u64| (microseconds as f64 * factor).round() as u64;
    Distribution {
        mean_us: scale(time.mean_us),
        deviation_us: scale(time.deviation_us),
        p50_us: scale(time.p50_us),
        p95_us: scale(time.p95_us),
        p99_us: scale(time.p99_us),
        samples: time.samples,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(name: &str) -> VariantName {
        VariantName::parse(name).unwrap()
    }

    /// Each line of `story` names a variant, and the ratio that was seen of it (or `measured`); behind it stand the factors of `big` and
    /// `small` from then on.
    fn told(story: &str) -> String {
        let mut correction = Correction::default();
        let line = |line: &str| {
            let (variant, seen) = line.split_once(' ').unwrap();
            match seen.parse() {
                Ok(ratio) => correction.observe(&name(variant), ratio),
                Err(_) => correction.measured(&name(variant)),
            }
            let factor = |variant| correction.factor(&name(variant));
            format!("{line}: {:.2} {:.2}\n", factor("big"), factor("small"))
        };
        story.lines().map(str::trim).filter(|line| !line.is_empty()).map(line).collect()
    }

    #[test]
    fn a_node_that_gets_slower_is_believed_within_three_looks_and_the_others_inherit_it() {
        let story = told("big 2\nbig 2\nbig 2\nbig 2\nbig 1");
        assert_eq!(
            story,
            "big 2: 1.41 1.30\nbig 2: 1.68 1.48\nbig 2: 1.83 1.58\nbig 2: 1.92 1.63\nbig 1: 1.00 1.00\n"
        );
    }

    #[test]
    fn what_was_seen_once_is_forgotten_at_the_next_look() {
        assert_eq!(told("big 1.3\nbig 1"), "big 1.3: 1.14 1.10\nbig 1: 1.00 1.00\n");
    }

    #[test]
    fn what_only_one_variant_shows_becomes_its_own() {
        let story = told("big 2\nsmall 1\nbig 2\nsmall 1\nbig 2\nsmall 1\nbig 2\nsmall 1");
        assert_eq!(story.lines().last(), Some("small 1: 1.33 1.00"));
    }

    #[test]
    fn a_variant_that_was_measured_at_a_bad_moment_is_faster_and_no_other_is() {
        assert_eq!(told("big 0.7"), "big 0.7: 0.70 1.00\n");
    }

    #[test]
    fn what_is_measured_on_a_slow_node_gets_faster_with_it() {
        assert_eq!(
            told("big 2\nbig 2\nbig 2\nsmall measured\nbig 1"),
            "big 2: 1.41 1.30\nbig 2: 1.68 1.48\nbig 2: 1.83 1.58\nsmall measured: 1.83 1.00\nbig 1: 1.00 0.63\n"
        );
    }

    #[test]
    fn what_is_no_ratio_says_nothing() {
        for ratio in ["0", "-1", "NaN", "inf"] {
            assert_eq!(told(&format!("big {ratio}")), format!("big {ratio}: 1.00 1.00\n"));
        }
    }

    #[test]
    fn a_profile_is_corrected_in_its_times_alone() {
        let time = Distribution::constant(1_000, 100);
        let measured = VariantProfile {
            name: name("big"),
            wall: time,
            cpu: time,
            protocol_cpu_us: 100,
            anonymous_bytes: 1,
            mapped_bytes: 2,
            warm_us: 3,
            throttled_periods: 4,
            digest: None,
        };
        let mut correction = Correction::default();
        assert_eq!(correction.corrected(&measured), measured);
        correction.observe(&measured.name, 0.8);
        let time = Distribution::constant(800, 100);
        assert_eq!(correction.corrected(&measured), VariantProfile { wall: time, cpu: time, ..measured });
    }

    proptest! {
        #[test]
        fn factors_stay_within_their_bounds_and_end_where_the_ratio_stays(seen in prop::collection::vec((0..2_usize, 0.01..100.0), 0..50), last in 0.5..3.0) {
            let mut correction = Correction::default();
            let names = [name("big"), name("small")];
            for (variant, ratio) in seen {
                correction.observe(&names[variant], ratio);
                for name in &names {
                    prop_assert!((0.5..=3.0).contains(&correction.factor(name)));
                }
            }
            for _ in 0..40 {
                correction.observe(&names[0], last);
            }
            prop_assert!((correction.factor(&names[0]) - last).abs() < 1e-6);
        }
    }
}
