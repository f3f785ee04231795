//! The page that people read, made from the report, and what the benchmark never changes.

use std::fmt::Write;

use super::{
    Conventional, Judgement, LEAST_ACCURACY, Level, Peer, Portfolio, Quantised, Report, Smaller, WIDER,
    WIDTH,
    judge::{ROUNDS, TURN},
    levels::epochs,
};
use crate::bench::Spread;

mod portfolio;

/// What was measured, as Markdown.
pub fn page(report: &Report) -> String {
    let extent = report.extent;
    let mut text = format!(
        "# Pruning: what was measured\n\n\
         Written by `make bench-pruning`; the figures are in [pruning.json](pruning.json).\n\
         Machine: {}.\n\
         VGG-16 of {WIDTH} of the published widths on Fashion-MNIST, {} images learnt from.\n\
         Epochs of dense networks: {}; after each removal: {}; seeds: {}.\n\
         Variants have an accuracy of at least {LEAST_ACCURACY} on the validation images.\n\
         Shares, such as accuracies, are means over the seeds; times, sizes, operations and ratios are medians; the smallest and \
         the largest stand in brackets.\n\
         Accuracy is of the 10,000 test images; latency is of one image in ONNX Runtime on one thread: the median of all runs \
         in {ROUNDS} rounds, in which all networks of a table and a seed take turns of {TURN} images.\n\n",
        report.machine, extent.training_images, extent.epochs, extent.fine_tuning_epochs, extent.seeds
    );
    text.push_str(PORTFOLIO);
    portfolio::lines(&mut text, &report.portfolios);
    wider_lines(&mut text, &report.wider);
    time_lines(&mut text, &report.portfolios);
    peer_lines(&mut text, &report.portfolios);
    level_lines(&mut text, report);
    text
}

const PORTFOLIO: &str = "## A portfolio\n\n\
    All networks that were made, the dense one first, each from the one before it; which of them become variants is chosen on \
    validation images.\n\
    Each row, here and below, is of the seeds whose portfolio has so many networks; *a variant of* says how many they are.\n\n";

fn wider_lines(text: &mut String, portfolios: &[Portfolio]) {
    if portfolios.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "## A portfolio of a wider network\n\n\
         The same of VGG-16 of {WIDER} of the published widths, for the first {} seeds: the sections after this one are not about it.\n",
        portfolios.len()
    );
    portfolio::lines(text, portfolios);
}

const PEERS: &str = "## Beside Torch-Pruning\n\n\
    Ours, and what Torch-Pruning makes of the same dense networks with the same images and epochs, to the nearest operations \
    that it can; its side of a pair stands second.\n\
    Both judge channels by a Taylor expansion of the loss: Torch-Pruning by the gradient over 2048 images, ours by its square over \
    each four of 1024.\n\
    Torch-Pruning rounds widths to 8; ours keeps whole vectors, where the processor has wider ones and they leave it a choice of \
    channels.\n\
    Torch-Pruning judges once and removes all at once; ours judges anew in three rounds and repairs after each.\n\
    Pairs are means of accuracies, and else medians.\n\
    Removal is finding out which channels go together, which leave, and the network without them: once on its side, in all three \
    rounds on ours.\n\n\
    | network | million operations | accuracy | ours is more accurate by, points | latency, ms | removal, ms \
    | removal, theirs over ours |\n\
    | --- | --- | --- | --- | --- | --- | --- |\n";

fn peer_lines(text: &mut String, portfolios: &[Portfolio]) {
    let mut smaller = portfolios.iter().flat_map(|portfolio| &portfolio.smaller);
    if !smaller.any(|smaller| smaller.torch_pruning.is_some()) {
        return;
    }
    text.push_str(PEERS);
    for position in 0..most_steps(portfolios) {
        let pairs: Vec<(&Smaller, &Peer)> = at(portfolios, position)
            .filter_map(|smaller| Some((smaller, smaller.torch_pruning.as_ref()?)))
            .collect();
        let of = |read: fn(&(&Smaller, &Peer)) -> f64| pairs.iter().map(read);
        let median = |read: fn(&(&Smaller, &Peer)) -> f64| Spread::of(of(read)).median;
        let _ = writeln!(
            text,
            "| smaller {} | {:.2}, {:.2} | {:.2} %, {:.2} % | {} | {:.3}, {:.3} | {:.2}, {:.2} | {} |",
            position + 1,
            median(|(ours, _)| ours.macs as f64 / 1e6),
            median(|(_, theirs)| theirs.made.macs as f64 / 1e6),
            mean(of(|(_, theirs)| 100.0 * theirs.ours.accuracy)),
            mean(of(|(_, theirs)| 100.0 * theirs.judgement.accuracy)),
            points(of(|(_, theirs)| theirs.ours.accuracy - theirs.judgement.accuracy)),
            median(|(_, theirs)| theirs.ours.latency_ms),
            median(|(_, theirs)| theirs.judgement.latency_ms),
            median(|(ours, _)| 1e3 * ours.removal_seconds),
            median(|(_, theirs)| 1e3 * theirs.made.removal_seconds),
            plain(&Spread::of(of(|(ours, theirs)| theirs.made.removal_seconds / ours.removal_seconds))),
        );
    }
    text.push('\n');
}

fn time_lines(text: &mut String, portfolios: &[Portfolio]) {
    text.push_str(
        "## Time\n\n\
         Removal is the structural step alone: finding out which channels go together, which leave, and the network without them.\n\
         Judging says how much a channel matters, measuring what layers take and how many channels must leave for the wanted \
         latency, and repair fits what is left, without labels.\n\
         Conventional is training the same layers from new weights, for the epochs of the dense network: where it is less accurate \
         by then, it would take still longer to get as far, and where it is more accurate, fewer might have done.\n\n\
         | network | removal, s | judging, measuring and repair, s | fine-tuning, s | accuracy | conventional, s | its accuracy \
         | conventional over removal | over removal, judging, measuring and repair | over all with fine-tuning |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for position in 0..most_steps(portfolios) {
        let pairs: Vec<(&Smaller, &Conventional)> = at(portfolios, position)
            .filter_map(|smaller| Some((smaller, smaller.conventional.as_ref()?)))
            .collect();
        let of = |read: fn(&(&Smaller, &Conventional)) -> f64| pairs.iter().map(read);
        let median = |read: fn(&(&Smaller, &Conventional)) -> f64| plain(&Spread::of(of(read)));
        let _ = writeln!(
            text,
            "| smaller {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            position + 1,
            median(|(ours, _)| ours.removal_seconds),
            median(|(ours, _)| ours.structural_seconds - ours.removal_seconds),
            median(|(ours, _)| ours.fine_tuning_seconds),
            percent(of(|(ours, _)| ours.judgement.accuracy)),
            median(|(_, conventional)| conventional.seconds),
            percent(of(|(_, conventional)| conventional.accuracy)),
            median(|(ours, conventional)| conventional.seconds / ours.removal_seconds),
            median(|(ours, conventional)| conventional.seconds / ours.structural_seconds),
            median(|(ours, conventional)| {
                conventional.seconds / (ours.structural_seconds + ours.fine_tuning_seconds)
            }),
        );
    }
    whole_line(text, portfolios);
}

fn whole_line(text: &mut String, portfolios: &[Portfolio]) {
    let all = |portfolio: &Portfolio| {
        let conventional = portfolio.smaller.iter().filter_map(|smaller| smaller.conventional.as_ref());
        let seconds: f64 = conventional.map(|conventional| conventional.seconds).sum();
        (portfolio.dense_seconds + seconds) / portfolio.seconds
    };
    let _ = writeln!(
        text,
        "\nThe whole portfolio, from the plan to the proofs, takes {} s; training each of its networks conventionally takes {} \
         times as long.\n",
        plain(&Spread::of(portfolios.iter().map(|portfolio| portfolio.seconds))),
        plain(&Spread::of(portfolios.iter().map(all))),
    );
}

fn level_lines(text: &mut String, report: &Report) {
    let _ = write!(
        text,
        "## The published method, and int8\n\n\
         {} epochs a level.\n\
         The masked network, the same without what is dead (*compact*), and without it but for what fills each width up to a multiple \
         of ONNX Runtime's (*aligned*) compute the same, as `dnnshifter-pruner-job verify` says of each.\n\n\
         | density | accuracy | training, s | compaction, ms | training over compaction | MB compact | MB aligned \
         | compact, times smaller | aligned, times smaller | masked, ms | compact, times faster | aligned, times faster |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        epochs(report.extent)
    );
    for position in 0..report.levels.iter().map(Vec::len).min().unwrap_or(0) {
        let levels: Vec<&Level> = report.levels.iter().filter_map(|levels| levels.get(position)).collect();
        let of = |read: fn(&Level) -> f64| plain(&Spread::of(levels.iter().map(|level| read(level))));
        let density = levels.first().map_or("", |level| &level.density);
        let accuracy = percent(levels.iter().map(|level| level.compacted.accuracy));
        let columns = [
            of(|level| level.training_seconds),
            of(|level| 1e3 * level.compaction_seconds),
            of(|level| level.training_seconds / level.compaction_seconds),
            of(|level| level.compacted.bytes as f64 / 1e6),
            of(|level| level.aligned.bytes as f64 / 1e6),
            of(|level| level.masked.bytes as f64 / level.compacted.bytes as f64),
            of(|level| level.masked.bytes as f64 / level.aligned.bytes as f64),
            of(|level| level.masked.latency_ms),
            of(|level| level.masked.latency_ms / level.compacted.latency_ms),
            of(|level| level.masked.latency_ms / level.aligned.latency_ms),
        ];
        let _ = writeln!(text, "| {density} | {accuracy} | {} |", columns.join(" | "));
    }
    int8_lines(text, &report.portfolios);
}

fn int8_lines(text: &mut String, portfolios: &[Portfolio]) {
    let quantised: Vec<&Quantised> =
        portfolios.iter().filter_map(|portfolio| portfolio.int8.as_ref()).collect();
    if quantised.is_empty() {
        return;
    }
    let of = |read: fn(&Quantised) -> f64| quantised.iter().map(move |quantised| read(quantised));
    let median = |read: fn(&Quantised) -> f64| plain(&Spread::of(of(read)));
    let _ = writeln!(
        text,
        "\nThe dense networks in int8 (ONNX Runtime, static, per channel): accuracy {} ({} points more than before), {} MB \
         ({} times smaller), {} ms ({} times as fast), agreement {}, the worst class loses {}, calibration error {}.",
        percent(of(|int8| int8.judgement.accuracy)),
        points(of(|int8| int8.judgement.accuracy - int8.dense.accuracy)),
        median(|int8| int8.judgement.bytes as f64 / 1e6),
        median(|int8| int8.dense.bytes as f64 / int8.judgement.bytes as f64),
        median(|int8| int8.judgement.latency_ms),
        median(|int8| int8.dense.latency_ms / int8.judgement.latency_ms),
        percent(of(|int8| int8.judgement.agreement)),
        percent(of(|int8| int8.judgement.worst_class_drop)),
        percent(of(|int8| int8.judgement.calibration_error)),
    );
    let beaten = (0..most_steps(portfolios)).filter(|&position| is_beaten_by_int8(portfolios, position));
    let beaten: Vec<String> = beaten.map(|position| format!("smaller {}", position + 1)).collect();
    if !beaten.is_empty() {
        let _ = writeln!(
            text,
            "In the mean they are more accurate and smaller than {}, and gain more on the dense ones' latency.",
            beaten.join(", ")
        );
    }
}

/// Whether the dense networks in int8 are in the mean better in all than the smaller ones at `position`, if every portfolio has one.
/// Latencies count beside that of the dense network in the same turns.
fn is_beaten_by_int8(portfolios: &[Portfolio], position: usize) -> bool {
    let pair = |portfolio| -> Option<(&Portfolio, &Smaller, &Quantised)> {
        let portfolio: &Portfolio = portfolio;
        Some((portfolio, portfolio.smaller.get(position)?, portfolio.int8.as_ref()?))
    };
    let Some(pairs) = portfolios.iter().map(pair).collect::<Option<Vec<_>>>() else { return false };
    let leads = |read: fn(&Judgement, &Judgement) -> f64| {
        let lead = |(portfolio, smaller, int8): &(&Portfolio, &Smaller, &Quantised)| {
            read(&int8.judgement, &int8.dense) - read(&smaller.judgement, &portfolio.dense)
        };
        mean(pairs.iter().map(lead)) > 0.0
    };
    leads(|judged, _| judged.accuracy)
        && leads(|judged, dense| dense.latency_ms / judged.latency_ms)
        && leads(|judged, _| -(judged.bytes as f64))
}

/// The largest number of smaller networks that any portfolio has.
fn most_steps(portfolios: &[Portfolio]) -> usize {
    portfolios.iter().map(|portfolio| portfolio.smaller.len()).max().unwrap_or(0)
}

/// The smaller network at `position` of each portfolio that has so many.
fn at(portfolios: &[Portfolio], position: usize) -> impl Iterator<Item = &Smaller> {
    portfolios.iter().filter_map(move |portfolio| portfolio.smaller.get(position))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / f64::from(count.max(1))
}

/// The mean of shares, with the smallest and the largest.
fn percent(shares: impl Iterator<Item = f64>) -> String {
    hundredths(shares, " %")
}

/// The same of differences between shares.
fn points(differences: impl Iterator<Item = f64>) -> String {
    hundredths(differences, "")
}

fn hundredths(shares: impl Iterator<Item = f64>, unit: &str) -> String {
    let shares: Vec<f64> = shares.map(|share| 100.0 * share).collect();
    let Spread { least, most, .. } = Spread::of(shares.iter().copied());
    format!("{:.2}{unit} [{least:.2}..{most:.2}]", mean(shares.into_iter()))
}

fn plain(Spread { median, least, most }: &Spread) -> String {
    let short = |value: &f64| {
        let decimals = match value.abs() {
            value if value >= 100.0 => 0,
            value if value >= 1.0 => 2,
            _ => 3,
        };
        format!("{value:.decimals$}")
    };
    format!("{} [{}..{}]", short(median), short(least), short(most))
}

#[cfg(test)]
mod tests;
