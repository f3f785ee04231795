//! `report.html`: what a run made, in one file that stands alone and that a person who did not run it can read. Pure; the
//! pictures are in [`chart`].

use dnnshifter_portfolio::{PruningPlan, description::CheckVector};

use crate::{
    study::choice::{Choice, Chosen, LayerWidth, Measured},
    training::EpochResult,
};

mod chart;

use chart::{Chart, Point, Series};

/// The report's file within the folder of the variants.
pub(crate) const REPORT_FILE: &str = "report.html";

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse;margin:1rem 0;width:100%}th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right}\
th:first-child,td:first-child{text-align:left}svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#222}\
svg line{stroke:#e4e4e4}.bar{display:inline-block;height:.7rem;background:#0072b2;margin-right:.4rem}.bars{display:inline-block;\
width:5rem;text-align:left}pre{background:#f6f6f6;padding:1rem;overflow:auto}";

/// The report of a run as HTML.
pub(crate) fn html(plan: &PruningPlan, choice: &Choice) -> String {
    let Choice { chosen, measured } = choice;
    let revision = escape(&plan.revision);
    let sections = [
        summary(chosen, measured),
        variants(chosen, measured),
        frontiers(chosen, measured),
        widths(chosen, measured),
        curves(chosen, measured),
        proof(chosen),
        plan_text(plan),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Portfolio {revision}</title><style>{STYLE}</style></head><body>\n<h1>Portfolio {revision}</h1>\n{}</body></html>\n",
        sections.concat()
    )
}

/// What stands in HTML as it is meant.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn summary(chosen: &[Chosen], measured: &[Measured]) -> String {
    let (Some(first), Some(last)) = (chosen.first(), chosen.last()) else { return String::new() };
    format!(
        "<p>From one network, {} networks were trained, and {} of them became variants: the same classifier at several sizes. \
         The slowest variant needs {} for one input and is right for {} of the test images; the fastest needs {} and is right for \
         {}. A network that another one beats in accuracy, latency and memory is no variant, nor is one that is hardly faster or \
         smaller than a more accurate one.</p>\n",
        measured.len(),
        chosen.len(),
        milliseconds(first.latency_us),
        percent(first.description.accuracy.as_f64()),
        milliseconds(last.latency_us),
        percent(last.description.accuracy.as_f64()),
    )
}

fn variants(chosen: &[Chosen], measured: &[Measured]) -> String {
    let dense = measured.first();
    let row = |variant: &Chosen| {
        let description = &variant.description;
        let measured = of(measured, variant.position);
        let validation =
            measured.map_or_else(String::new, |measured| percent(measured.validation_accuracy.as_f64()));
        let memory = measured.map_or(0, |measured| measured.memory_bytes);
        let faster = dense.map_or(1.0, |dense| dense.latency_us as f64 / variant.latency_us.max(1) as f64);
        let smaller = dense.map_or(1.0, |dense| dense.bytes as f64 / description.bytes.max(1) as f64);
        format!(
            "<tr><td>{}</td><td>{}</td><td>{validation}</td><td>{}</td><td>{faster:.2}x</td><td>{}</td><td>{}</td>\
             <td>{smaller:.2}x</td><td>{memory}</td><td>{}</td></tr>\n",
            description.name,
            percent(description.accuracy.as_f64()),
            milliseconds(variant.latency_us),
            description.parameters,
            description.bytes,
            description.macs
        )
    };
    let rows: String = chosen.iter().map(row).collect();
    format!(
        "<h2>Variants</h2>\n<p>Variants were chosen by their accuracy on validation images; the test images were looked at once, \
         after the choice. Latency is the median processor time of one input in ONNX Runtime on one thread of the machine that \
         trained; nodes measure their own. Memory is the bytes of the file and of all values that one input takes at the same time. \
         Faster and smaller are against the dense network.</p>\n<table><tr><th>variant</th>\
         <th>test accuracy</th><th>validation accuracy</th><th>latency</th><th>faster</th><th>parameters</th><th>bytes</th>\
         <th>smaller</th><th>memory</th><th>multiply-accumulates</th></tr>\n{rows}</table>\n"
    )
}

fn frontiers(chosen: &[Chosen], measured: &[Measured]) -> String {
    let chart = |title, x_label, x: fn(&Measured) -> f64| {
        let point = |measured: &Measured, label: String| Point {
            x: x(measured),
            y: measured.validation_accuracy.as_f64(),
            label,
        };
        let frontier = chosen.iter().filter_map(|variant| {
            Some(point(of(measured, variant.position)?, variant.description.name.to_string()))
        });
        let others = (0..).zip(measured).filter(|(position, _)| !is_chosen(chosen, *position));
        let others = others.map(|(position, measured)| point(measured, name(chosen, position)));
        let series =
            |label: &str, points, line| Series { label: label.to_owned(), points, line, faint: !line };
        let series =
            vec![series("variants", frontier.collect(), true), series("not chosen", others.collect(), false)];
        Chart { title, x_label, y_label: "validation accuracy", y_most: Some(1.0), series }.svg()
    };
    format!(
        "<h2>What accuracy costs</h2>\n<p>Up and to the left is better. The line joins the variants; hollow points are networks that \
         were made and not chosen: step 0 makes the dense network, each further one a smaller network.</p>\n{}{}",
        chart("Accuracy against latency", "latency of one input, milliseconds", |measured| {
            measured.latency_us as f64 / 1000.0
        }),
        chart("Accuracy against size", "size of the file, megabytes", |measured| measured.bytes as f64 / 1e6),
    )
}

fn widths(chosen: &[Chosen], measured: &[Measured]) -> String {
    let Some(dense) = measured.first() else { return String::new() };
    let heading = |variant: &Chosen| format!("<th>{}</th>", variant.description.name);
    let headings: String = chosen.iter().map(heading).collect();
    let cell = |layer: &str, full: usize, variant: &Chosen| {
        let widths =
            of(measured, variant.position).map(|measured| measured.widths.as_slice()).unwrap_or_default();
        let found = widths.iter().find(|width| width.layer == layer);
        let channels = found.map_or(0, |width| width.channels);
        let share = 100.0 * channels as f64 / full.max(1) as f64;
        let bar =
            format!("<span class=\"bars\"><span class=\"bar\" style=\"width:{share:.0}%\"></span></span>");
        format!("<td>{bar}{channels}</td>")
    };
    let row = |width: &LayerWidth| {
        let cells: String =
            chosen.iter().map(|variant| cell(&width.layer, width.channels, variant)).collect();
        format!("<tr><td>{}</td><td>{}</td>{cells}</tr>\n", escape(&width.layer), width.channels)
    };
    let rows: String = dense.widths.iter().map(row).collect();
    format!(
        "<h2>Widths</h2>\n<p>Output channels of each layer; bars are shares of the dense network's.</p>\n<table><tr><th>layer</th>\
         <th>dense</th>{headings}</tr>\n{rows}</table>\n"
    )
}

fn curves(chosen: &[Chosen], measured: &[Measured]) -> String {
    let chart = |title, y_label, y_most, y: fn(&EpochResult) -> f64| {
        let points = |measured: &Measured| {
            let epoch = |(epoch, result): (u32, &EpochResult)| Point {
                x: f64::from(epoch),
                y: y(result),
                label: String::new(),
            };
            (1_u32..).zip(&measured.curve).map(epoch).collect()
        };
        let series = |(position, measured)| Series {
            label: name(chosen, position),
            points: points(measured),
            line: true,
            faint: false,
        };
        let series = (0..).zip(measured).map(series).collect();
        Chart { title, x_label: "epoch", y_label, y_most, series }.svg()
    };
    format!(
        "<h2>Training</h2>\n<p>Means over each epoch's images, while their network was learning. The loss is the cross-entropy with \
         the labels. Networks that structured pruning made also learn from the dense network's answers, which this curve does not \
         show: it may rise while they come closer to them.</p>\n{}{}",
        chart("Loss by epoch", "cross-entropy", None, |result| result.loss),
        chart("Training accuracy by epoch", "training accuracy", Some(1.0), |result| result.accuracy),
    )
}

fn proof(chosen: &[Chosen]) -> String {
    let row = |variant: &Chosen| {
        format!("<tr><td>{}</td><td>{:.2e}</td></tr>\n", variant.description.name, variant.maximum_difference)
    };
    let rows: String = chosen.iter().map(row).collect();
    format!(
        "<h2>Proof</h2>\n<p>Each variant's file was run in ONNX Runtime, the engine of the nodes, and compared on validation images \
         with the network that was trained, run in libtorch. The largest difference of any output was (at most {:e} of the largest \
         output, or of 1 if that is more, is allowed; otherwise nothing is written):</p>\n<table><tr><th>variant</th><th>largest \
         difference</th></tr>\n{rows}</table>\n",
        CheckVector::TOLERANCE
    )
}

fn plan_text(plan: &PruningPlan) -> String {
    // A plan that was read from JSON can be written as JSON.
    let text = serde_json::to_string_pretty(plan).unwrap_or_default();
    format!("<h2>Plan</h2>\n<p>What was asked for.</p>\n<pre>{}</pre>\n", escape(&text))
}

fn of(measured: &[Measured], position: usize) -> Option<&Measured> {
    measured.get(position)
}

/// What the network at `position` is called: as the variant that it became, or after the step that made it.
fn name(chosen: &[Chosen], position: usize) -> String {
    let variant = chosen.iter().find(|variant| variant.position == position);
    variant.map_or_else(
        || format!("step {position}, not chosen"),
        |variant| variant.description.name.to_string(),
    )
}

fn is_chosen(chosen: &[Chosen], position: usize) -> bool {
    chosen.iter().any(|variant| variant.position == position)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn milliseconds(microseconds: u64) -> String {
    format!("{:.3} ms", microseconds as f64 / 1000.0)
}
