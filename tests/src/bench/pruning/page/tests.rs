//! The page says what the report says.

use super::*;
use crate::bench::{
    Machine,
    pruning::{Extent, Judgement, Made},
};

fn judgement(accuracy: f64, latency_ms: f64) -> Judgement {
    let (agreement, worst_class_drop, calibration_error) = (0.9, 0.1, 0.02);
    Judgement { accuracy, agreement, worst_class_drop, calibration_error, latency_ms, bytes: 2_000_000 }
}

fn peer(ours: Judgement, judgement: Judgement, macs: u64, removal_seconds: f64) -> Peer {
    let path = std::path::PathBuf::new();
    let made = Made { path, macs, judging_seconds: 1.0, removal_seconds, fine_tuning_seconds: 9.0 };
    Peer { ours, judgement, made }
}

fn first() -> Portfolio {
    let smaller = Smaller {
        judgement: judgement(0.898, 0.5),
        validation_accuracy: 0.903,
        chosen: true,
        latency_ratio: 1.5,
        predicted_latency_ratio: 1.6,
        macs: 5_000_000,
        removal_seconds: 0.5,
        structural_seconds: 2.0,
        fine_tuning_seconds: 8.0,
        conventional: Some(Conventional { seconds: 30.0, accuracy: 0.88 }),
        torch_pruning: Some(peer(judgement(0.897, 0.52), judgement(0.889, 0.6), 5_500_000, 1.0)),
    };
    Portfolio {
        seed: 1,
        dense: judgement(0.9, 1.5),
        dense_validation_accuracy: 0.905,
        dense_chosen: false,
        dense_seconds: 40.0,
        seconds: 50.0,
        range: 3.0,
        smaller: vec![smaller],
        int8: None,
    }
}

/// As the first, but for what the page tells apart: of two numbers the median is the larger, the mean is not.
fn second() -> Portfolio {
    let smaller = Smaller {
        judgement: judgement(0.9, 0.8),
        validation_accuracy: 0.901,
        chosen: false,
        latency_ratio: 1.7,
        predicted_latency_ratio: 1.7,
        macs: 7_000_000,
        removal_seconds: 0.25,
        structural_seconds: 4.0,
        fine_tuning_seconds: 6.0,
        conventional: Some(Conventional { seconds: 20.0, accuracy: 0.89 }),
        torch_pruning: Some(peer(judgement(0.903, 0.82), judgement(0.899, 0.9), 7_500_000, 2.0)),
    };
    Portfolio { seed: 2, dense: judgement(0.906, 2.0), smaller: vec![smaller], ..first() }
}

fn written(portfolios: Vec<Portfolio>) -> String {
    written_with(portfolios, vec![])
}

fn written_with(portfolios: Vec<Portfolio>, wider: Vec<Portfolio>) -> String {
    let level = Level {
        density: "0.1".to_owned(),
        compaction_seconds: 0.002,
        training_seconds: 30.0,
        masked: judgement(0.9, 1.5),
        compacted: Judgement { bytes: 1_000_000, ..judgement(0.9, 1.0) },
        aligned: Judgement { bytes: 1_250_000, ..judgement(0.9, 0.75) },
    };
    let extent =
        Extent { seeds: 2, wider_seeds: 1, training_images: 10_000, epochs: 3, fine_tuning_epochs: 1 };
    let longer = Level { training_seconds: 40.0, aligned: judgement(0.8, 0.5), ..level.clone() };
    page(&Report {
        machine: Machine::made_up(),
        extent,
        portfolios,
        wider,
        levels: vec![vec![level], vec![longer]],
    })
}

#[test]
fn the_page_says_what_the_report_says() {
    let text = written(vec![first(), second()]);
    for line in [
        "| smaller 1 | 0.500 [0.250..0.500] | 3.75 [1.50..3.75] | 8.00 [6.00..8.00] | 89.90 % [89.80..90.00] \
         | 30.00 [20.00..30.00] | 88.50 % [88.00..89.00] | 80.00 [60.00..80.00] | 15.00 [5.00..15.00] | 3.00 [2.00..3.00] |",
        "| smaller 1 | 1 of 2 | 89.90 % [89.80..90.00] | 90.00 % [90.00..90.00] | 10.00 % [10.00..10.00] \
         | 2.00 % [2.00..2.00] | 0.800 [0.500..0.800] | 2.00 [2.00..2.00] | 1.70 [1.50..1.70] | 1.70 [1.60..1.70] |",
        "The fastest network of every seed whose mean accuracy on the validation images is within half a point of the dense one's is \
         smaller 1: 3.00 [2.50..3.00] times as fast, and 0.40 [0.20..0.60] points less accurate on the test images.",
        "The latencies that the table of layers foretold for these networks are 3.1 % off in the mean, 6.2 % at most.",
        "| smaller 1 | 7.00, 7.50 | 90.00 %, 89.40 % | 0.60 [0.40..0.80] | 0.820, 0.900 | 500.00, 2000.00 \
         | 8.00 [2.00..8.00] |",
        "| 0.1 | 90.00 % [90.00..90.00] | 40.00 [30.00..40.00] | 2.00 [2.00..2.00] | 20000 [15000..20000] | 1.00 [1.00..1.00] \
         | 2.00 [1.25..2.00] | 2.00 [2.00..2.00] | 1.60 [1.00..1.60] | 1.50 [1.50..1.50] | 1.50 [1.50..1.50] | 3.00 [2.00..3.00] |",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_network_that_not_every_seed_has_is_shown_and_stands_for_no_dense_one() {
    let mut longer = second();
    longer.smaller.push(Smaller { judgement: judgement(0.905, 0.25), ..longer.smaller[0].clone() });
    let text = written(vec![first(), longer]);
    assert!(text.contains("| smaller 1 | 1 of 2 |") && text.contains("| smaller 2 | 0 of 1 |"), "{text}");
    assert!(text.contains("is smaller 1: 3.00 [2.50..3.00] times as fast"), "{text}");
}

#[test]
fn int8_is_set_beside_the_network_that_it_is_made_from() {
    let quantised = Quantised {
        dense: judgement(0.9, 1.5),
        judgement: Judgement { bytes: 500_000, ..judgement(0.895, 0.5) },
    };
    let text = written(vec![Portfolio { int8: Some(quantised), ..first() }]);
    let line = "accuracy 89.50 % [89.50..89.50] (-0.50 [-0.50..-0.50] points more than before), 0.500 [0.500..0.500] MB \
                (4.00 [4.00..4.00] times smaller), 0.500 [0.500..0.500] ms (3.00 [3.00..3.00] times as fast)";
    assert!(text.contains(line), "{line} is not in\n{text}");
}

#[test]
fn networks_that_int8_beats_in_all_are_named() {
    let beats = |accuracy, latency_ms, bytes, others: &[Portfolio]| {
        let judgement_of_int8 = Judgement { bytes, ..judgement(accuracy, latency_ms) };
        let int8 = Some(Quantised { dense: first().dense, judgement: judgement_of_int8 });
        let portfolios = [&[Portfolio { int8, ..first() }], others].concat();
        written(portfolios).contains("more accurate and smaller than smaller 1, and gain more")
    };
    let Judgement { accuracy, latency_ms, bytes, .. } = first().smaller[0].judgement;
    assert!(beats(accuracy + 0.01, latency_ms * 0.9, bytes - 1, &[]));
    assert!(!beats(accuracy - 0.01, latency_ms * 0.9, bytes - 1, &[]));
    assert!(!beats(accuracy + 0.01, latency_ms, bytes - 1, &[]));
    assert!(!beats(accuracy + 0.01, latency_ms * 0.9, bytes, &[]));
    assert!(
        !beats(accuracy + 0.01, latency_ms * 0.9, bytes - 1, &[second()]),
        "nothing is known of the other"
    );
}

#[test]
fn a_wider_network_has_a_portfolio_of_its_own_and_nothing_beside_it() {
    let mut wider = Portfolio { range: 7.0, ..first() };
    for smaller in &mut wider.smaller {
        smaller.judgement = judgement(0.91, 0.25);
        (smaller.conventional, smaller.torch_pruning) = (None, None);
    }
    let text = written_with(vec![first()], vec![wider]);
    let (_, wider) = text.split_once("## A portfolio of a wider network").unwrap();
    let (wider, _) = wider.split_once("\n## ").unwrap();
    let row = "| smaller 1 | 1 of 1 | 91.00 % [91.00..91.00] |";
    let range = "The slowest variant takes 7.00 [7.00..7.00] times as long as the fastest.";
    assert!(wider.contains(row) && wider.contains(range), "{wider}");
    assert_eq!(text.matches(row).count(), 1, "{text}");
}

#[test]
fn without_a_peer_nothing_is_said_of_one() {
    let mut portfolio = first();
    assert!(written(vec![portfolio.clone()]).contains("Torch-Pruning"));
    portfolio.smaller.iter_mut().for_each(|smaller| smaller.torch_pruning = None);
    assert!(!written(vec![portfolio]).contains("Torch-Pruning"));
}
