//! The steps of a pruning plan as computations: train the dense network, make the next smaller one, choose among them.
//! Blocking and without network; [`crate::command::run`] does the steps in order and keeps what each has made.
//!
//! [`inspection`] looks at the model before any work starts, [`choosing`] at what was made in the end, [`choice`] is what that
//! came to.

use std::sync::OnceLock;

use bytes::Bytes;
use dnnshifter_network::{Network, network::InvalidModel};
use dnnshifter_portfolio::{
    Fraction, PruningPlan,
    name::InvalidVariantName,
    plan::{Augmentation, IterativeMagnitude, PruningMethod, StructuredPruning},
};

use crate::{
    data::{self, DataError, Dataset, Division, LabelledImages},
    describe::DescribeError,
    engine::{Engine, EngineError},
    interpreter::TrainableNetwork,
    magnitude::{MagnitudeError, Mask},
    structured::{Pruner, StructuredError},
    training::{
        EpochResult, Lesson, Recipe, Span, TrainingError, evaluate,
        samples::Samples,
        teacher::{Answers, Teacher},
        train,
    },
};

pub(crate) mod choice;
mod choosing;
pub(crate) mod inspection;

pub(crate) use inspection::UnusableModel;

/// Everything that the steps of one plan share.
pub(crate) struct Study {
    plan: PruningPlan,
    dataset: Dataset,
    engine: Engine,
    /// What the dense network answers to the training images, once a smaller one learns from it.
    answers: OnceLock<Answers>,
}

/// A trained network and its accuracy on the validation split.
#[derive(Clone)]
pub(crate) struct Trained {
    pub(crate) network: Network,
    pub(crate) accuracy: Fraction,
    /// How training went.
    pub(crate) curve: Vec<EpochResult>,
}

/// The networks that the next one is made from.
#[derive(Clone)]
pub(crate) struct Predecessors {
    /// What training starts from: the network as it is given, or as it was early.
    pub(crate) start: Network,
    /// The trained network of full size, from whose answers smaller ones learn.
    pub(crate) dense: Trained,
    /// The one before.
    pub(crate) larger: Trained,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StudyError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("the model \"{path}\" cannot be used")]
    Model { path: String, source: UnusableModel },
    #[error(
        "method.iterativeMagnitude.rewindSteps is {rewind_steps}, but the whole training has {steps} steps ({epochs} epochs of {images} images, {batch_size} a step): rewind to an earlier one, or train for more epochs"
    )]
    Rewind { rewind_steps: u32, steps: usize, epochs: u16, images: usize, batch_size: u16 },
    #[error(transparent)]
    Structured(#[from] StructuredError),
    #[error(transparent)]
    Magnitude(#[from] MagnitudeError),
    #[error(transparent)]
    Training(#[from] TrainingError),
    #[error(transparent)]
    Describe(#[from] DescribeError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("failed to remove what is dead in a trained network")]
    Compaction(#[source] InvalidModel),
    #[error(transparent)]
    Name(#[from] InvalidVariantName),
    #[error(
        "no variant reaches minimumAccuracy {wanted}: the best has {best} on the validation split; train for more epochs, on more images, or ask for less"
    )]
    NotAccurate { wanted: Fraction, best: Fraction },
}

/// Fine-tuning starts from good weights: a smaller peak than from none.
const FINE_TUNING_RATE: f64 = 0.4;

impl Study {
    /// Reads the data and checks that model, data and method fit each other, before any work starts.
    pub(crate) fn prepare(plan: PruningPlan, model: Bytes) -> Result<(Self, Network), StudyError> {
        let network = inspection::usable(model, &plan)
            .map_err(|source| StudyError::Model { path: plan.model.path.clone(), source })?;
        let (images, test) = data::read(&plan.dataset, &network)?;
        let training = &plan.training;
        let division = Division {
            training: training.training_images.map(|count| count as usize),
            validation: training.validation_images as usize,
            seed: u64::from(training.seed),
        };
        let dataset = Dataset::divide(&images, test, division, &network)?;
        check_rewind(&plan, dataset.training.len())?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        // More threads than processors would wait for each other; libtorch counts those of the machine, not of the container.
        tch::set_num_threads(i32::try_from(threads).unwrap_or(1));
        let engine = Engine::load()?;
        tracing::info!(
            training_images = dataset.training.len(),
            validation_images = dataset.validation.len(),
            test_images = dataset.test.len(),
            threads,
            "plan prepared"
        );
        Ok((Self { plan, dataset, engine, answers: OnceLock::new() }, network))
    }

    /// The network that levels go back to, trained for its first steps; `None` if that is the network as it is given.
    pub(crate) fn train_early(&self, network: &Network) -> Result<Option<Trained>, StudyError> {
        let end = self.rewind_steps();
        if end == 0 {
            return Ok(None);
        }
        let recipe = Recipe { span: Span { first: 0, end: Some(end) }, ..self.recipe(0) };
        let samples = &self.samples(&self.dataset.training)?;
        self.trained(network, &Lesson { phase: EARLY, samples, recipe, mask: None, teacher: None }).map(Some)
    }

    /// Trains the whole network, from `start`: as it is given, or as it was early.
    pub(crate) fn train_dense(&self, start: &Network) -> Result<Trained, StudyError> {
        let samples = &self.samples(&self.dataset.training)?;
        self.trained(
            start,
            &Lesson { phase: &phase(0), samples, recipe: self.recipe(0), mask: None, teacher: None },
        )
    }

    /// Makes the network at `position` from those before it; `None` if there is no smaller one.
    pub(crate) fn next_variant(
        &self,
        from: &Predecessors,
        position: usize,
    ) -> Result<Option<Trained>, StudyError> {
        match &self.plan.method {
            PruningMethod::Structured(method) => self.next_smaller(method, from, position),
            PruningMethod::IterativeMagnitude(method) => self.next_level(method, from, position),
        }
    }

    fn next_smaller(
        &self,
        method: &StructuredPruning,
        Predecessors { dense, larger, .. }: &Predecessors,
        position: usize,
    ) -> Result<Option<Trained>, StudyError> {
        let samples = &self.samples(&self.dataset.training)?;
        let pruner = Pruner { engine: &self.engine, method, samples };
        let Some(smaller) = pruner.shrink(&larger.network)? else { return Ok(None) };
        let whole = self.recipe(position);
        let recipe = Recipe {
            epochs: usize::from(method.fine_tuning_epochs),
            peak_learning_rate: whole.peak_learning_rate * FINE_TUNING_RATE,
            ..whole
        };
        let phase = &phase(position);
        let teacher = if recipe.epochs > 0 { Some(self.teacher(&dense.network, samples)?) } else { None };
        let lesson = Lesson { phase, samples, recipe, mask: None, teacher: teacher.as_ref() };
        self.trained(&smaller, &lesson).map(Some)
    }

    /// The dense network as a teacher: it is asked anew only where images change, or where its answers are too many to keep.
    fn teacher(&self, dense: &Network, samples: &Samples) -> Result<Teacher, TrainingError> {
        if let Some(answers) = self.answers.get() {
            return Teacher::noted(answers);
        }
        let network = TrainableNetwork::of(dense)?;
        let changes = self.plan.training.augmentation.unwrap_or_default() != Augmentation::default();
        if changes || !Answers::are_few(samples.len(), dense.output().shape.iter().product()) {
            return Ok(Teacher::Asked(Box::new(network)));
        }
        let answers = Answers::of(&network, samples)?;
        Teacher::noted(self.answers.get_or_init(|| answers))
    }

    fn next_level(
        &self,
        method: &IterativeMagnitude,
        Predecessors { start, larger, .. }: &Predecessors,
        position: usize,
    ) -> Result<Option<Trained>, StudyError> {
        let whole = Fraction::nearest(1.0);
        let mut levels = method.densities.iter().copied().filter(|&density| density < whole);
        let Some(density) = levels.nth(position.saturating_sub(1)) else { return Ok(None) };
        let mask = Mask::of(&larger.network, method, density)?;
        let samples = &self.samples(&self.dataset.training)?;
        tracing::info!(%density, "weights masked");
        let (phase, recipe) = (&phase(position), self.recipe(position));
        let lesson = Lesson { phase, samples, recipe, mask: Some(&mask), teacher: None };
        self.trained(&mask.applied(start)?, &lesson).map(Some)
    }

    /// Whether `trained` is accurate enough to become a variant.
    pub(crate) fn is_accurate(&self, trained: &Trained) -> bool {
        trained.accuracy >= self.plan.minimum_accuracy
    }

    /// How many networks are made at most. Levels are all made, as each needs the one before it; then the best are chosen.
    pub(crate) fn most_networks(&self) -> usize {
        match &self.plan.method {
            PruningMethod::Structured(_) => usize::from(self.plan.maximum_variants),
            PruningMethod::IterativeMagnitude(method) => method.densities.len() + 1,
        }
    }

    fn rewind_steps(&self) -> usize {
        match &self.plan.method {
            PruningMethod::Structured(_) => 0,
            PruningMethod::IterativeMagnitude(method) => method.rewind_steps as usize,
        }
    }

    fn trained(&self, network: &Network, lesson: &Lesson<'_>) -> Result<Trained, StudyError> {
        let trainable = TrainableNetwork::of(network).map_err(TrainingError::from)?;
        let curve = train(&trainable, lesson)?;
        let network = trainable.to_network().map_err(TrainingError::from)?;
        let accuracy = accuracy(&network, &self.samples(&self.dataset.validation)?)?;
        tracing::info!(phase = lesson.phase, validation_accuracy = %accuracy, "network trained");
        Ok(Trained { network, accuracy, curve })
    }

    /// How a whole training of the plan goes, from the steps on that were done early.
    fn recipe(&self, position: usize) -> Recipe {
        let training = &self.plan.training;
        Recipe {
            epochs: usize::from(training.epochs),
            batch_size: usize::from(training.batch_size),
            peak_learning_rate: training.learning_rate.as_f64(),
            seed: u64::from(training.seed) + position as u64,
            augmentation: training.augmentation.unwrap_or_default(),
            span: Span { first: self.rewind_steps(), end: None },
        }
    }

    fn samples(&self, images: &LabelledImages) -> Result<Samples, TrainingError> {
        Samples::new(images, self.plan.dataset.normalization)
    }
}

/// The name of the step that makes the network that levels go back to.
pub(crate) const EARLY: &str = "early";

/// The name of the step that makes the network at `position`.
pub(crate) fn phase(position: usize) -> String {
    if position == 0 { "dense".to_owned() } else { format!("variant-{position}") }
}

fn check_rewind(plan: &PruningPlan, images: usize) -> Result<(), StudyError> {
    let PruningMethod::IterativeMagnitude(IterativeMagnitude { rewind_steps, .. }) = plan.method else {
        return Ok(());
    };
    let (epochs, batch_size) = (plan.training.epochs, plan.training.batch_size);
    let steps = usize::from(epochs) * (images / usize::from(batch_size).min(images).max(1));
    if (rewind_steps as usize) < steps {
        return Ok(());
    }
    Err(StudyError::Rewind { rewind_steps, steps, epochs, images, batch_size })
}

fn accuracy(network: &Network, samples: &Samples) -> Result<Fraction, TrainingError> {
    let (right, all) = evaluate(&TrainableNetwork::of(network)?, samples)?;
    Ok(Fraction::of(right, all))
}
