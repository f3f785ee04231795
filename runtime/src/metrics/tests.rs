//! What a scrape finds.

use std::{collections::BTreeSet, thread};

use super::*;
use crate::{
    server::Service,
    testing::{half_a_cpu, names, resident, service},
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
fn the_page_about_serving_names_every_metric_and_no_other() {
    let service = service(crate::server::Chooser::Clients, vec![resident("a", 1.0)]);
    let Service { metrics, load, switch, clock, .. } = &*service;
    metrics.runs_on("1.0.0");
    let root = half_a_cpu();
    metrics.runs_under(Cgroup::of_this_process(root.path()));
    metrics.answered("a", Times { whole: Duration::ZERO, waited: Duration::ZERO, inference: Duration::ZERO });
    let measured = crate::testing::profile("a");
    let standing = Standing { profiles: [(measured.name.clone(), measured)].into(), ..switch.standing() };
    let text = String::from_utf8(metrics.render(load, 0, &standing, clock.now()).unwrap()).unwrap();
    let exported: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let page = include_str!("../../../docs/serving.md");
    let described: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['{', '`']).next())
        .filter(|name| name.starts_with("dnnshifter_") || name.starts_with("process_"))
        .collect();
    assert_eq!(described, exported);
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
