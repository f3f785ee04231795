//! What is seen while training runs. In a log: a line for each epoch, and for each quarter of a minute of a long one. On a terminal: a line
//! for each epoch, and a bar with the time that is left, which goes when the training is done.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::{Recipe, Span};

/// A long epoch says how far it is this often.
const INTERVAL: Duration = Duration::from_secs(15);

/// The bar moves so often in a second: the eye needs no more.
const MOVES: u8 = 4;

/// Before and behind the bar: what is trained, and how far it is. `eta` is the time that is left, by the pace of late.
const BAR: &str = "{prefix} {wide_bar} {msg}, {eta} left";

/// How far a training is.
pub(super) struct Progress<'a> {
    phase: &'a str,
    epochs: usize,
    steps: usize,
    steps_done: usize,
    /// The part of the steps that is done.
    span: Span,
    started: Instant,
    logged: Instant,
    epoch: StepResult,
    /// Hidden where nobody sees it.
    bar: ProgressBar,
}

/// How an epoch went: means over its images, while the network was learning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EpochResult {
    /// Cross-entropy with the labels, also where more than that is learnt.
    pub(crate) loss: f64,
    /// Share of the images that were classified rightly.
    pub(crate) accuracy: f64,
}

/// What a step, or an epoch so far, has come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StepResult {
    pub(super) images: usize,
    /// Images that were classified rightly.
    pub(super) right: u64,
    /// Sum of the cross-entropies of the images with their labels.
    pub(super) loss: f64,
}

impl<'a> Progress<'a> {
    pub(super) fn new(phase: &'a str, recipe: Recipe, images: usize) -> Self {
        let now = Instant::now();
        let steps = recipe.epochs * (images / recipe.batch_size.min(images).max(1));
        let (epochs, span, epoch) = (recipe.epochs, recipe.span, StepResult::default());
        let bar = bar(phase, span.end.unwrap_or(steps).min(steps).saturating_sub(span.first));
        Self { phase, epochs, steps, steps_done: 0, span, started: now, logged: now, epoch, bar }
    }

    /// Number of steps of the whole training.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Number of steps that are done.
    pub(super) fn steps_done(&self) -> usize {
        self.steps_done
    }

    /// Leaves a step out that is not of the span.
    pub(super) fn skip(&mut self) {
        self.steps_done += 1;
    }

    pub(super) fn step(&mut self, epoch: usize, result: StepResult) {
        self.steps_done += 1;
        self.epoch.images += result.images;
        self.epoch.right += result.right;
        self.epoch.loss += result.loss;
        self.bar.inc(1);
        self.bar.set_message(format!("epoch {epoch} of {}", self.epochs));
        if self.bar.is_hidden() && self.logged.elapsed() > INTERVAL {
            self.log(epoch, "training");
        }
    }

    /// How the epoch went; `None` if none of it was done.
    pub(super) fn epoch(&mut self, epoch: usize) -> Option<EpochResult> {
        let result = (self.epoch.images > 0).then(|| self.epoch.mean());
        if result.is_some() {
            let bar = self.bar.clone();
            bar.suspend(|| self.log(epoch, "epoch finished"));
        }
        self.epoch = StepResult::default();
        result
    }

    fn log(&mut self, epoch: usize, message: &str) {
        self.logged = Instant::now();
        let EpochResult { loss, accuracy } = self.epoch.mean();
        let elapsed = self.started.elapsed().as_secs_f64();
        let done = self.steps_done.saturating_sub(self.span.first).max(1);
        let end = self.span.end.unwrap_or(self.steps).min(self.steps);
        let left = elapsed / done as f64 * end.saturating_sub(self.steps_done) as f64;
        tracing::info!(
            phase = self.phase,
            epoch,
            epochs = self.epochs,
            step = self.steps_done,
            steps = self.steps,
            loss = format!("{loss:.4}"),
            accuracy = format!("{accuracy:.4}"),
            seconds_left = left.round(),
            "{message}"
        );
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A bar of so many steps on the terminal, if standard error is one.
fn bar(phase: &str, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr_with_hz(MOVES))
        .with_style(style)
        .with_prefix(phase.to_owned())
}

impl StepResult {
    fn mean(self) -> EpochResult {
        let images = self.images.max(1) as f64;
        EpochResult { loss: self.loss / images, accuracy: self.right as f64 / images }
    }
}
