//! The page that people read, made from the report and nothing else.

mod beside;

use std::fmt::Write;

use super::{
    Spread,
    figure::{
        latency::{FormReport, LatencyReport},
        limit::LimitReport,
        overload::OverloadReport,
        quota::QuotaReport,
        reload::ReloadReport,
        resident::ResidentReport,
        swaps::SwapReport,
    },
    serving::Report,
};

/// A line of the table.
struct Line {
    figure: String,
    target: String,
    measured: String,
    /// Whether the target was reached; `None` without a target, or without a measurement.
    reached: Option<bool>,
}

/// What was measured, as Markdown.
pub fn page(report: &Report) -> String {
    let mut text = String::from(
        "# Serving: what was measured\n\nWritten by `make bench-serving`; the figures are in [serving.json](serving.json).\n",
    );
    text.push_str(&setting(report));
    text.push_str("| figure | to reach | measured | |\n| --- | --- | --- | --- |\n");
    for Line { figure, target, measured, reached } in lines(report) {
        let verdict = match reached {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "",
        };
        let _ = writeln!(text, "| {figure} | {target} | {measured} | {verdict} |");
    }
    text.push_str(
        "\nPlain sessions are ONNX Runtime with its defaults and one thread, all in one process, each on the shipped file.\n\
         A swap is timed by the runtime, from the decision received to the pointer stored.\n\
         Latencies count from the time at which a request was meant to leave, also those of bare ONNX Runtime.\n\
         Requests while swapping and without swaps are compared in slices that take turns; without swaps as many requests to swap are sent, for the variant that serves already.\n\
         An idle runtime has given back the pages of code that only starting needed, and mapped again what its requests have reached.\n\
         Memory grows by chance too: growth is given with its standard error, after the first round.\n\
         Bare ONNX Runtime is called in its own process at the times at which requests would leave: it sleeps until then, as a server does, or polls, which keeps the processor awake.\n\
         The echo is a thread that reads requests of the same bytes and answers at once, with no inference: what the network and waking a thread cost on this machine.\n",
    );
    if !report.peers.is_empty() {
        text.push_str(&beside::table(&report.peers));
    }
    text
}

fn setting(report: &Report) -> String {
    let sizes = report.variants.iter().map(|(name, bytes)| format!("{name} {:.1}", *bytes as f64 / 1e6));
    format!(
        "Machine: {}.\n\
         Six variants of VGG-16 for 3x32x32 images with random weights (MB of the file: {}), {} rounds, everything that is compared in turns.\n\
         The server has one core, its clients have the other.\n\
         A figure is the median, with the smallest and the largest in brackets.\n\n",
        report.machine,
        sizes.collect::<Vec<_>>().join(", "),
        report.extent.rounds,
    )
}

fn lines(report: &Report) -> Vec<Line> {
    let mut lines = swap_lines(&report.swaps);
    lines.insert(1, reload_line(&report.reload));
    lines.push(cold_line(&report.reload));
    lines.extend(resident_lines(&report.resident));
    lines.push(limit_line(&report.limit));
    lines.extend(latency_lines(&report.latency));
    lines.extend(overload_lines(&report.overload));
    lines.push(quota_line(&report.quota));
    lines.extend(small_lines(&report.resident));
    lines
}

fn swap_lines(swaps: &SwapReport) -> Vec<Line> {
    let SwapReport {
        count, p50_us, p99_us, longest_us, pause_ms, requests_per_second, requests, failed, ..
    } = swaps;
    let (growth, whole) = (swaps.growth_bytes, swaps.whole_growth_bytes);
    vec![
        line(
            format!(
                "Swap between resident variants, {count} of them {pause_ms} ms apart under {requests_per_second} requests/s, p99"
            ),
            "< 1 ms",
            format!("{p99_us} us (p50 {p50_us} us, longest {longest_us} us)"),
            *p99_us < 1000,
        ),
        line("Failed or dropped requests meanwhile", "0", format!("{failed} of {requests}"), *failed == 0),
        line(
            "p99 of requests while swapping over p99 without swaps",
            "<= 1.1",
            format!(
                "{}: {} ms over {} ms",
                spread(&swaps.p99_ratio),
                spread(&swaps.swapping_p99_ms),
                spread(&swaps.steady_p99_ms)
            ),
            swaps.p99_ratio.median <= 1.1,
        ),
        line(
            "Growth of private memory with swaps, beyond that without them",
            "0 within noise",
            format!(
                "{:.1} ± {:.1} kB for 1,000 (all growth meanwhile: {:.1} ± {:.1} kB)",
                growth.value / 1e3,
                growth.error / 1e3,
                whole.value / 1e3,
                whole.error / 1e3
            ),
            growth.is_noise() || growth.value < 0.0,
        ),
    ]
}

fn reload_line(reload: &ReloadReport) -> Line {
    let ReloadReport { file_bytes, count, p50_us, p99_us, .. } = reload;
    line(
        format!("Swap to a variant on disk, {:.0} MB, {count} of them, p99", *file_bytes as f64 / 1e6),
        "< 20 ms",
        format!("{} ms (p50 {} ms)", short(*p99_us as f64 / 1e3), short(*p50_us as f64 / 1e3)),
        *p99_us < 20_000,
    )
}

fn cold_line(reload: &ReloadReport) -> Line {
    let ReloadReport { cold_count, cold_p50_us, cold_longest_us, .. } = reload;
    without_target(
        format!("The swap to the same variant, not in the page cache either, {cold_count} of them"),
        format!(
            "p50 {} ms, longest {} ms",
            short(*cold_p50_us as f64 / 1e3),
            short(*cold_longest_us as f64 / 1e3)
        ),
    )
}

fn resident_lines(resident: &ResidentReport) -> Vec<Line> {
    let ResidentReport { anonymous_mb, mapped_mb, plain_anonymous_mb, plain_mapped_mb, .. } = resident;
    let part = 1.0 / resident.anonymous_ratio;
    vec![
        line(
            "Six variants: private memory over that of six plain sessions",
            "<= 1/3.8 (0.26)",
            format!("{}: {} MB over {} MB", short(part), spread(anonymous_mb), spread(plain_anonymous_mb)),
            part <= 1.0 / 3.8,
        ),
        without_target(
            "The same with pages of files",
            format!(
                "{}: {} MB of files beside it, {} MB beside the sessions'",
                short(1.0 / resident.all_ratio),
                spread(mapped_mb),
                spread(plain_mapped_mb)
            ),
        ),
    ]
}

fn limit_line(limit: &Result<LimitReport, String>) -> Line {
    let figure = "The smallest memory limit with the same p99, over that of the sessions";
    match limit {
        Ok(LimitReport { ours_mb, plain_mb }) => without_target(
            figure,
            format!("{}: {ours_mb:.0} MB over {plain_mb:.0} MB", short(ours_mb / plain_mb)),
        ),
        Err(why) => without_target(figure, format!("not measured: {why}")),
    }
}

fn latency_lines(latency: &LatencyReport) -> Vec<Line> {
    let LatencyReport { bare_p50_ms, polling_p50_ms, echo_p50_ms, raw, grpc, json } = latency;
    let measured = |form: &FormReport| {
        let FormReport { p50_ms, p99_ms, added_p50_ms } = form;
        format!("{} ms (p50 {} ms, p99 {} ms)", spread(added_p50_ms), spread(p50_ms), spread(p99_ms))
    };
    let figure = |form: &str| format!("Latency over bare ONNX Runtime, p50, {form}");
    vec![
        line(
            figure("REST with binary tensors"),
            "<= 0.15 ms",
            measured(raw),
            raw.added_p50_ms.median <= 0.15,
        ),
        line(figure("gRPC"), "<= 0.15 ms", measured(grpc), grpc.added_p50_ms.median <= 0.15),
        without_target(figure("REST with JSON"), measured(json)),
        without_target(
            "Bare ONNX Runtime, p50",
            format!("{} ms asleep until called, {} ms polling", spread(bare_p50_ms), spread(polling_p50_ms)),
        ),
        without_target("An echo of the same request, p50", format!("{} ms", spread(echo_p50_ms))),
    ]
}

fn overload_lines(overload: &OverloadReport) -> Vec<Line> {
    let OverloadReport { objective_ms, capacity, offered, late_ratio, goodput_ratio, p99_ms, failed } =
        overload;
    vec![
        line(
            format!("Answers within {objective_ms} ms at three times the capacity, over the capacity"),
            ">= 0.9",
            format!(
                "{}: of {} requests/s, capacity {}; {failed} failed",
                spread(goodput_ratio),
                spread(offered),
                spread(capacity)
            ),
            goodput_ratio.median >= 0.9,
        ),
        line(
            "p99 of the answers then",
            format!("<= {objective_ms} ms"),
            format!("{} ms; {} % of them later", spread(p99_ms), short(100.0 * late_ratio.median)),
            p99_ms.median <= *objective_ms,
        ),
    ]
}

fn quota_line(quota: &Result<QuotaReport, String>) -> Line {
    let figure = "Half a CPU by quota, steady load: p99 over p99 without the quota";
    match quota {
        Ok(quota) => line(
            format!("{figure}, z = {}", quota.distance),
            "<= 1.2",
            format!(
                "{}: {} ms over {} ms; {:.0} requests/s of {:.0} us, {:.1} % of the periods throttled",
                spread(&quota.p99_ratio),
                spread(&quota.held_p99_ms),
                spread(&quota.free_p99_ms),
                quota.requests_per_second,
                quota.cpu_us,
                quota.throttled * 100.0
            ),
            quota.p99_ratio.median <= 1.2,
        ),
        Err(why) => without_target(figure, format!("not measured: {why}")),
    }
}

fn small_lines(resident: &ResidentReport) -> Vec<Line> {
    let image = match &resident.image {
        Ok(image) => line(
            "Image, all layers, unpacked",
            "<= 60 MB",
            format!("{:.1} MB ({:.1} MB as it is pulled)", image.unpacked_mb, image.packed_mb),
            image.unpacked_mb <= 60.0,
        ),
        Err(why) => without_target("Image, all layers", format!("not measured: {why}")),
    };
    vec![
        image,
        line(
            "Process start to first answer, six variants in the store",
            "<= 300 ms",
            format!("{} ms", spread(&resident.first_answer_ms)),
            resident.first_answer_ms.median <= 300.0,
        ),
        line(
            format!(
                "Idle, the smallest variant loaded, after {} requests: resident memory",
                resident.requests_before_idle
            ),
            "<= 40 MB",
            format!("{} MB", spread(&resident.idle_mb)),
            resident.idle_mb.median <= 40.0,
        ),
    ]
}

fn line(figure: impl Into<String>, target: impl Into<String>, measured: String, reached: bool) -> Line {
    Line { figure: figure.into(), target: target.into(), measured, reached: Some(reached) }
}

fn without_target(figure: impl Into<String>, measured: String) -> Line {
    Line { figure: figure.into(), target: String::new(), measured, reached: None }
}

fn spread(Spread { median, least, most }: &Spread) -> String {
    format!("{} [{}..{}]", short(*median), short(*least), short(*most))
}

/// Three significant digits are what these figures are good for.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 0.1 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests;
