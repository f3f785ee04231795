//! Which variant serves: the one pointer that requests follow, and the one place that changes it.
//!
//! Decisions come in from Kubernetes or from a person ([`Switch::direct`]), news of loaded and refused variants from the
//! [`keeper`](crate::keeper). After each of them the choice is made anew under one lock ([`choice`]), so that of several
//! decisions in quick succession the last one holds, whatever is loaded when. The exchange itself is one atomic store:
//! inferences that run finish on the old variant, which the keeper drops later.

pub(crate) mod choice;
mod standing;
pub(crate) mod swaps;

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwapOption;
use dnnshifter_portfolio::{VariantName, VariantProfile};
use parking_lot::Mutex;
use tokio::sync::watch;

pub(crate) use self::standing::{Active, Slot, Standing, Wanted};
use self::{
    choice::{Choice, Presence, asked_for, choose},
    swaps::{Swap, Swaps},
};
use crate::{keeper::memory::Footprint, metrics::Metrics, variant::Resident};

/// The switch. See the module.
pub(crate) struct Switch {
    active: ArcSwapOption<Resident>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    /// Those of them that leave the keeper something to do: it sleeps through all others, which are in the way of requests.
    work: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    standing: Standing,
    /// When the present decision was received, and whether its variant was resident then.
    decided: Option<(Instant, bool)>,
    swaps: Swaps,
    /// Variants that are no longer placed here, until the keeper drops them: freeing memory takes its time.
    retired: Vec<Arc<Resident>>,
}

impl Switch {
    /// A switch without variants.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        let (changes, work) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { active: ArcSwapOption::empty(), state: Mutex::default(), changes, work, metrics }
    }

    /// The variant that serves now.
    pub(crate) fn active(&self) -> Option<Arc<Resident>> {
        self.active.load_full()
    }

    /// A decision, received at `received`: these variants are placed here, the most accurate first, and this one is to serve.
    pub(crate) fn direct(&self, order: &[VariantName], wanted: Option<Wanted>, received: Instant) {
        self.change(|state| {
            if state.standing.order != order {
                state.place(order);
            }
            if state.standing.wanted != wanted || state.decided.is_none() {
                state.standing.wanted = wanted;
                state.decided_at(received);
                state.make_room();
            }
        });
    }

    /// The node keeps below a ceiling, with nothing more accurate than `limit`; or keeps to it again, with none.
    pub(crate) fn keep_below(&self, limit: Option<VariantName>, received: Instant) {
        self.change(|state| {
            if state.standing.limit != limit {
                state.standing.limit = limit;
                state.decided_at(received);
            }
        });
    }

    /// The keeper has loaded a variant.
    pub(crate) fn loaded(&self, resident: Resident, footprint: Footprint) {
        self.change(|state| {
            let slot = Slot::Resident(Arc::new(resident), footprint);
            let Slot::Resident(variant, _) = &slot else { return };
            let name = variant.name().clone();
            if state.standing.slots.contains_key(&name) {
                state.standing.without_room.remove(&name);
                state.standing.slots.insert(name, slot);
            }
        });
    }

    /// The keeper could not load a variant, or has found that it does not compute.
    pub(crate) fn refused(&self, variant: &VariantName, why: String) {
        self.change(|state| state.refuse(variant, why));
    }

    /// The keeper has no room for a variant, or gives it up for another one.
    pub(crate) fn no_room(&self, variant: &VariantName, why: String) {
        self.change(|state| {
            state.refuse(variant, why);
            state.standing.without_room.insert(variant.clone());
        });
    }

    /// A variant that was refused is to be loaded once more, for whoever asks for it may have mended it; one that is not refused stays as it is.
    pub(crate) fn try_again(&self, variant: &VariantName, received: Instant) {
        self.change(|state| {
            if let Some(slot @ Slot::Refused(_)) = state.standing.slots.get_mut(variant) {
                *slot = Slot::Pending;
                state.standing.without_room.remove(variant);
                state.decided_at(received);
            }
        });
    }

    /// The keeper has measured a variant.
    pub(crate) fn measured(&self, profile: VariantProfile) {
        self.change(|state| {
            state.standing.profiles.insert(profile.name.clone(), profile);
        });
    }

    /// All that is known now.
    pub(crate) fn standing(&self) -> Standing {
        self.state.lock().standing.clone()
    }

    /// The swaps that were made.
    pub(crate) fn swaps(&self) -> Swaps {
        self.state.lock().swaps.clone()
    }

    /// Variants to be dropped, by a thread that has the time.
    pub(crate) fn take_retired(&self) -> Vec<Arc<Resident>> {
        std::mem::take(&mut self.state.lock().retired)
    }

    /// Counts the changes, to be woken by them.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Counts the changes that leave something to load or to drop, to be woken by them.
    pub(crate) fn work(&self) -> watch::Receiver<u64> {
        self.work.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let swap = self.settle(&mut state);
        let is_work = state.is_work();
        drop(state);
        if let Some(swap) = swap {
            self.metrics.swapped(&swap);
            tracing::info!(from = %swap.from, to = %swap.to, reason = swap.reason, microseconds = swap.microseconds, "switched");
        }
        self.changes.send_modify(|count| *count += 1);
        if is_work {
            self.work.send_modify(|count| *count += 1);
        }
    }

    /// What was refused while it served does not serve on, even if nothing else can; what is only placed no longer does.
    fn stop_refused(&self, state: &mut State) {
        let standing = &mut state.standing;
        let slot = standing.active.as_ref().and_then(|active| standing.slots.get(&active.variant));
        if matches!(slot, Some(Slot::Refused(_))) {
            standing.active = None;
            self.active.store(None);
        }
    }

    /// Chooses anew, and exchanges the pointer if another variant is to serve.
    fn settle(&self, state: &mut State) -> Option<Swap> {
        let Some(Choice { variant, reason }) = choose(&state.standing) else {
            self.stop_refused(state);
            return None;
        };
        let before = state.standing.active.as_ref();
        if before.is_some_and(|active| active.variant == variant) {
            state.standing.active.as_mut()?.reason = reason;
            return None;
        }
        let Some(Slot::Resident(resident, _)) = state.standing.slots.get(&variant) else { return None };
        let from = before.map(|active| active.variant.clone());
        self.active.store(Some(Arc::clone(resident)));
        let took = state.decided.map(|(received, resident)| (received.elapsed(), resident));
        state.standing.active =
            Some(Active { variant: variant.clone(), reason: reason.clone(), since: SystemTime::now() });
        let (elapsed, was_resident) = took?;
        let swap = Swap {
            from: from?,
            to: variant,
            reason,
            microseconds: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            was_resident,
        };
        state.swaps.record(swap.clone());
        Some(swap)
    }
}

impl State {
    /// Swaps that follow are timed from now on from `received`.
    fn decided_at(&mut self, received: Instant) {
        let variant = asked_for(&self.standing).map(|(variant, _)| variant);
        let resident = variant.is_some_and(|variant| self.standing.presence(variant) == Presence::Resident);
        self.decided = Some((received, resident));
    }

    /// Whether there is something to load or to drop.
    fn is_work(&self) -> bool {
        let is_pending = |slot: &Slot| matches!(slot, Slot::Pending);
        !self.retired.is_empty() || self.standing.slots.values().any(is_pending)
    }

    fn refuse(&mut self, variant: &VariantName, why: String) {
        let Some(slot) = self.standing.slots.get_mut(variant) else { return };
        if let Slot::Resident(resident, _) = std::mem::replace(slot, Slot::Refused(why)) {
            self.retired.push(resident);
            if self.standing.active.as_ref().is_some_and(|active| active.variant == *variant) {
                // A swap that follows is due to the refusal, not to the decision, and is timed from now.
                self.decided = Some((Instant::now(), false));
            }
        }
    }

    /// What is wanted now gets another chance, if it was only room that it did not find.
    fn make_room(&mut self) {
        let standing = &mut self.standing;
        let Some(wanted) = &standing.wanted else { return };
        if standing.without_room.remove(&wanted.variant)
            && let Some(slot) = standing.slots.get_mut(&wanted.variant)
        {
            *slot = Slot::Pending;
        }
    }

    fn place(&mut self, order: &[VariantName]) {
        let standing = &mut self.standing;
        for (_, slot) in standing.slots.extract_if(.., |name, _| !order.contains(name)) {
            if let Slot::Resident(resident, _) = slot {
                self.retired.push(resident);
            }
        }
        for name in order {
            let slot = standing.slots.entry(name.clone()).or_insert(Slot::Pending);
            // What was refused for want of memory, or beside variants with other tensors, may do now.
            if matches!(slot, Slot::Refused(_)) {
                *slot = Slot::Pending;
            }
        }
        standing.limit = standing.limit.take().filter(|limit| order.contains(limit));
        standing.without_room.clear();
        standing.profiles.retain(|name, _| order.contains(name));
        order.clone_into(&mut standing.order);
    }
}

#[cfg(test)]
mod tests;
