//! What the keeper does next: a pure function of what stands.

use std::{sync::Arc, time::Duration};

use super::memory::Footprint;
use crate::{
    switch::{Slot, Standing},
    variant::Resident,
};

/// A variant that has not computed for so long is warmed: long before the kernel or the caches forget it.
const WARM_EVERY: Duration = Duration::from_secs(10);

/// The longest rest: variants come and go with changes of the switch, which end a rest at once.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// A piece of work.
pub(super) enum Task {
    /// Load this variant.
    Load(dnnshifter_portfolio::VariantName),
    /// Measure this one.
    Measure(Arc<Resident>, Footprint),
    /// Compute once with this one.
    Warm(Arc<Resident>),
    /// Wait for a change, at most so long.
    Rest(Duration),
}

/// First something must serve, then what is wanted, then all others, the least accurate first; then all are measured; then
/// they are kept warm.
pub(super) fn next(standing: &Standing) -> Task {
    let pending = || {
        standing.order.iter().rev().filter(|name| matches!(standing.slots.get(*name), Some(Slot::Pending)))
    };
    let wanted = standing.wanted.as_ref().map(|wanted| &wanted.variant);
    let urgent = pending().find(|name| standing.active.is_some() && Some(*name) == wanted);
    if let Some(variant) = urgent.or_else(|| pending().next()) {
        return Task::Load(variant.clone());
    }
    let residents = || {
        standing.order.iter().rev().filter_map(|name| match standing.slots.get(name) {
            Some(Slot::Resident(resident, footprint)) => Some((resident, *footprint)),
            Some(Slot::Pending | Slot::Refused(_)) | None => None,
        })
    };
    if let Some((resident, footprint)) =
        residents().find(|(resident, _)| !standing.profiles.contains_key(resident.name()))
    {
        return Task::Measure(Arc::clone(resident), footprint);
    }
    match residents().map(|(resident, _)| (resident.idle(), resident)).max_by_key(|(idle, _)| *idle) {
        Some((idle, resident)) if idle >= WARM_EVERY => Task::Warm(Arc::clone(resident)),
        Some((idle, _)) => Task::Rest(WARM_EVERY.saturating_sub(idle).min(LONGEST_REST)),
        None => Task::Rest(LONGEST_REST),
    }
}
