//! The page that people read, made from the report and nothing else.

use std::fmt::Write;

use super::{
    Spread,
    serving::{MemoryReport, OverloadReport, Report, SwapReport},
};

/// What was measured, as Markdown.
pub fn page(report: &Report) -> String {
    let Report { extent, variants, memory, swaps, start_ms, overload } = report;
    let sizes = variants.iter().map(|(name, bytes)| format!("{name} {:.1}", *bytes as f64 / 1e6));
    let mut text = String::from(
        "# Serving: what was measured\n\nWritten by `make bench-serving`; the figures are in [serving.json](serving.json).\n",
    );
    let _ = write!(
        text,
        "Six variants of VGG-16 for 3x32x32 images with random weights (MB of the file: {}), {} rounds, everything that is compared in turns.\n\
         Server and clients share one machine.\nA figure is the median, with the smallest and the largest in brackets.\n\n",
        sizes.collect::<Vec<_>>().join(", "),
        extent.rounds,
    );
    for (what, figure) in memory_lines(memory).into_iter().chain(swap_lines(swaps)) {
        let _ = writeln!(text, "| {what} | {figure} |");
    }
    text = text.replacen("| Private", "| figure | measured |\n| --- | --- |\n| Private", 1);
    let _ = writeln!(text, "| Start of the process to ready, store filled | {} ms |", spread(start_ms));
    for (what, figure) in overload_lines(overload) {
        let _ = writeln!(text, "| {what} | {figure} |");
    }
    text.push_str(
        "\nPlain sessions are ONNX Runtime with its defaults and one thread, all in one process, each on the shipped file.\n\
         A swap is timed by the runtime, from the decision received to the pointer stored.\n\
         Latencies count from the time at which a request was meant to leave.\n",
    );
    text
}

fn memory_lines(memory: &MemoryReport) -> [(String, String); 4] {
    let MemoryReport {
        anonymous_mb,
        mapped_mb,
        plain_anonymous_mb,
        plain_mapped_mb,
        anonymous_ratio,
        all_ratio,
    } = memory;
    [
        ("Private memory, six variants resident".to_owned(), format!("{} MB", spread(anonymous_mb))),
        (
            "The same, six plain sessions".to_owned(),
            format!("{} MB: {anonymous_ratio:.1} times", spread(plain_anonymous_mb)),
        ),
        ("Pages of files, six variants resident".to_owned(), format!("{} MB", spread(mapped_mb))),
        (
            "The same, six plain sessions".to_owned(),
            format!("{} MB; private and files together {all_ratio:.1} times", spread(plain_mapped_mb)),
        ),
    ]
}

fn swap_lines(swaps: &SwapReport) -> [(String, String); 5] {
    let SwapReport { count, p50_us, p99_us, longest_us, requests_per_second, requests, failed, .. } = swaps;
    [
        (
            format!("Swap between resident variants, {count} under {requests_per_second} requests/s"),
            format!("p50 {p50_us} us, p99 {p99_us} us, longest {longest_us} us"),
        ),
        ("Failed of the requests meanwhile".to_owned(), format!("{failed} of {requests}")),
        ("p99 of requests without swaps".to_owned(), format!("{} ms", spread(&swaps.steady_p99_ms))),
        (
            "p99 of requests while swapping".to_owned(),
            format!("{} ms: {} times", spread(&swaps.swapping_p99_ms), spread(&swaps.p99_ratio)),
        ),
        (
            "Growth of private memory".to_owned(),
            format!("{:.0} kB for 1,000 swaps", swaps.growth_bytes / 1e3),
        ),
    ]
}

fn overload_lines(overload: &OverloadReport) -> [(String, String); 3] {
    let OverloadReport { objective_ms, capacity, offered, goodput_ratio, p99_ms, failed } = overload;
    [
        ("Capacity, two clients in turn".to_owned(), format!("{} requests/s", spread(capacity))),
        (
            format!("Answers within {objective_ms} ms over the capacity, at {} requests/s", spread(offered)),
            format!("{}; {failed} failed", spread(goodput_ratio)),
        ),
        ("p99 of what is answered then".to_owned(), format!("{} ms", spread(p99_ms))),
    ]
}

/// Three significant digits are what these figures are good for.
fn spread(Spread { median, least, most }: &Spread) -> String {
    let short = |value: &f64| {
        let decimals = match value.abs() {
            value if value >= 100.0 => 0,
            value if value >= 10.0 => 1,
            _ => 2,
        };
        format!("{value:.decimals$}")
    };
    format!("{} [{}..{}]", short(median), short(least), short(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::serving::Extent;

    #[test]
    fn the_page_says_what_the_report_says() {
        let at = |median| Spread { median, least: median, most: median };
        let memory = MemoryReport {
            anonymous_mb: at(25.0),
            mapped_mb: at(150.0),
            plain_anonymous_mb: at(400.0),
            plain_mapped_mb: at(20.0),
            anonymous_ratio: 16.0,
            all_ratio: 2.4,
        };
        let swaps = SwapReport {
            count: 10_000,
            p50_us: 2,
            p99_us: 9,
            longest_us: 120,
            requests_per_second: 100.0,
            requests: 5_000,
            failed: 0,
            steady_p99_ms: at(4.0),
            swapping_p99_ms: at(4.2),
            p99_ratio: at(1.05),
            growth_bytes: 1_200.0,
        };
        let overload = OverloadReport {
            objective_ms: 20.0,
            capacity: at(400.0),
            offered: at(1200.0),
            goodput_ratio: at(0.95),
            p99_ms: at(18.0),
            failed: 0,
        };
        let extent = Extent { swaps: 10_000, rounds: 5, seconds: 8.0 };
        let variants = vec![("whole".to_owned(), 59_000_000)];
        let text = page(&Report { extent, variants, memory, swaps, start_ms: at(80.0), overload });
        for line in [
            "| figure | measured |",
            "| Private memory, six variants resident | 25.0 [25.0..25.0] MB |",
            "| Swap between resident variants, 10000 under 100 requests/s | p50 2 us, p99 9 us, longest 120 us |",
            "| Failed of the requests meanwhile | 0 of 5000 |",
            "| Start of the process to ready, store filled | 80.0 [80.0..80.0] ms |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
