//! What the keeper does next: a pure function of what stands.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use dnnshifter_portfolio::VariantName;

use super::memory::Footprint;
use crate::{
    switch::{Slot, Standing},
    variant::Resident,
};

/// A variant that has not been seen in memory for so long is warmed: long before the kernel forgets it.
const WARM_EVERY: Duration = Duration::from_secs(10);

/// The longest rest: variants come and go with changes of the switch, which end a rest at once.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// A piece of work.
pub(super) enum Task {
    /// See whether this variant still computes what it should.
    Prove(Arc<Resident>),
    /// Load this variant.
    Load(VariantName),
    /// Measure this one.
    Measure(Arc<Resident>, Footprint),
    /// See to it that this one is in memory.
    Warm(Arc<Resident>),
    /// Wait for a change, at most so long.
    Rest(Duration),
}

/// First comes what may be broken; then something must serve, then what is wanted, then all others, the least accurate first; then all
/// are measured, those that are `stale` again; then they are kept warm.
pub(super) fn next(standing: &Standing, stale: impl Fn(&VariantName) -> bool) -> Task {
    if let Some((doubtful, _)) = standing.residents().find(|(resident, _)| resident.is_doubtful()) {
        return Task::Prove(Arc::clone(doubtful));
    }
    let mut pending = standing.order.iter().rev().filter(|name| is_pending(standing, name));
    if let Some(variant) = urgent(standing).or_else(|| pending.next()) {
        return Task::Load(variant.clone());
    }
    let residents = || {
        standing.order.iter().rev().filter_map(|name| match standing.slots.get(name) {
            Some(Slot::Resident(resident, footprint)) => Some((resident, *footprint)),
            Some(Slot::Pending | Slot::Refused(_)) | None => None,
        })
    };
    if let Some((resident, footprint)) = residents()
        .find(|(resident, _)| !standing.profiles.contains_key(resident.name()))
        .or_else(|| residents().find(|(resident, _)| stale(resident.name())))
    {
        return Task::Measure(Arc::clone(resident), footprint);
    }
    match residents().map(|(resident, _)| (resident.unseen(), resident)).max_by_key(|(unseen, _)| *unseen) {
        Some((unseen, resident)) if unseen >= WARM_EVERY => Task::Warm(Arc::clone(resident)),
        Some((unseen, _)) => Task::Rest(WARM_EVERY.saturating_sub(unseen).min(LONGEST_REST)),
        None => Task::Rest(LONGEST_REST),
    }
}

/// What is wanted but not loaded, while another variant serves: all else that the keeper does can wait.
pub(super) fn urgent(standing: &Standing) -> Option<&VariantName> {
    standing.active.as_ref()?;
    let wanted = &standing.wanted.as_ref()?.variant;
    standing.order.iter().find(|name| *name == wanted && is_pending(standing, name))
}

fn is_pending(standing: &Standing, variant: &VariantName) -> bool {
    matches!(standing.slots.get(variant), Some(Slot::Pending))
}

/// The resident variants to give up, so that `wanted` finds `missing_bytes`: those farthest from it, since load rises and falls by steps;
/// of two equally far ones the more accurate, which takes more. Neither what serves nor what is wanted; none where all of them would
/// not be enough, and none for what is not wanted.
pub(super) fn to_give_up(standing: &Standing, wanted: &VariantName, missing_bytes: u64) -> Vec<VariantName> {
    let is_wanted = standing.wanted.as_ref().is_some_and(|it| it.variant == *wanted);
    let Some(rank) = standing.rank(wanted).filter(|_| is_wanted) else { return Vec::new() };
    let serves = standing.active.as_ref().map(|active| &active.variant);
    let mut candidates: Vec<_> = standing
        .residents()
        .map(|(resident, footprint)| (resident.name(), footprint.bytes()))
        .filter(|(name, _)| Some(*name) != serves && *name != wanted)
        .filter_map(|(name, bytes)| Some((standing.rank(name)?, name, bytes)))
        .collect();
    candidates.sort_by_key(|(index, ..)| (Reverse(index.abs_diff(rank)), *index));
    let (mut found_bytes, mut given_up) = (0_u64, Vec::new());
    for (_, name, bytes) in candidates {
        if found_bytes >= missing_bytes {
            break;
        }
        found_bytes = found_bytes.saturating_add(bytes);
        given_up.push(name.clone());
    }
    if found_bytes >= missing_bytes { given_up } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        switch::Active,
        testing::{name, names, resident, wanted},
    };

    /// Variants a to e, the most accurate first: those in `loaded` are resident, the others were refused.
    fn standing(loaded: &[&str], wanted_variant: &str, active: &str) -> Standing {
        let order = names(&["a", "b", "c", "d", "e"]);
        let slot = |variant: &VariantName| {
            let slot = if loaded.contains(&variant.as_str()) {
                Slot::Resident(Arc::new(resident(variant.as_str(), 0.0)), Footprint::default())
            } else {
                Slot::Refused("no room".to_owned())
            };
            (variant.clone(), slot)
        };
        Standing {
            slots: order.iter().map(slot).collect(),
            order,
            wanted: Some(wanted(wanted_variant)),
            active: Some(Active {
                variant: name(active),
                reason: String::new(),
                since: SystemTime::UNIX_EPOCH,
            }),
            ..Standing::default()
        }
    }

    /// What is given up for so many bytes, each of the variants taking ten.
    fn given_up(loaded: &[&str], (wanted, active): (&str, &str), missing_bytes: u64) -> Vec<VariantName> {
        let mut standing = standing(loaded, wanted, active);
        for slot in standing.slots.values_mut() {
            if let Slot::Resident(_, footprint) = slot {
                *footprint = Footprint { anonymous_bytes: 4, mapped_bytes: 6 };
            }
        }
        to_give_up(&standing, &name(wanted), missing_bytes)
    }

    #[test]
    fn the_variants_farthest_from_what_is_wanted_are_given_up() {
        assert_eq!(given_up(&["c", "d", "e"], ("a", "c"), 10), names(&["e"]));
        assert_eq!(given_up(&["a", "b", "d"], ("e", "b"), 1), names(&["a"]));
        assert_eq!(given_up(&["a", "e", "b"], ("c", "b"), 10), names(&["a"]));
        assert_eq!(given_up(&["a", "e", "b"], ("c", "b"), 11), names(&["a", "e"]));
    }

    #[test]
    fn what_serves_or_is_wanted_is_never_given_up_and_nothing_in_vain() {
        assert!(given_up(&["e"], ("a", "e"), 1).is_empty());
        assert!(given_up(&["a", "e"], ("a", "e"), 1).is_empty());
        assert!(given_up(&["a", "e", "b"], ("c", "b"), 21).is_empty());
        // Nothing is given up for a variant that nobody asks for.
        assert!(to_give_up(&standing(&["c", "d", "e"], "c", "c"), &name("a"), 1).is_empty());
    }

    #[test]
    fn only_what_is_wanted_while_another_serves_is_urgent() {
        let mut standing = standing(&["a", "b"], "c", "a");
        assert_eq!(urgent(&standing), None);
        standing.slots.insert(name("c"), Slot::Pending);
        standing.slots.insert(name("e"), Slot::Pending);
        assert_eq!(urgent(&standing), Some(&name("c")));
        assert!(matches!(next(&standing, |_| true), Task::Load(variant) if variant == name("c")));
        // While nothing serves, the least accurate comes first.
        standing.active = None;
        assert_eq!(urgent(&standing), None);
        assert!(matches!(next(&standing, |_| true), Task::Load(variant) if variant == name("e")));
    }

    #[test]
    fn what_was_not_seen_for_the_longest_is_warmed() {
        let mut standing = standing(&["a", "b"], "a", "a");
        for variant in ["a", "b"] {
            standing.profiles.insert(name(variant), crate::testing::profile(variant));
        }
        let mut put = |variant: &str, age| {
            let slot = Slot::Resident(Arc::new(resident(variant, 0.0).aged(age)), Footprint::default());
            standing.slots.insert(name(variant), slot);
            standing.clone()
        };
        put("a", WARM_EVERY / 2);
        let rested = put("b", WARM_EVERY / 4);
        assert!(matches!(next(&rested, |_| false), Task::Rest(rest) if rest <= WARM_EVERY / 2));
        put("a", WARM_EVERY);
        let both_cold = put("b", WARM_EVERY * 2);
        assert!(matches!(next(&both_cold, |_| false), Task::Warm(variant) if *variant.name() == name("b")));
    }

    #[test]
    fn a_stale_measurement_is_taken_again_only_when_all_are_measured() {
        let mut standing = standing(&["a", "b"], "a", "a");
        let measured = |standing: &Standing| match next(standing, |name| name.as_str() == "b") {
            Task::Measure(resident, _) => Some(resident.name().to_string()),
            Task::Prove(_) | Task::Load(_) | Task::Warm(_) | Task::Rest(_) => None,
        };
        assert_eq!(measured(&standing).as_deref(), Some("b"));
        for variant in ["a", "b"] {
            standing.profiles.insert(name(variant), crate::testing::profile(variant));
        }
        assert_eq!(measured(&standing).as_deref(), Some("b"));
        assert!(matches!(next(&standing, |_| false), Task::Warm(_) | Task::Rest(_)));
    }
}
