//! What the page says of portfolios by themselves.

use std::fmt::Write;

use super::{at, mean, most_steps, percent, plain, points};
use crate::bench::{
    Spread,
    pruning::{Judgement, Portfolio, Smaller},
};

/// How much accuracy a variant may lose and still stand for the dense network.
const NEAR: f64 = 0.005;

/// All networks of portfolios, and what they are worth together.
pub(super) fn lines(text: &mut String, portfolios: &[Portfolio]) {
    text.push_str(
        "| network | a variant of | accuracy | agreement with dense | worst class loses | calibration error | latency, ms | MB \
         | faster than the one before | as foretold |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let row = |text: &mut String, name: &str, judged: &[&Judgement], chosen: usize, ratios: &str| {
        let of = |read: fn(&Judgement) -> f64| judged.iter().map(move |judgement| read(judgement));
        let _ = writeln!(
            text,
            "| {name} | {chosen} of {} | {} | {} | {} | {} | {} | {} | {ratios} |",
            judged.len(),
            percent(of(|judgement| judgement.accuracy)),
            percent(of(|judgement| judgement.agreement)),
            percent(of(|judgement| judgement.worst_class_drop)),
            percent(of(|judgement| judgement.calibration_error)),
            plain(&Spread::of(of(|judgement| judgement.latency_ms))),
            plain(&Spread::of(of(|judgement| judgement.bytes as f64 / 1e6))),
        );
    };
    let dense: Vec<&Judgement> = portfolios.iter().map(|portfolio| &portfolio.dense).collect();
    let chosen = portfolios.iter().filter(|portfolio| portfolio.dense_chosen).count();
    row(text, "dense", &dense, chosen, " | ");
    for position in 0..most_steps(portfolios) {
        let judged: Vec<&Judgement> = at(portfolios, position).map(|smaller| &smaller.judgement).collect();
        let chosen = at(portfolios, position).filter(|smaller| smaller.chosen).count();
        let of = |read: fn(&Smaller) -> f64| plain(&Spread::of(at(portfolios, position).map(read)));
        let ratios =
            [of(|smaller| smaller.latency_ratio), of(|smaller| smaller.predicted_latency_ratio)].join(" | ");
        row(text, &format!("smaller {}", position + 1), &judged, chosen, &ratios);
    }
    range_lines(text, portfolios);
}

fn range_lines(text: &mut String, portfolios: &[Portfolio]) {
    let range = plain(&Spread::of(portfolios.iter().map(|portfolio| portfolio.range)));
    let _ = writeln!(text, "\nThe slowest variant takes {range} times as long as the fastest.");
    if let Some((position, pairs)) = nearest(portfolios) {
        let of = |read: fn(&(&Portfolio, &Smaller)) -> f64| pairs.iter().map(read);
        let _ = writeln!(
            text,
            "The fastest network of every seed whose mean accuracy on the validation images is within half a point of the dense one's \
             is smaller {}: {} times as fast, and {} points less accurate on the test images.",
            position + 1,
            plain(&Spread::of(of(|(portfolio, smaller)| {
                portfolio.dense.latency_ms / smaller.judgement.latency_ms
            }))),
            points(of(|(portfolio, smaller)| portfolio.dense.accuracy - smaller.judgement.accuracy)),
        );
    }
    let smaller = portfolios.iter().flat_map(|portfolio| &portfolio.smaller);
    let off: Vec<f64> = smaller
        .map(|smaller| (smaller.latency_ratio / smaller.predicted_latency_ratio - 1.0).abs())
        .collect();
    let _ = writeln!(
        text,
        "The latencies that the table of layers foretold for these networks are {:.1} % off in the mean, {:.1} % at \
         most.\n",
        100.0 * mean(off.iter().copied()),
        100.0 * off.iter().copied().fold(0.0, f64::max),
    );
}

/// The last position at which every portfolio has a network, which are together hardly less accurate than the dense ones; with the
/// portfolios and networks.
fn nearest<'a>(portfolios: &'a [Portfolio]) -> Option<(usize, Vec<(&'a Portfolio, &'a Smaller)>)> {
    let networks = |position: usize| {
        let pair = |portfolio: &'a Portfolio| Some((portfolio, portfolio.smaller.get(position)?));
        Some((position, portfolios.iter().map(pair).collect::<Option<Vec<_>>>()?))
    };
    let is_near = |(_, pairs): &(usize, Vec<(&Portfolio, &Smaller)>)| {
        let lost = pairs
            .iter()
            .map(|(portfolio, smaller)| portfolio.dense_validation_accuracy - smaller.validation_accuracy);
        mean(lost) <= NEAR
    };
    (0..most_steps(portfolios)).rev().filter_map(networks).find(is_near)
}
