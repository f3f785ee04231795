//! Trains a network: SGD with Nesterov momentum and a one-cycle learning rate, on cross-entropy or, for variants, on what a
//! larger network answers as well. Measures accuracy. Knows no ONNX, no pruning.

use std::time::{Duration, Instant};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use tch::{COptimizer, Kind, Reduction, TchError, Tensor};

use crate::interpreter::{InterpreterError, Mode, Role, TrainableNetwork, copied};

mod one_cycle;
pub(crate) mod samples;

use one_cycle::OneCycle;
use samples::Samples;

/// Momentum of the gradient, and of batch norm's running statistics; the usual values of image classification.
const MOMENTUM: f64 = 0.9;
const STATISTICS_MOMENTUM: f64 = 0.1;
/// For weights; scales, shifts and biases have none (He et al., "Bag of Tricks", 2019, section 3.1).
const WEIGHT_DECAY: f64 = 5e-4;
/// Images that are evaluated at a time.
const EVALUATION_BATCH: i64 = 250;
/// A long epoch says how far it is this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// How to train.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) epochs: usize,
    /// Images a step.
    pub(crate) batch_size: usize,
    pub(crate) peak_learning_rate: f64,
    /// Decides the order of the images.
    pub(crate) seed: u64,
}

/// Why training failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainingError {
    #[error(transparent)]
    Network(#[from] InterpreterError),
    #[error("libtorch failed to {action}")]
    Tensor { action: &'static str, source: TchError },
    #[error(
        "training diverged in epoch {epoch}: the loss is no number any more; choose a smaller learningRate than {learning_rate}"
    )]
    Diverged { epoch: usize, learning_rate: f64 },
}

/// What variants learn from a larger network: its answers to the training images (Hinton et al., "Distilling the Knowledge in
/// a Neural Network", 2015). Images are not altered in training, so each answer is computed once.
pub(crate) struct Teacher {
    answers: Tensor,
}

/// Softens the answers, so that small probabilities count; and the share of the labels in the loss.
const TEMPERATURE: f64 = 4.0;
const LABEL_SHARE: f64 = 0.3;

pub(super) fn doing(action: &'static str) -> impl Fn(TchError) -> TrainingError {
    move |source| TrainingError::Tensor { action, source }
}

impl Teacher {
    /// Lets `network` answer all of `samples`, one answer after the other.
    pub(crate) fn answers(network: &TrainableNetwork, samples: &Samples) -> Result<Vec<f32>, TrainingError> {
        let mut answers = Vec::new();
        for indices in samples.in_order(EVALUATION_BATCH)? {
            let (images, _) = samples.batch(&indices)?;
            let computed = tch::no_grad(|| network.forward(&images, Mode::Evaluation))?;
            answers.extend(copied(&computed).map_err(doing("read answers"))?);
        }
        Ok(answers)
    }

    /// A teacher that gave `answers` to `count` samples.
    pub(crate) fn new(answers: &[f32], count: usize) -> Result<Self, TrainingError> {
        let answers = Tensor::f_from_slice(answers).and_then(|answers| answers.f_reshape([count as i64, -1]));
        Ok(Self { answers: answers.map_err(doing("load answers"))? })
    }
}

/// The share of `samples` that `network` classifies rightly, as (right, all).
pub(crate) fn evaluate(network: &TrainableNetwork, samples: &Samples) -> Result<(u64, u64), TrainingError> {
    let mut right = 0;
    for indices in samples.in_order(EVALUATION_BATCH)? {
        let (images, labels) = samples.batch(&indices)?;
        let answers = tch::no_grad(|| network.forward(&images, Mode::Evaluation))?;
        right += count_right(&answers, &labels).map_err(doing("compare answers"))?;
    }
    Ok((right, samples.len() as u64))
}

fn count_right(answers: &Tensor, labels: &Tensor) -> Result<u64, TchError> {
    let equal = answers.f_argmax(-1, false)?.f_eq_tensor(labels)?;
    Ok(equal.f_sum(Kind::Int64)?.f_int64_value(&[])? as u64)
}

/// Trains `network` on `samples`, and on the teacher's answers if there is one. Logs each epoch under the name `phase`.
pub(crate) fn train(
    network: &TrainableNetwork,
    samples: &Samples,
    teacher: Option<&Teacher>,
    recipe: Recipe,
    phase: &str,
) -> Result<(), TrainingError> {
    let steps_per_epoch = samples.len().div_ceil(recipe.batch_size);
    let schedule = OneCycle::new(recipe.epochs * steps_per_epoch, recipe.peak_learning_rate);
    let mut optimizer = optimizer(network).map_err(doing("make the optimizer"))?;
    let mut random = ChaCha8Rng::seed_from_u64(recipe.seed);
    let mut order: Vec<i64> = (0..samples.len() as i64).collect();
    let mut progress = Progress::new(phase, recipe.epochs, steps_per_epoch);
    for epoch in 1..=recipe.epochs {
        order.shuffle(&mut random);
        for indices in order.chunks(recipe.batch_size) {
            let learning_rate = schedule.learning_rate(progress.steps_done);
            optimizer.set_learning_rate(learning_rate).map_err(doing("set the learning rate"))?;
            let (loss, right) = step(network, samples, teacher, &optimizer, indices)?;
            if !loss.is_finite() {
                return Err(TrainingError::Diverged { epoch, learning_rate: recipe.peak_learning_rate });
            }
            progress.step(epoch, loss, right, indices.len());
        }
        progress.epoch(epoch);
    }
    Ok(())
}

fn optimizer(network: &TrainableNetwork) -> Result<COptimizer, TchError> {
    let mut optimizer = COptimizer::sgd(0.0, MOMENTUM, 0.0, 0.0, true)?;
    for parameter in network.parameters().values() {
        match parameter.role {
            Role::Weight => optimizer.add_parameters(&parameter.tensor, 0)?,
            Role::Offset => optimizer.add_parameters(&parameter.tensor, 1)?,
            Role::Statistic => {}
        }
    }
    optimizer.set_weight_decay_group(0, WEIGHT_DECAY)?;
    Ok(optimizer)
}

fn step(
    network: &TrainableNetwork,
    samples: &Samples,
    teacher: Option<&Teacher>,
    optimizer: &COptimizer,
    indices: &[i64],
) -> Result<(f64, u64), TrainingError> {
    let indices = Tensor::f_from_slice(indices).map_err(doing("draw images"))?;
    let (images, labels) = samples.batch(&indices)?;
    let answers = network.forward(&images, Mode::Training { momentum: STATISTICS_MOMENTUM })?;
    let computed = loss(&answers, &labels, teacher, &indices).and_then(|loss| {
        optimizer.zero_grad()?;
        loss.f_backward()?;
        optimizer.step()?;
        Ok((loss.f_double_value(&[])?, count_right(&answers, &labels)?))
    });
    computed.map_err(doing("train"))
}

/// Cross-entropy; with a teacher `0.3 CE + 0.7 T^2 KL(teacher || network)` on answers softened by T.
fn loss(
    answers: &Tensor,
    labels: &Tensor,
    teacher: Option<&Teacher>,
    indices: &Tensor,
) -> Result<Tensor, TchError> {
    let by_label = cross_entropy(answers, labels)?;
    let Some(teacher) = teacher else { return Ok(by_label) };
    let softened = |answers: &Tensor| answers.f_div_scalar(TEMPERATURE)?.f_log_softmax(-1, Kind::Float);
    let wanted = softened(&teacher.answers.f_index_select(0, indices)?)?;
    // `kl_div` by its own mean would divide by classes as well: sum, then divide by images.
    let divergence = softened(answers)?.f_kl_div(&wanted, Reduction::Sum, true)?;
    let images = indices.numel() as f64;
    let by_teacher = divergence.f_mul_scalar((1.0 - LABEL_SHARE) * TEMPERATURE * TEMPERATURE / images)?;
    by_label.f_mul_scalar(LABEL_SHARE)?.f_add(&by_teacher)
}

/// Mean cross-entropy of `answers` (logits) against `labels`.
pub(crate) fn cross_entropy(answers: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
    answers.f_cross_entropy_loss::<Tensor>(labels, None, Reduction::Mean, -100, 0.0)
}

/// What is logged while training runs.
struct Progress<'a> {
    phase: &'a str,
    epochs: usize,
    steps: usize,
    steps_done: usize,
    started: Instant,
    logged: Instant,
    loss: f64,
    right: u64,
    seen: usize,
}

impl<'a> Progress<'a> {
    fn new(phase: &'a str, epochs: usize, steps_per_epoch: usize) -> Self {
        let now = Instant::now();
        let steps = epochs * steps_per_epoch;
        Self { phase, epochs, steps, steps_done: 0, started: now, logged: now, loss: 0.0, right: 0, seen: 0 }
    }

    fn step(&mut self, epoch: usize, loss: f64, right: u64, images: usize) {
        self.steps_done += 1;
        self.seen += images;
        self.right += right;
        self.loss += loss * images as f64;
        if self.logged.elapsed() > PROGRESS_INTERVAL {
            self.log(epoch, "training");
        }
    }

    fn epoch(&mut self, epoch: usize) {
        self.log(epoch, "epoch finished");
        (self.loss, self.right, self.seen) = (0.0, 0, 0);
    }

    fn log(&mut self, epoch: usize, message: &str) {
        self.logged = Instant::now();
        let seen = self.seen.max(1) as f64;
        let elapsed = self.started.elapsed().as_secs_f64();
        let left = elapsed / self.steps_done.max(1) as f64 * (self.steps - self.steps_done) as f64;
        tracing::info!(
            phase = self.phase,
            epoch,
            epochs = self.epochs,
            step = self.steps_done,
            steps = self.steps,
            loss = format!("{:.4}", self.loss / seen),
            accuracy = format!("{:.4}", self.right as f64 / seen),
            seconds_left = left.round(),
            "{message}"
        );
    }
}
