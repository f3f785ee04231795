//! The page of a report that was made up.

use super::*;
use crate::bench::{
    Machine, Slope,
    figure::{
        peers::{PeerFigures, PeerReport},
        resident::ImageReport,
    },
    serving::Extent,
};

fn at(median: f64) -> Spread {
    Spread { median, least: median, most: median }
}

fn report() -> Report {
    let form = |added| FormReport { p50_ms: at(0.4), p99_ms: at(0.6), added_p50_ms: at(added) };
    Report {
        machine: Machine::made_up(),
        extent: Extent { swaps: 10_000, rounds: 5, seconds: 8.0 },
        variants: vec![("whole".to_owned(), 59_000_000)],
        resident: ResidentReport {
            anonymous_mb: at(20.0),
            mapped_mb: at(150.0),
            plain_anonymous_mb: at(400.0),
            plain_mapped_mb: at(20.0),
            anonymous_ratio: 20.0,
            all_ratio: 2.5,
            first_answer_ms: at(80.0),
            idle_mb: at(45.0),
            requests_before_idle: 100,
            image: Ok(ImageReport { unpacked_mb: 50.0, packed_mb: 20.0 }),
        },
        swaps: SwapReport {
            count: 10_000,
            p50_us: 2,
            p99_us: 9,
            longest_us: 120,
            pause_ms: 20,
            requests_per_second: 100.0,
            requests: 5_000,
            failed: 0,
            steady_p99_ms: at(4.0),
            swapping_p99_ms: at(4.2),
            p99_ratio: at(1.05),
            growth_bytes: Slope { value: 1_200.0, error: 900.0 },
            whole_growth_bytes: Slope { value: 2_200.0, error: 300.0 },
        },
        reload: ReloadReport {
            file_bytes: 59_000_000,
            count: 200,
            p50_us: 14_000,
            p99_us: 19_000,
            cold_count: 25,
            cold_p50_us: 90_000,
            cold_longest_us: 120_000,
        },
        latency: LatencyReport {
            bare_p50_ms: at(0.3),
            polling_p50_ms: at(0.2),
            echo_p50_ms: at(0.1),
            raw: form(0.1),
            grpc: form(0.2),
            json: form(0.3),
        },
        overload: OverloadReport {
            objective_ms: 20.0,
            capacity: at(400.0),
            offered: at(1200.0),
            late_ratio: at(0.004),
            goodput_ratio: at(0.95),
            p99_ms: at(18.0),
            failed: 0,
        },
        quota: Err("no cgroups".to_owned()),
        limit: Ok(LimitReport { ours_mb: 150.0, plain_mb: 300.0 }),
        peers: vec![
            PeerReport { name: "A".to_owned(), version: "1".to_owned(), figures: Ok(figures()) },
            PeerReport { name: "B".to_owned(), version: String::new(), figures: Err("no".to_owned()) },
        ],
    }
}

fn figures() -> PeerFigures {
    PeerFigures {
        first_answer_ms: at(80.0),
        memory_mb: at(170.0),
        raw_p50_ms: Some(at(0.4)),
        grpc_p50_ms: None,
        json_p50_ms: Some(at(0.7)),
        capacity: at(400.0),
        goodput_ratio: at(0.95),
        overload_p99_ms: at(18.0),
        load_ms: None,
    }
}

#[test]
fn the_page_says_what_the_report_says_and_what_was_missed() {
    let text = page(&report());
    for line in [
        "| figure | to reach | measured | |",
        "| Swap between resident variants, 10000 of them 20 ms apart under 100 requests/s, p99 | < 1 ms | 9 us (p50 2 us, longest 120 us) | reached |",
        "| Swap to a variant on disk, 59 MB, 200 of them, p99 | < 20 ms | 19.0 ms (p50 14.0 ms) | reached |",
        "| Growth of private memory with swaps, beyond that without them | 0 within noise | 1.2 ± 0.9 kB for 1,000 (all growth meanwhile: 2.2 ± 0.3 kB) | reached |",
        "| Bare ONNX Runtime, p50 |  | 0.30 [0.30..0.30] ms asleep until called, 0.20 [0.20..0.20] ms polling |  |",
        "| An echo of the same request, p50 |  | 0.10 [0.10..0.10] ms |  |",
        "| The smallest memory limit with the same p99, over that of the sessions |  | 0.50: 150 MB over 300 MB |  |",
        "| Half a CPU by quota, steady load: p99 over p99 without the quota |  | not measured: no cgroups |  |",
        "|  | A 1 | B  |",
        "| Capacity, requests/s | 400 [400..400] | - |",
        "B was not measured: no.",
        "| Idle, the smallest variant loaded, after 100 requests: resident memory | <= 40 MB | 45.0 [45.0..45.0] MB | **missed** |",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn of_a_server_that_could_not_be_loaded_no_capacity_is_shown() {
    let mut report = report();
    report.peers[0].figures = Ok(PeerFigures { capacity: at(0.0), ..figures() });
    let text = page(&report);
    for line in ["| Capacity, requests/s | - | - |", "| p99 of the answers then, ms | - | - |"] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("A answered nothing when two clients asked at once"), "{text}");
}

#[test]
fn a_report_survives_its_file() {
    let text = serde_json::to_string(&report()).unwrap();
    let read: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(page(&read), page(&report()));
}
