//! Loading variants: marked while it lasts, within the memory limit, and again later where that may help.

use std::time::{Duration, Instant, SystemTime};

use dnnshifter_portfolio::{VariantName, description::MODEL_FILE};

use super::{
    Keeper, agenda, attempts, chain,
    memory::{self, Footprint, ProcessMemory},
};
use crate::{
    engine::{EngineError, Interface},
    switch::{Slot, Standing},
    variant::{self, Proof, Resident, VariantError},
};

impl Keeper {
    /// Loads one of the variants whose time has come again, if it is still placed here, and refused.
    pub(super) fn try_postponed(&mut self) {
        let now = Instant::now();
        let due = self.notes.postponed.iter().find(|(_, when)| **when <= now).map(|(name, _)| name.clone());
        let Some(name) = due else { return };
        self.notes.postponed.remove(&name);
        if matches!(self.switch.standing().slots.get(&name), Some(Slot::Refused(_))) {
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
                if let Some(proof) = resident.proof() {
                    self.notes.proven.insert(name.clone(), proof.clone());
                }
                // Before it is there, so that it is never there without.
                self.recall(name, footprint);
                self.switch.loaded(resident, footprint);
            }
            Err(error @ VariantError::Memory { .. }) => {
                tracing::warn!(variant = %name, error = chain(&error), "there is no room for a variant");
                self.switch.no_room(name, chain(&error));
            }
            Err(error) => {
                if let Some(rest) = rest_after(&error) {
                    self.notes.postponed.insert(name.clone(), started + rest);
                }
                self.refuse(name, chain(&error));
            }
        }
    }

    /// What is wanted gets the room of the least useful variants.
    fn load_with_room(&self, name: &VariantName) -> Result<(Resident, Footprint), VariantError> {
        loop {
            let outcome = self.attempt(name);
            if !matches!(outcome, Err(VariantError::Memory { .. })) {
                return outcome;
            }
            let Some(given_up) = agenda::least_useful(&self.switch.standing(), name) else { return outcome };
            tracing::info!(variant = %given_up, "gave up a variant, to make room");
            self.switch.no_room(
                &given_up,
                format!("there is no room for it beside {name}: it is loaded again once it is wanted"),
            );
            drop(self.switch.take_retired());
        }
    }

    /// Loads a variant while it is marked as one that may end the process.
    fn attempt(&self, name: &VariantName) -> Result<(Resident, Footprint), VariantError> {
        let attempt = self.attempts.begin(name, SystemTime::now())?;
        let outcome = self.try_load(name);
        attempt.survived();
        outcome
    }

    /// Tells the switch, and whoever reads logs, that a variant cannot be used.
    pub(super) fn refuse(&self, name: &VariantName, why: String) {
        tracing::warn!(variant = %name, error = why, "refused a variant");
        self.switch.refused(name, why);
    }

    fn try_load(&self, name: &VariantName) -> Result<(Resident, Footprint), VariantError> {
        let folder = variant::read(&self.models, name)?;
        let file_bytes = folder.file_bytes();
        let before = ProcessMemory::now();
        let needed_bytes = self.engine.peak_bytes(folder.network(), file_bytes);
        memory::admit(before, needed_bytes, self.host.limits.memory_bytes)?;
        let standing = self.switch.standing();
        let interface = Interface::of(&folder.description);
        if standing.residents().any(|(other, _)| other.interface != interface) {
            return Err(VariantError::Interface);
        }
        let resident = match self.proven(&standing, name) {
            Some((proof, as_before)) => Resident::load_again(self.engine.as_ref(), folder, proof, as_before)?,
            None => Resident::load(self.engine.as_ref(), folder)?,
        };
        let mapped_bytes = resident.mapped_bytes();
        Ok((resident, Footprint::measured(before, ProcessMemory::now(), file_bytes, mapped_bytes)))
    }

    /// That a variant was checked before, and how long an item took then: while it is waited for, this is not done again. One that
    /// nobody waits for is: it gets warm by that.
    fn proven(&self, standing: &Standing, name: &VariantName) -> Option<(&Proof, Duration)> {
        let proof = self.notes.proven.get(name).filter(|_| agenda::urgent(standing) == Some(name))?;
        let profile = standing.profiles.get(name)?;
        Some((proof, Duration::from_micros(profile.wall.mean_us)))
    }
}

/// After how long it may help to try again: what ended a process may have been chance, or the lack of memory.
fn rest_after(error: &VariantError) -> Option<Duration> {
    if let VariantError::Died { rest, .. } = error {
        return Some(*rest);
    }
    matches!(error, VariantError::Engine(EngineError::Died { .. })).then_some(attempts::FIRST_REST)
}
