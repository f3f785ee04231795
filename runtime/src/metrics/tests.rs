//! What a scrape finds.

use std::thread;

use super::*;
use crate::testing::{names, resident, service};

#[test]
fn swaps_are_counted_from_zero_for_each_reason() {
    let text = Metrics::new(&Identity::default()).unwrap().text();
    for reason in ["Requested", "Initial", "Loading", "VariantRefused", "Reflex", "SteppedUp", "Pinned"] {
        let series = format!("dnnshifter_swaps_total{{reason=\"{reason}\"}} 0");
        assert!(text.contains(&series), "{series} is not in {text}");
    }
    for was in ["resident", "loaded"] {
        let series = format!("dnnshifter_swap_duration_seconds_count{{variant_was=\"{was}\"}} 0");
        assert!(text.contains(&series), "{series} is not in {text}");
    }
}

#[test]
fn scrapes_at_the_same_time_find_all_variants() {
    let variants = names(&["a", "b", "c", "d", "e", "f"]);
    let loaded = variants.iter().map(|name| resident(name.as_str(), 1.0)).collect();
    let service = service(crate::server::Chooser::Clients, loaded);
    let standing = service.switch.standing();
    let scrape = || {
        let text = service.metrics.render(&service.load, 0, &standing, service.clock.now()).unwrap();
        let text = String::from_utf8(text).unwrap();
        for metric in ["dnnshifter_variant_active{", "dnnshifter_variant_resident_bytes{"] {
            assert_eq!(text.matches(metric).count(), variants.len(), "{metric}");
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| scrape()));
        }
    });
}
