//! What a scrape finds.

use std::thread;

use super::*;
use crate::{
    server::Service,
    testing::{names, resident, service},
};

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
fn the_page_about_serving_names_every_metric() {
    let page = include_str!("../../../docs/serving.md");
    let service = service(crate::server::Chooser::Clients, vec![resident("a", 1.0)]);
    let Service { metrics, load, switch, clock, .. } = &*service;
    metrics.runs_on("1.0.0");
    metrics.answered("a", Times { whole: Duration::ZERO, waited: Duration::ZERO, inference: Duration::ZERO });
    let text = metrics.render(load, 0, &switch.standing(), clock.now()).unwrap();
    let described = |line: &str| line.strip_prefix("# HELP ")?.split(' ').next().map(ToOwned::to_owned);
    let names: Vec<String> = String::from_utf8(text).unwrap().lines().filter_map(described).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let rows = [format!("| `{name}` |"), format!("| `{name}{{")];
        assert!(rows.iter().any(|row| page.contains(row)), "{name} is not in docs/serving.md");
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
