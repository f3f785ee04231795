//! Loading variants: marked while it lasts, within the memory limit, and again later where that may help.

use std::time::{Duration, Instant, SystemTime};

use dnnshifter_portfolio::{VariantName, description::MODEL_FILE};

use super::{
    Keeper, agenda, attempts,
    memory::{self, Budget, Footprint, ProcessMemory},
};
use crate::{
    chain::chain,
    engine::{EngineError, Interface},
    switch::Slot,
    variant::{self, Resident, VariantError},
};

/// What is wanted, and had no room, is tried again so often: what was in its way may have been there for a moment only.
const ROOM_EVERY: Duration = Duration::from_secs(30);

impl Keeper {
    /// Loads one of the variants whose time has come again, if it is still placed here, and refused; and wanted, if there was no room.
    pub(super) fn try_postponed(&mut self) {
        let now = Instant::now();
        let due = self.notes.postponed.iter().find(|(_, when)| **when <= now).map(|(name, _)| name.clone());
        let Some(name) = due else { return };
        self.notes.postponed.remove(&name);
        let standing = self.switch.standing();
        let is_wanted = standing.wanted.as_ref().is_some_and(|wanted| wanted.variant == name);
        let may_fit = is_wanted || !standing.without_room.contains(&name);
        if may_fit && matches!(standing.slots.get(&name), Some(Slot::Refused(_))) {
            self.load(&name);
        }
    }

    /// Loads a variant, and tells the switch what became of it.
    pub(super) fn load(&mut self, name: &VariantName) {
        let started = Instant::now();
        match self.load_with_room(name) {
            Ok((resident, footprint)) => {
                let elapsed = started.elapsed();
                self.metrics.variant_load_seconds.observe(elapsed.as_secs_f64());
                tracing::info!(variant = %name, milliseconds = elapsed.as_millis() as u64, anonymous_bytes = footprint.anonymous_bytes, mapped_bytes = footprint.mapped_bytes, "loaded");
                let digest = self.engine.digest(&self.models.join(name.as_str()).join(MODEL_FILE));
                self.notes.note_digest(name, digest);
                // It has computed once, with all that had to be read for that.
                self.notes.warm.entry(name.clone()).or_insert(resident.service_time());
                // Before it is there, so that it is never there without.
                self.recall(name, footprint);
                self.switch.loaded(resident, footprint);
            }
            Err(error @ VariantError::Memory { .. }) => {
                self.notes.postponed.insert(name.clone(), started + ROOM_EVERY);
                // Tried again, it is told once.
                if !self.switch.standing().without_room.contains(name) {
                    tracing::warn!(variant = %name, error = chain(&error), "there is no room for a variant");
                    self.switch.no_room(name, chain(&error));
                }
            }
            Err(error) => {
                if let Some(rest) = rest_after(&error) {
                    self.notes.postponed.insert(name.clone(), started + rest);
                }
                self.refuse(name, chain(&error));
            }
        }
    }

    /// What is wanted gets the room of the least useful variants, if that is enough: else nothing is given up for it. Nor more than
    /// once: what was given up may still be held by requests, and is free when it is tried again.
    fn load_with_room(&mut self, name: &VariantName) -> Result<(Resident, Footprint), VariantError> {
        let outcome = self.attempt(name);
        let Err(VariantError::Memory { needed_bytes, free_bytes }) = outcome else { return outcome };
        let missing_bytes = needed_bytes.saturating_sub(free_bytes);
        let given_up = agenda::to_give_up(&self.switch.standing(), name, missing_bytes);
        if given_up.is_empty() {
            return outcome;
        }
        for other in given_up {
            tracing::info!(variant = %other, "gave up a variant, to make room");
            self.switch.no_room(
                &other,
                format!("there is no room for it beside {name}: it is loaded again once it is wanted"),
            );
        }
        drop(self.switch.take_retired());
        self.attempt(name)
    }

    /// Loads a variant while it is marked as one that may end the process.
    fn attempt(&mut self, name: &VariantName) -> Result<(Resident, Footprint), VariantError> {
        let attempt = self.attempts.begin(name, SystemTime::now())?;
        let outcome = match self.try_load(name) {
            Err(error) if self.is_misled(name, &error) => {
                tracing::warn!(variant = %name, error = chain(&error), "what was optimised before is not this variant, and is made anew");
                self.try_load(name)
            }
            outcome => outcome,
        };
        attempt.survived();
        outcome
    }

    /// Whether a variant may only be at fault by what an earlier process has kept of it, which is thrown away then.
    fn is_misled(&self, name: &VariantName, error: &VariantError) -> bool {
        let computes_wrongly = match error {
            VariantError::Check { .. } | VariantError::CheckTexts => true,
            VariantError::Engine(error) => !matches!(error, EngineError::Died { .. }),
            _ => false,
        };
        computes_wrongly
            && variant::read(&self.models, name).is_ok_and(|folder| self.engine.distrust(folder.network()))
    }

    /// Tells the switch, and whoever reads logs, that a variant cannot be used.
    pub(super) fn refuse(&self, name: &VariantName, why: String) {
        tracing::warn!(variant = %name, error = why, "refused a variant");
        self.switch.refused(name, why);
    }

    /// The same, of one that has computed before: it is tried again, as what ended a process is.
    pub(super) fn refuse_for_now(&mut self, name: &VariantName, why: String) {
        self.notes.postponed.insert(name.clone(), Instant::now() + attempts::FIRST_REST);
        self.refuse(name, why);
    }

    fn try_load(&mut self, name: &VariantName) -> Result<(Resident, Footprint), VariantError> {
        let folder = variant::read(&self.models, name)?;
        let file_bytes = folder.file_bytes();
        let known = self.notes.known.get(name).filter(|known| known.file_bytes == file_bytes).copied();
        let standing = self.switch.standing();
        let budget = Budget::beside_requests(self.host.limits.memory_bytes);
        let before = ProcessMemory::now();
        let loaded = standing.residents().map(|(_, footprint)| footprint);
        let in_use = memory::in_use(before, self.host.base_memory_bytes, loaded);
        let peak_bytes = self.engine.peak_bytes(folder.network(), file_bytes);
        budget.admit(in_use, known.map_or(peak_bytes, |known| known.needed_bytes(peak_bytes)))?;
        let interface = Interface::of(&folder.description);
        if standing.residents().any(|(other, _)| other.interface != interface) {
            return Err(VariantError::Interface);
        }
        let resident = Resident::load(self.engine.as_ref(), folder)?;
        if let Some(Known { footprint, largest_part, .. }) = known {
            return Ok((resident.computing_parts_of(largest_part), footprint));
        }
        let mapped_bytes = resident.mapped_bytes();
        let measured = || Footprint::measured(before, ProcessMemory::now(), file_bytes, mapped_bytes);
        // What batches take grows with them: twice as much, at the most.
        let has_room = || budget.admit(in_use, measured().with_twice_the_batch()).is_ok();
        let (resident, footprint) = resident.stretch(has_room, measured);
        // What does not fit may have been measured beside requests that took memory meanwhile: it is not kept.
        budget.admit(in_use, footprint.bytes())?;
        let known = Known { file_bytes, footprint, largest_part: resident.largest_part() };
        self.notes.known.insert(name.clone(), known);
        Ok((resident, footprint))
    }
}

/// What was measured of a variant when it was loaded for the first time: it holds for the next times, which then are faster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Of a network of so many bytes.
    file_bytes: u64,
    footprint: Footprint,
    largest_part: usize,
}

impl Known {
    /// What is to be free, where opening may take `peak_bytes`: an estimate, and far too much where most is mapped.
    fn needed_bytes(self, peak_bytes: u64) -> u64 {
        let measured = self.footprint.bytes();
        if self.footprint.mapped_bytes > 0 { measured } else { measured.max(peak_bytes) }
    }
}

/// After how long it may help to try again: what ended a process may have been chance, or the lack of memory.
fn rest_after(error: &VariantError) -> Option<Duration> {
    if let VariantError::Died { rest, .. } = error {
        return Some(*rest);
    }
    matches!(error, VariantError::Engine(EngineError::Died { .. })).then_some(attempts::FIRST_REST)
}

#[cfg(test)]
mod tests;
