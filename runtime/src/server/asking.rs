//! What became of a request: counted here and nowhere else, once, however it ends.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{Service, error::ApiError};
use crate::metrics::Outcome;

/// A request that somebody waits for. Dropped before it is [concluded](Self::conclude), its connection or its call has ended: the server
/// drops what it does for one.
pub(super) struct Asking {
    service: Arc<Service>,
    asked: Instant,
    /// When all of it had come. What the server promises counts from then.
    read: Option<Instant>,
    /// As what it counts if nobody concludes it; `None` once somebody has.
    otherwise: Option<Outcome>,
}

impl Asking {
    /// Of `service`, since `asked`.
    pub(super) fn of(service: &Arc<Service>, asked: Instant) -> Self {
        let service = Arc::clone(service);
        Self { service, asked, read: None, otherwise: Some(Outcome::Cancelled) }
    }

    /// All of it had come at that time.
    pub(super) fn was_read(&mut self, at: Instant) {
        self.read = Some(at);
    }

    /// From now on it counts as this if nobody concludes it.
    pub(super) fn otherwise(&mut self, outcome: Outcome) {
        self.otherwise = Some(outcome);
    }

    /// Counts what became of the request.
    pub(super) fn conclude<T>(mut self, result: Result<&T, &ApiError>) {
        self.otherwise = None;
        let (outcome, items, is_overload) = match result {
            Ok(_) => (Outcome::Answered, 0, false),
            Err(error) => (error.outcome(), error.items, error.is_overload),
        };
        if is_overload {
            self.service.metrics.overloaded(items);
        }
        // Neither a bad request nor one that was refused for its own haste says whether the objective is met.
        self.count(outcome, items, outcome == Outcome::Failed || is_overload);
    }

    fn count(&self, outcome: Outcome, items: usize, missed: bool) {
        let Service { metrics, objective, clock, .. } = &*self.service;
        if missed {
            objective.record(false, clock.now());
        }
        metrics.ended(outcome, items);
        tracing::debug!(outcome = outcome.as_str(), elapsed = ?self.asked.elapsed(), "a request ended");
    }

    /// Whether an answer now would be later than the server promises.
    fn is_late(&self) -> bool {
        let waited = self.read.map_or(Duration::ZERO, |read| read.elapsed());
        self.service.lane.objective().is_some_and(|objective| waited > objective)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(otherwise) = self.otherwise.take() else { return };
        let outcome = if thread::panicking() { Outcome::Failed } else { otherwise };
        self.count(outcome, 0, outcome == Outcome::Failed || self.is_late());
    }
}
