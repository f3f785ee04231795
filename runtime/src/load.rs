//! The offered load: exponential averages of the items that clients ask for, refused ones included.
//!
//! Served load would hide overload: it can never exceed what the node can do. An average decays by itself, so it must be
//! computed when it is asked for, not when something arrives.

use std::time::Duration;

use dnnshifter_portfolio::Moment;
use parking_lot::Mutex;

/// After so long a load that ended has decayed to 37 %, and one that began has reached 63 %. Short, for the operator reacts to
/// it; long enough that the chance of arrivals does not look like load: at 100 items a second the deviation is 5 %.
const STEADY: Duration = Duration::from_secs(2);

/// The same of the average that sees a new load sooner, for the node itself. At 100 items a second its deviation is 10 %.
const QUICK: Duration = Duration::from_millis(500);

/// So many deviations of the quick average may be chance: more come by chance in one look of a thousand.
const CHANCE: f64 = 3.0;

/// Counts what is offered.
#[derive(Default)]
pub(crate) struct LoadMeter(Mutex<Averages>);

/// What was counted up to `at`.
#[derive(Clone, Copy, Default)]
struct Averages {
    /// Items per second.
    steady: f64,
    /// Items per second.
    quick: f64,
    /// The variance of `quick`: that of shot noise (Campbell's theorem), estimated from the shots themselves, since a batch is
    /// one shot.
    variance: f64,
    at: Moment,
}

impl LoadMeter {
    /// `items` were asked for at `now`.
    pub(crate) fn offered(&self, items: usize, now: Moment) {
        let mut averages = self.0.lock();
        *averages = averages.decayed(now);
        let shot = items as f64 / QUICK.as_secs_f64();
        averages.steady += items as f64 / STEADY.as_secs_f64();
        averages.quick += shot;
        averages.variance += shot * shot;
    }

    /// Items per second at `now`.
    pub(crate) fn items_per_second(&self, now: Moment) -> f64 {
        self.0.lock().decayed(now).items_per_second()
    }

    /// The same, but a load that has just risen is seen sooner: as far as it can hardly be chance or, where the node is known to be
    /// `overloaded`, as the quick average has it.
    pub(crate) fn items_per_second_at_once(&self, now: Moment, overloaded: bool) -> f64 {
        let averages = self.0.lock().decayed(now);
        let chance = if overloaded { 0.0 } else { CHANCE * averages.variance.sqrt() };
        averages.items_per_second().max(averages.quick - chance)
    }
}

impl Averages {
    fn items_per_second(self) -> f64 {
        // Far below anything that matters; otherwise an idle node would report 1e-300 for minutes.
        if self.steady < 1e-3 { 0.0 } else { self.steady }
    }

    fn decayed(self, now: Moment) -> Self {
        let elapsed = now.since(self.at).as_secs_f64();
        let (steady, quick) =
            ((-elapsed / STEADY.as_secs_f64()).exp(), (-elapsed / QUICK.as_secs_f64()).exp());
        Self {
            steady: self.steady * steady,
            quick: self.quick * quick,
            variance: self.variance * quick * quick,
            at: now.max(self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Moment {
        Moment::after_start(Duration::from_secs_f64(seconds))
    }

    /// `rate` items a second, evenly, from `start` for `seconds`.
    fn drive(meter: &LoadMeter, rate: u32, start: f64, seconds: u32) {
        for item in 0..rate * seconds {
            meter.offered(1, at(start + f64::from(item) / f64::from(rate)));
        }
    }

    #[test]
    fn without_requests_the_load_is_zero_and_not_unknown() {
        assert_eq!(LoadMeter::default().items_per_second(at(100.0)).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn a_steady_load_is_reported_as_it_is() {
        let meter = LoadMeter::default();
        drive(&meter, 100, 0.0, 20);
        let load = meter.items_per_second(at(20.0));
        assert!((load - 100.0).abs() < 0.5, "{load}");
    }

    #[test]
    fn a_new_load_is_seen_to_two_thirds_after_the_time_constant() {
        let meter = LoadMeter::default();
        drive(&meter, 100, 0.0, 2);
        let load = meter.items_per_second(at(2.0));
        assert!((load - 63.2).abs() < 1.0, "{load}");
    }

    #[test]
    fn a_load_that_ended_decays_without_further_requests() {
        let meter = LoadMeter::default();
        drive(&meter, 100, 0.0, 20);
        let load = meter.items_per_second(at(24.0));
        assert!((load - 13.5).abs() < 0.5, "{load}");
        assert_eq!(meter.items_per_second(at(120.0)).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn batches_count_with_all_their_items() {
        let (single, batched) = (LoadMeter::default(), LoadMeter::default());
        drive(&single, 80, 0.0, 20);
        for batch in 0..200 {
            batched.offered(8, at(f64::from(batch) / 10.0));
        }
        let (single, batched) = (single.items_per_second(at(20.0)), batched.items_per_second(at(20.0)));
        assert!((single - batched).abs() < 4.0, "{single} {batched}");
    }

    #[test]
    fn requests_that_are_recorded_out_of_order_do_no_harm() {
        let meter = LoadMeter::default();
        meter.offered(1, at(1.0));
        meter.offered(1, at(0.9));
        assert!((meter.items_per_second(at(1.0)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_load_that_has_just_risen_is_seen_at_once_and_chance_is_not() {
        let meter = LoadMeter::default();
        drive(&meter, 100, 0.0, 20);
        assert!((meter.items_per_second_at_once(at(20.0), false) - 100.0).abs() < 1.0);
        for item in 0..150 {
            meter.offered(1, at(20.0 + f64::from(item) / 300.0));
        }
        let now = at(20.5);
        let (steady, sure) = (meter.items_per_second(now), meter.items_per_second_at_once(now, false));
        let as_it_is = meter.items_per_second_at_once(now, true);
        assert!(steady < 150.0 && sure > 160.0, "{steady} {sure}");
        assert!((220.0..235.0).contains(&as_it_is), "{as_it_is}");
    }

    #[test]
    fn one_large_batch_is_no_new_load_and_as_many_requests_are() {
        let raised = |batches: u32, items: usize| {
            let meter = LoadMeter::default();
            drive(&meter, 100, 0.0, 20);
            for batch in 0..batches {
                meter.offered(items, at(20.0 + f64::from(batch) / f64::from(batches) / 4.0));
            }
            let now = at(20.25);
            meter.items_per_second_at_once(now, false) / meter.items_per_second(now)
        };
        assert!(raised(1, 100) <= 1.0);
        assert!(raised(100, 1) > 1.2);
    }
}
