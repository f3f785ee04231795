//! The offered load: an exponential average of the items that clients ask for, refused ones included.
//!
//! Served load would hide overload: it can never exceed what the node can do. The average decays by itself, so it must be
//! computed when it is asked for, not when something arrives.

use std::time::Duration;

use dnnshifter_portfolio::Moment;
use parking_lot::Mutex;

/// After so long a load that ended has decayed to 37 %, and one that began has reached 63 %. Short, for the operator reacts to
/// it; long enough that the chance of arrivals does not look like load: at 100 items a second the deviation is 5 %.
const TIME_CONSTANT: Duration = Duration::from_secs(2);

/// Counts what is offered.
#[derive(Default)]
pub(crate) struct LoadMeter(Mutex<Average>);

#[derive(Clone, Copy, Default)]
struct Average {
    /// Items per second at `at`.
    rate: f64,
    at: Moment,
}

impl LoadMeter {
    /// `items` were asked for at `now`.
    pub(crate) fn offered(&self, items: usize, now: Moment) {
        let mut average = self.0.lock();
        average.rate = average.decayed(now) + items as f64 / TIME_CONSTANT.as_secs_f64();
        average.at = now.max(average.at);
    }

    /// Items per second at `now`.
    pub(crate) fn items_per_second(&self, now: Moment) -> f64 {
        let rate = self.0.lock().decayed(now);
        // Far below anything that matters; otherwise an idle node would report 1e-300 for minutes.
        if rate < 1e-3 { 0.0 } else { rate }
    }
}

impl Average {
    fn decayed(self, now: Moment) -> f64 {
        self.rate * (-now.since(self.at).as_secs_f64() / TIME_CONSTANT.as_secs_f64()).exp()
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
}
