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

    /// When its headers had come.
    pub(super) fn asked(&self) -> Instant {
        self.asked
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
        tracing::debug!(target: "dnnshifter_runtime::request", outcome = outcome.as_str(), elapsed = ?self.asked.elapsed(), "a request ended");
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

#[cfg(test)]
mod tests {
    use dnnshifter_portfolio::Fraction;

    use super::*;
    use crate::{objective::Judgement, server::Chooser, testing};

    const PROMISED: Duration = Duration::from_millis(10);

    fn service() -> Arc<Service> {
        let service = testing::service(Chooser::Clients, vec![testing::resident("a", 1.0)]);
        service.lane.keep_within(Some(PROMISED));
        service
    }

    /// A request that was read so long ago.
    fn asking(service: &Arc<Service>, ago: Duration) -> Asking {
        let asked = Instant::now().checked_sub(ago).unwrap();
        let mut asking = Asking::of(service, asked);
        asking.was_read(asked);
        asking
    }

    fn count(service: &Service, outcome: &str) -> usize {
        let text = service.metrics.text();
        let series = format!("dnnshifter_requests_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }

    fn judgement(service: &Service) -> Judgement {
        service.objective.judge(Fraction::of(99, 100), service.clock.now())
    }

    #[test]
    fn a_request_that_is_given_up_late_misses_the_objective_and_an_early_one_says_nothing() {
        let service = service();
        for _ in 0..200 {
            drop(asking(&service, Duration::ZERO));
        }
        assert_eq!((count(&service, "cancelled"), judgement(&service)), (200, Judgement::TooFew));
        for _ in 0..200 {
            drop(asking(&service, PROMISED * 2));
        }
        assert_eq!((count(&service, "cancelled"), judgement(&service)), (400, Judgement::Missed));
    }

    #[test]
    fn a_request_is_counted_once() {
        let service = service();
        asking(&service, PROMISED * 2).conclude(Ok(&()));
        let mut refused = asking(&service, Duration::ZERO);
        refused.otherwise(Outcome::Invalid);
        drop(refused);
        let counts =
            ["answered", "invalid", "cancelled", "failed", "shed"].map(|outcome| count(&service, outcome));
        assert_eq!(counts, [1, 1, 0, 0, 0]);
    }

    #[test]
    fn a_request_that_ends_in_a_panic_is_the_servers_failure() {
        let service = service();
        let asking = asking(&service, Duration::ZERO);
        let ended = thread::spawn(move || {
            let _asking = asking;
            panic!("as a handler may");
        });
        assert!(ended.join().is_err());
        assert_eq!((count(&service, "failed"), count(&service, "cancelled")), (1, 0));
    }
}
