//! Trains a network: SGD with Nesterov momentum and a one-cycle learning rate, on cross-entropy or, for variants, on what a
//! larger network answers as well. Measures accuracy. Knows no ONNX, no pruning.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use tch::{COptimizer, Kind, TchError, Tensor};

use crate::interpreter::{InterpreterError, Mode, Role, TrainableNetwork};

mod one_cycle;
mod progress;
pub(crate) mod samples;
pub(crate) mod teacher;

use one_cycle::OneCycle;
use progress::{Progress, StepResult};
use samples::Samples;
use teacher::{Teacher, cross_entropy};

/// Momentum of the gradient, and of batch norm's running statistics; the usual values of image classification.
const MOMENTUM: f64 = 0.9;
const STATISTICS_MOMENTUM: f64 = 0.1;
/// For weights; scales, shifts and biases have none (He et al., "Bag of Tricks", 2019, section 3.1).
const WEIGHT_DECAY: f64 = 5e-4;
/// Images that are evaluated at a time.
const EVALUATION_BATCH: i64 = 250;

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

/// What is learnt, and how.
#[derive(Clone, Copy)]
pub(crate) struct Lesson<'a> {
    /// The name under which progress is logged.
    pub(crate) phase: &'a str,
    pub(crate) samples: &'a Samples,
    /// The answers of a larger network, to learn from them as well.
    pub(crate) teacher: Option<&'a Teacher>,
    pub(crate) recipe: Recipe,
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

pub(super) fn doing(action: &'static str) -> impl Fn(TchError) -> TrainingError {
    move |source| TrainingError::Tensor { action, source }
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

/// Trains `network`. Logs each epoch.
pub(crate) fn train(network: &TrainableNetwork, lesson: &Lesson<'_>) -> Result<(), TrainingError> {
    let Lesson { phase, samples, recipe, .. } = *lesson;
    let mut optimizer = optimizer(network).map_err(doing("make the optimizer"))?;
    let mut random = ChaCha8Rng::seed_from_u64(recipe.seed);
    let mut order: Vec<i64> = (0..samples.len() as i64).collect();
    let mut progress = Progress::new(phase, recipe, samples.len());
    let schedule = OneCycle::new(progress.steps(), recipe.peak_learning_rate);
    for epoch in 1..=recipe.epochs {
        order.shuffle(&mut random);
        // A rest of one image would have no variance to normalise by; the next epoch draws other rests.
        for indices in order.chunks_exact(recipe.batch_size.min(samples.len())) {
            let learning_rate = schedule.learning_rate(progress.steps_done());
            optimizer.set_learning_rate(learning_rate).map_err(doing("set the learning rate"))?;
            let indices = Tensor::f_from_slice(indices).map_err(doing("draw images"))?;
            let result = lesson.step(network, &optimizer, &indices)?;
            if !result.loss.is_finite() {
                return Err(TrainingError::Diverged { epoch, learning_rate: recipe.peak_learning_rate });
            }
            progress.step(epoch, result);
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

impl Lesson<'_> {
    fn step(
        &self,
        network: &TrainableNetwork,
        optimizer: &COptimizer,
        indices: &Tensor,
    ) -> Result<StepResult, TrainingError> {
        let (images, labels) = self.samples.batch(indices)?;
        let answers = network.forward(&images, Mode::Training { momentum: STATISTICS_MOMENTUM })?;
        let computed = cross_entropy(&answers, &labels).and_then(|by_label| {
            let loss = match self.teacher {
                Some(teacher) => teacher.loss(&answers, &by_label, indices)?,
                None => by_label,
            };
            optimizer.zero_grad()?;
            loss.f_backward()?;
            optimizer.step()?;
            let (images, right) = (indices.numel(), count_right(&answers, &labels)?);
            Ok(StepResult { images, right, loss: loss.f_double_value(&[])? * images as f64 })
        });
        computed.map_err(doing("train"))
    }
}
