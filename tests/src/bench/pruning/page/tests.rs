//! The page says what the report says.

use super::*;
use crate::bench::pruning::{Conventional, Extent, Made, Peer};

fn judgement(accuracy: f64, latency_ms: f64) -> Judgement {
    let (agreement, worst_class_drop, calibration_error) = (0.9, 0.1, 0.02);
    Judgement { accuracy, agreement, worst_class_drop, calibration_error, latency_ms, bytes: 2_000_000 }
}

#[test]
fn the_page_says_what_the_report_says() {
    let made = Made {
        path: std::path::PathBuf::new(),
        macs: 5_500_000,
        judging_seconds: 1.0,
        removal_seconds: 1.0,
        fine_tuning_seconds: 9.0,
    };
    let peer = Peer { ours: judgement(0.898, 0.5), judgement: judgement(0.89, 0.6), made };
    let smaller = Smaller {
        judgement: judgement(0.898, 0.5),
        chosen: true,
        latency_ratio: 1.5,
        predicted_latency_ratio: 1.6,
        macs: 5_000_000,
        removal_seconds: 0.5,
        structural_seconds: 2.0,
        fine_tuning_seconds: 8.0,
        conventional: Conventional { seconds: 30.0, accuracy: 0.88 },
        torch_pruning: Some(peer),
    };
    let portfolio = Portfolio {
        seed: 1,
        dense: judgement(0.9, 1.5),
        dense_chosen: false,
        dense_seconds: 40.0,
        seconds: 50.0,
        range: 3.0,
        smaller: vec![smaller],
    };
    let level = Level {
        density: "0.1".to_owned(),
        compaction_seconds: 0.002,
        training_seconds: 30.0,
        masked: judgement(0.9, 1.5),
        compacted: Judgement { bytes: 1_000_000, ..judgement(0.9, 1.0) },
        aligned: Judgement { bytes: 1_250_000, ..judgement(0.9, 0.75) },
    };
    let extent = Extent { seeds: 1, training_images: 10_000, epochs: 3, fine_tuning_epochs: 1 };
    let text = page(&Report { extent, portfolios: vec![portfolio], levels: vec![level], int8: None });
    for line in [
        "| smaller 1 | 0.500 [0.500..0.500] | 1.50 [1.50..1.50] | 8.00 [8.00..8.00] | 89.80 % [89.80..89.80] | 30.00 [30.00..30.00] | 88.00 % [88.00..88.00] | 60.00 [60.00..60.00] | 15.00 [15.00..15.00] | 3.00 [3.00..3.00] |",
        "| smaller 1 | 1 of 1 | 89.80 % [89.80..89.80] | 90.00 % [90.00..90.00] | 10.00 % [10.00..10.00] | 2.00 % [2.00..2.00] | 0.500 [0.500..0.500] | 2.00 [2.00..2.00] | 1.50 [1.50..1.50] | 1.60 [1.60..1.60] |",
        "The fastest network whose mean accuracy is within half a point of the dense one's is smaller 1: 3.00 [3.00..3.00] times as fast.",
        "The latencies that the table of layers foretold for these networks are 6.2 % off in the mean, 6.2 % at most.",
        "| smaller 1 | 5.00, 5.50 | 89.80 %, 89.00 % | 0.80 % [0.80..0.80] | 0.500, 0.600 | 500.00, 1000.00 | 2.00 [2.00..2.00] |",
        "| 0.1 | 90.00 % | 30.0 | 2.00 | 15000 | 1.000, 1.250 | 2.00, 1.60 | 1.500, 1.000, 0.750 | 1.50, 2.00 |",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
