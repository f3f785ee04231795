//! Trains a network: SGD with Nesterov momentum and a one-cycle learning rate, on cross-entropy, or by [`distillation`] from a
//! teacher. Measures accuracy. Knows no ONNX, no pruning.

use dnnshifter_portfolio::plan::Augmentation;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use tch::{COptimizer, Kind, Reduction, TchError, Tensor};

use crate::{
    interpreter::{InterpreterError, Mode, Role, TrainableNetwork},
    magnitude::Mask,
};

mod augment;
mod distillation;
mod one_cycle;
mod progress;
pub(crate) mod samples;
pub(crate) mod teacher;
mod weight_mask;

use one_cycle::OneCycle;
pub(crate) use progress::EpochResult;
use progress::{Progress, StepResult};
use samples::Samples;
use teacher::Teacher;
use weight_mask::WeightMask;

/// Momentum of the gradient, and of batch norm's running statistics; the usual values of image classification.
const MOMENTUM: f64 = 0.9;
const STATISTICS_MOMENTUM: f64 = 0.1;
/// For weights; scales, shifts and biases have none (He et al., "Bag of Tricks", 2019, section 3.1).
const WEIGHT_DECAY: f64 = 5e-4;
/// Batches over which running statistics are settled after training: their means change little after so many.
const SETTLING_BATCHES: usize = 16;
/// Images that are evaluated at a time.
const EVALUATION_BATCH: i64 = 250;

/// How to train.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) epochs: usize,
    /// Images a step.
    pub(crate) batch_size: usize,
    pub(crate) peak_learning_rate: f64,
    /// Decides the order of the images, and how they are changed.
    pub(crate) seed: u64,
    /// How images are changed while they are learnt from.
    pub(crate) augmentation: Augmentation,
    /// Which of the steps are done.
    pub(crate) span: Span,
}

/// A part of a training: the learning rate and the order of images are as if the rest were done as well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The first step that is done, from 0.
    pub(crate) first: usize,
    /// The step before which training ends; to the end if absent.
    pub(crate) end: Option<usize>,
}

impl Span {
    #[cfg(test)]
    const WHOLE: Self = Self { first: 0, end: None };

    fn contains(self, step: usize) -> bool {
        step >= self.first && self.end.is_none_or(|end| step < end)
    }
}

/// What is learnt, and how.
#[derive(Clone, Copy)]
pub(crate) struct Lesson<'a> {
    /// The name under which progress is logged.
    pub(crate) phase: &'a str,
    pub(crate) samples: &'a Samples,
    pub(crate) recipe: Recipe,
    /// Weights that stay zero.
    pub(crate) mask: Option<&'a Mask>,
    /// A trained network whose answers are learnt as well; it stays as it is.
    pub(crate) teacher: Option<&'a Teacher>,
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
        let answers = tch::no_grad(|| network.logits(&images, Mode::Evaluation))?;
        right += count_right(&answers, &labels).map_err(doing("compare answers"))?;
    }
    Ok((right, samples.len() as u64))
}

/// Mean cross-entropy of `answers` (logits) against `labels`.
pub(crate) fn cross_entropy(answers: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
    answers.f_cross_entropy_loss::<Tensor>(labels, None, Reduction::Mean, -100, 0.0)
}

fn count_right(answers: &Tensor, labels: &Tensor) -> Result<u64, TchError> {
    let equal = answers.f_argmax(-1, false)?.f_eq_tensor(labels)?;
    Ok(equal.f_sum(Kind::Int64)?.f_int64_value(&[])? as u64)
}

/// Trains `network`, and tells how each epoch went. Logs each epoch. Running statistics are those of the trained weights.
pub(crate) fn train(
    network: &TrainableNetwork,
    lesson: &Lesson<'_>,
) -> Result<Vec<EpochResult>, TrainingError> {
    let Lesson { phase, samples, recipe, mask, .. } = *lesson;
    let mask = mask.map(|mask| WeightMask::of(mask, network)).transpose().map_err(doing("mask weights"))?;
    let mut optimizer = optimizer(network).map_err(doing("make the optimizer"))?;
    let mut random = ChaCha8Rng::seed_from_u64(recipe.seed);
    let mut order: Vec<i64> = (0..samples.len() as i64).collect();
    let mut progress = Progress::new(phase, recipe, samples.len());
    let mut curve = Vec::new();
    let schedule = OneCycle::new(progress.steps(), recipe.peak_learning_rate);
    for epoch in 1..=recipe.epochs {
        order.shuffle(&mut random);
        // A rest of one image would have no variance to normalise by; the next epoch draws other rests.
        for indices in order.chunks_exact(recipe.batch_size.min(samples.len())) {
            if !recipe.span.contains(progress.steps_done()) {
                progress.skip();
                continue;
            }
            let learning_rate = schedule.learning_rate(progress.steps_done());
            optimizer.set_learning_rate(learning_rate).map_err(doing("set the learning rate"))?;
            let indices = Tensor::f_from_slice(indices).map_err(doing("draw images"))?;
            let Some(result) = lesson.step(network, &optimizer, &indices, &mut random)? else {
                return Err(TrainingError::Diverged { epoch, learning_rate: recipe.peak_learning_rate });
            };
            if let Some(mask) = &mask {
                mask.apply().map_err(doing("mask weights"))?;
            }
            progress.step(epoch, result);
        }
        curve.extend(progress.epoch(epoch));
    }
    if recipe.epochs > 0 {
        lesson.settle_statistics(network, &order)?;
    }
    Ok(curve)
}

fn optimizer(network: &TrainableNetwork) -> Result<COptimizer, TchError> {
    let mut optimizer = COptimizer::sgd(0.0, MOMENTUM, 0.0, 0.0, true)?;
    for parameter in network.parameters().values() {
        match parameter.role {
            Role::Weight => optimizer.add_parameters(&parameter.tensor, 0)?,
            Role::Offset => optimizer.add_parameters(&parameter.tensor, 1)?,
            Role::Statistic | Role::Fixed => {}
        }
    }
    optimizer.set_weight_decay_group(0, WEIGHT_DECAY)?;
    Ok(optimizer)
}

impl Lesson<'_> {
    /// One step; `None` if what it makes smaller is no number any more.
    fn step(
        &self,
        network: &TrainableNetwork,
        optimizer: &COptimizer,
        indices: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Option<StepResult>, TrainingError> {
        let augmentation = self.recipe.augmentation;
        let (images, labels) = if augmentation == Augmentation::default() {
            self.samples.batch(indices)?
        } else {
            self.samples.augmented_batch(indices, augmentation, random)?
        };
        let taught = self.teacher.map(|teacher| teacher.answers(&images, indices)).transpose()?;
        let answers = network.logits(&images, Mode::Training { momentum: STATISTICS_MOMENTUM })?;
        let computed = cross_entropy(&answers, &labels).and_then(|cross_entropy| {
            let minimised = match &taught {
                Some(taught) => distillation::loss(&cross_entropy, &answers, taught)?,
                None => cross_entropy.shallow_clone(),
            };
            optimizer.zero_grad()?;
            minimised.f_backward()?;
            optimizer.step()?;
            let (images, right) = (indices.numel(), count_right(&answers, &labels)?);
            let result =
                StepResult { images, right, loss: cross_entropy.f_double_value(&[])? * images as f64 };
            Ok(minimised.f_double_value(&[])?.is_finite().then_some(result))
        });
        computed.map_err(doing("train"))
    }

    /// Replaces running statistics, which trail behind the weights, by means over some batches with the weights as they are
    /// now (Wu and Johnson, "Rethinking 'Batch' in `BatchNorm`", 2021, section 3).
    fn settle_statistics(&self, network: &TrainableNetwork, order: &[i64]) -> Result<(), TrainingError> {
        let batches = order.chunks_exact(self.recipe.batch_size.min(order.len())).take(SETTLING_BATCHES);
        for (number, indices) in (1..).zip(batches) {
            let indices = Tensor::f_from_slice(indices).map_err(doing("draw images"))?;
            let (images, _) = self.samples.batch(&indices)?;
            // The n-th batch counts 1/n: all count alike in the end.
            let mode = Mode::Training { momentum: 1.0 / f64::from(number) };
            let _answers = tch::no_grad(|| network.forward(&images, mode))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dnnshifter_network::Network;
    use dnnshifter_portfolio::{
        Fraction,
        plan::{IterativeMagnitude, Normalization},
    };

    use super::{teacher::Answers, *};
    use crate::{
        architecture::{Architecture, Blueprint},
        data::{LabelledImages, Pixels},
    };

    /// Two classes: bright above, or bright below.
    fn samples() -> Samples {
        let labels: Vec<u16> = (0..64).map(|image| image % 2).collect();
        let pixel = |label: u16, place: usize| if (place < 32) == (label == 0) { 200 } else { 50 };
        let pixels = labels.iter().flat_map(|&label| (0..64).map(move |place| pixel(label, place))).collect();
        let pixels = Pixels::Bytes(pixels);
        let half = Fraction::parse("0.5").unwrap();
        let images = LabelledImages { shape: [1, 8, 8], pixels, labels };
        Samples::new(&images, Normalization { mean: half, deviation: half }).unwrap()
    }

    fn network() -> Network {
        let (width, input) = ("1/8".parse().unwrap(), "1x8x8".parse().unwrap());
        Blueprint { architecture: Architecture::Vgg16, width, input, classes: 2, seed: 1 }.build().unwrap()
    }

    fn recipe(peak_learning_rate: f64) -> Recipe {
        Recipe {
            epochs: 6,
            batch_size: 16,
            peak_learning_rate,
            seed: 1,
            augmentation: Augmentation::default(),
            span: Span::WHOLE,
        }
    }

    fn lesson<'a>(samples: &'a Samples, recipe: Recipe, mask: Option<&'a Mask>) -> Lesson<'a> {
        Lesson { phase: "test", samples, recipe, mask, teacher: None }
    }

    #[test]
    fn a_network_learns_what_can_be_learnt() {
        let (samples, trainable) = (samples(), TrainableNetwork::of(&network()).unwrap());
        let recipe = recipe(0.05);
        train(&trainable, &lesson(&samples, recipe, None)).unwrap();
        assert_eq!(evaluate(&trainable, &samples).unwrap(), (64, 64));
    }

    #[test]
    fn masked_weights_stay_zero_and_the_rest_learns() {
        let (samples, network) = (samples(), network());
        let method = IterativeMagnitude { densities: vec![], rewind_steps: 0, keep_last_layer: true };
        let mask = Mask::of(&network, &method, Fraction::parse("0.5").unwrap()).unwrap();
        let trainable = TrainableNetwork::of(&mask.applied(&network).unwrap()).unwrap();
        let lesson = lesson(&samples, recipe(0.05), Some(&mask));
        train(&trainable, &lesson).unwrap();
        assert_eq!(evaluate(&trainable, &samples).unwrap(), (64, 64));
        let trained = trainable.to_network().unwrap();
        for (name, masked) in mask.tensors() {
            let values = trained.float(name).unwrap().unwrap();
            let zero = |value: &f32| value.to_bits() == 0;
            assert!(
                values.values().iter().zip(masked).all(|(value, &masked)| !masked || zero(value)),
                "{name}"
            );
        }
        assert_ne!(
            trained.float("stage1.1.conv.weight").unwrap(),
            network.float("stage1.1.conv.weight").unwrap()
        );
    }

    #[test]
    fn a_training_in_two_parts_does_each_step_once() {
        let (samples, trainable) = (samples(), TrainableNetwork::of(&network()).unwrap());
        let part = |span| {
            let recipe = Recipe { span, ..recipe(0.05) };
            train(&trainable, &lesson(&samples, recipe, None)).unwrap().len()
        };
        // Six epochs of four steps, cut in the middle of the second.
        assert_eq!(part(Span { first: 0, end: Some(6) }), 2);
        assert_eq!(part(Span { first: 6, end: None }), 5);
        assert_eq!(evaluate(&trainable, &samples).unwrap(), (64, 64));
    }

    /// What `network` becomes when it learns from `teacher` as well.
    fn taught(network: &Network, teacher: &Network) -> Network {
        let (samples, trainable) = (samples(), TrainableNetwork::of(network).unwrap());
        let teacher = Teacher::Asked(Box::new(TrainableNetwork::of(teacher).unwrap()));
        let lesson = lesson(&samples, recipe(0.05), None);
        train(&trainable, &Lesson { teacher: Some(&teacher), ..lesson }).unwrap();
        let Teacher::Asked(teacher) = teacher else { unreachable!("it was made so") };
        assert_eq!(teacher.to_network().unwrap().write(), teacher_of(&samples).write(), "it learns nothing");
        trainable.to_network().unwrap()
    }

    #[test]
    fn a_teacher_that_is_asked_once_teaches_the_same() {
        tch::set_num_threads(1);
        let samples = samples();
        let network_of_teacher = teacher_of(&samples);
        let asked = || TrainableNetwork::of(&network_of_teacher).unwrap();
        let noted = Teacher::noted(&Answers::of(&asked(), &samples).unwrap()).unwrap();
        let asked = Teacher::Asked(Box::new(asked()));
        let indices = Tensor::from_slice(&[40_i64, 3, 17, 63, 0, 8]);
        let images = samples.batch(&indices).unwrap().0;
        let answers = |teacher: &Teacher| teacher.answers(&images, &indices).unwrap();
        let (live, kept) = (answers(&asked), answers(&noted));
        assert!(live.allclose(&kept, 1e-4, 1e-5, false), "{live:?} {kept:?}");
        // A small network, so that rounding does not grow over the steps.
        let learnt = |teacher: &Teacher| {
            let trainable = TrainableNetwork::of(&network()).unwrap();
            let recipe = Recipe { epochs: 1, ..recipe(0.01) };
            let lesson = Lesson { teacher: Some(teacher), ..lesson(&samples, recipe, None) };
            train(&trainable, &lesson).unwrap()[0]
        };
        let (live, kept) = (learnt(&asked), learnt(&noted));
        assert!((live.loss - kept.loss).abs() < 1e-3 * live.loss, "{live:?} {kept:?}");
    }

    /// A network that has learnt.
    fn teacher_of(samples: &Samples) -> Network {
        let trainable = TrainableNetwork::of(&network()).unwrap();
        train(&trainable, &lesson(samples, recipe(0.05), None)).unwrap();
        trainable.to_network().unwrap()
    }

    #[test]
    fn a_taught_network_comes_to_the_same_again_though_its_teacher_was_read_from_a_file() {
        tch::set_num_threads(1);
        let (samples, pupil) = (samples(), network());
        let teacher = teacher_of(&samples);
        let read = Network::read(teacher.write().into()).unwrap();
        let (first, second) = (taught(&pupil, &teacher), taught(&pupil, &read));
        assert_eq!(first.write(), second.write());
        let alone = TrainableNetwork::of(&pupil).unwrap();
        train(&alone, &lesson(&samples, recipe(0.05), None)).unwrap();
        assert_ne!(first.write(), alone.to_network().unwrap().write(), "the teacher changes what is learnt");
        assert_eq!(evaluate(&TrainableNetwork::of(&first).unwrap(), &samples).unwrap(), (64, 64));
    }

    #[test]
    fn the_loss_of_a_taught_network_is_comparable_with_that_of_others() {
        let (samples, pupil) = (samples(), TrainableNetwork::of(&network()).unwrap());
        // A teacher that is sure that all images are of one class: what is minimised is far from what the labels say.
        let wrong = Teacher::Noted(Tensor::from_slice(&[-40.0_f32, 40.0]).repeat([64]).view([64, 2]));
        let recipe = Recipe { epochs: 1, batch_size: 64, ..recipe(0.0) };
        let lesson = lesson(&samples, recipe, None);
        let loss = |lesson: &Lesson<'_>| train(&pupil, lesson).unwrap()[0].loss;
        let (alone, taught) = (loss(&lesson), loss(&Lesson { teacher: Some(&wrong), ..lesson }));
        assert!((alone - taught).abs() < 1e-5, "{alone} {taught}");
    }

    #[test]
    fn a_rate_that_is_far_too_high_is_said() {
        let (samples, trainable) = (samples(), TrainableNetwork::of(&network()).unwrap());
        let recipe = recipe(1e30);
        let failed = train(&trainable, &lesson(&samples, recipe, None)).unwrap_err();
        assert!(failed.to_string().contains("choose a smaller learningRate"), "{failed}");
    }
}
