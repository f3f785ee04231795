//! The steps of a pruning plan as computations: train the dense network, make the next smaller one, choose among them.
//! Blocking and without network; [`crate::command::run`] does the steps in order and keeps what each has made.

use bytes::Bytes;
use dnnshifter_network::{Network, network::InvalidModel};
use dnnshifter_portfolio::{Fraction, PruningPlan, name::InvalidVariantName};

use crate::{
    data::{self, DataError, Dataset, Division, LabelledImages},
    describe::{DescribeError, Describer, Facts},
    engine::{Engine, EngineError},
    interpreter::TrainableNetwork,
    latency,
    plan::structured,
    selection::{Candidate, Wanted, choose, names},
    structured::{Pruner, StructuredError, least_ratio, prunable_groups},
    training::{EpochResult, Lesson, Recipe, TrainingError, evaluate, samples::Samples, train},
    variant::Variant,
};

pub(crate) mod choice;

use choice::{Choice, Chosen, Measured};

/// Everything that the steps of one plan share.
pub(crate) struct Study {
    plan: PruningPlan,
    dataset: Dataset,
    engine: Engine,
}

/// A trained network and its accuracy on the validation split.
#[derive(Clone)]
pub(crate) struct Trained {
    pub(crate) network: Network,
    pub(crate) accuracy: Fraction,
    /// How training went.
    pub(crate) curve: Vec<EpochResult>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StudyError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("the model \"{path}\" cannot be used")]
    Model { path: String, source: InvalidModel },
    #[error("the model \"{path}\" cannot be pruned")]
    Unprunable { path: String, source: StructuredError },
    #[error(transparent)]
    Structured(#[from] StructuredError),
    #[error(transparent)]
    Training(#[from] TrainingError),
    #[error(transparent)]
    Describe(#[from] DescribeError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Name(#[from] InvalidVariantName),
    #[error(
        "no variant reaches minimumAccuracy {wanted}: the best has {best} on the validation split; train for more epochs, on more images, or ask for less"
    )]
    NotAccurate { wanted: Fraction, best: Fraction },
}

/// Fine-tuning starts from good weights: a smaller peak than from none.
const FINE_TUNING_RATE: f64 = 0.4;
/// Validation images on which ONNX Runtime and the trained network are compared.
const PROOF_IMAGES: usize = 200;

impl Study {
    /// Reads the data and checks that model, data and method fit each other, before any work starts.
    pub(crate) fn prepare(plan: PruningPlan, model: Bytes) -> Result<(Self, Network), StudyError> {
        let path = || plan.model.path.clone();
        let network = Network::read(model).map_err(|source| StudyError::Model { path: path(), source })?;
        prunable_groups(&network).map_err(|source| StudyError::Unprunable { path: path(), source })?;
        let (images, test) = data::read(&plan.dataset, &network)?;
        let training = &plan.training;
        let division = Division {
            training: training.training_images.map(|count| count as usize),
            validation: training.validation_images as usize,
            seed: u64::from(training.seed),
        };
        let dataset = Dataset::divide(&images, test, division, &network)?;
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
        Ok((Self { plan, dataset, engine }, network))
    }

    /// Trains the network as it is given.
    pub(crate) fn train_dense(&self, network: &Network) -> Result<Trained, StudyError> {
        let recipe = self.recipe(usize::from(self.plan.training.epochs), 1.0, 0);
        let samples = &self.samples(&self.dataset.training)?;
        self.trained(network, &Lesson { phase: &phase(0), samples, recipe })
    }

    /// Makes a smaller network from `larger` and trains it; `None` if it cannot shrink.
    pub(crate) fn next_variant(
        &self,
        larger: &Trained,
        position: usize,
    ) -> Result<Option<Trained>, StudyError> {
        let samples = self.samples(&self.dataset.training)?;
        let method = structured(&self.plan);
        let pruner = Pruner { engine: &self.engine, method, samples: &samples };
        let Some(smaller) = pruner.shrink(&larger.network)? else { return Ok(None) };
        let recipe = self.recipe(usize::from(method.fine_tuning_epochs), FINE_TUNING_RATE, position);
        let phase = &phase(position);
        self.trained(&smaller, &Lesson { phase, samples: &samples, recipe }).map(Some)
    }

    /// Whether `trained` is accurate enough to become a variant.
    pub(crate) fn is_accurate(&self, trained: &Trained) -> bool {
        trained.accuracy >= self.plan.minimum_accuracy
    }

    /// Measures all networks in turns, chooses the variants, tests each of them once, and proves that their files are right.
    pub(crate) fn choose(&self, networks: &[Trained]) -> Result<Choice, StudyError> {
        let mut opened = Vec::new();
        for trained in networks {
            opened.push(self.engine.open(&trained.network.write(), trained.network.input())?);
        }
        let latencies = latency::measure(&mut opened)?;
        let candidate =
            |(trained, &latency_us): (&Trained, _)| Candidate { accuracy: trained.accuracy, latency_us };
        let candidates: Vec<Candidate> = networks.iter().zip(&latencies).map(candidate).collect();
        let chosen = choose(&candidates, self.wanted());
        for (position, candidate) in candidates.iter().enumerate() {
            let Candidate { accuracy, latency_us } = candidate;
            let becomes_variant = chosen.contains(&position);
            tracing::info!(position, validation_accuracy = %accuracy, latency_us, becomes_variant, "network measured");
        }
        if chosen.is_empty() {
            let best = candidates.iter().map(|candidate| candidate.accuracy).max().unwrap_or_default();
            return Err(StudyError::NotAccurate { wanted: self.plan.minimum_accuracy, best });
        }
        let measured =
            networks.iter().zip(&latencies).map(|(trained, &latency_us)| Measured::of(trained, latency_us));
        let measured = measured.collect::<Result<Vec<_>, _>>()?;
        Ok(Choice { chosen: self.described(networks, &measured, &chosen)?, measured })
    }

    fn described(
        &self,
        networks: &[Trained],
        measured: &[Measured],
        chosen: &[usize],
    ) -> Result<Vec<Chosen>, StudyError> {
        let macs: Vec<u64> = measured.iter().map(|measured| measured.macs).collect();
        let chosen_macs: Vec<u64> =
            chosen.iter().filter_map(|&position| macs.get(position).copied()).collect();
        let names = names(&chosen_macs, macs.first().copied().unwrap_or(0))?;
        let (test, validation) = (self.samples(&self.dataset.test)?, self.samples(&self.dataset.validation)?);
        let inputs = validation.inputs(PROOF_IMAGES)?;
        let mut described = Vec::new();
        for (&position, name) in chosen.iter().zip(names) {
            let (Some(trained), Some(measured)) = (networks.get(position), measured.get(position)) else {
                continue;
            };
            let latency_us = measured.latency_us;
            let accuracy = accuracy(&trained.network, &test)?;
            let facts = Facts { name, revision: self.plan.revision.clone(), accuracy, latency_us };
            let variant =
                Describer { engine: &self.engine, inputs: &inputs }.describe(&trained.network, facts)?;
            let Variant { description, latency_us, maximum_difference, model: _ } = variant;
            tracing::info!(variant = %description.name, test_accuracy = %accuracy, latency_us, maximum_difference, "variant proved");
            described.push(Chosen { position, description, latency_us, maximum_difference });
        }
        Ok(described)
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            minimum_accuracy: self.plan.minimum_accuracy,
            maximum_variants: usize::from(self.plan.maximum_variants),
            least_ratio: least_ratio(structured(&self.plan)),
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

    fn recipe(&self, epochs: usize, rate: f64, position: usize) -> Recipe {
        let training = &self.plan.training;
        Recipe {
            epochs,
            batch_size: usize::from(training.batch_size),
            peak_learning_rate: training.learning_rate.as_f64() * rate,
            seed: u64::from(training.seed) + position as u64,
            augmentation: training.augmentation.unwrap_or_default(),
        }
    }

    fn samples(&self, images: &LabelledImages) -> Result<Samples, TrainingError> {
        Samples::new(images, self.plan.dataset.normalization)
    }
}

/// The name of the step that makes the network at `position`.
pub(crate) fn phase(position: usize) -> String {
    if position == 0 { "dense".to_owned() } else { format!("variant-{position}") }
}

fn accuracy(network: &Network, samples: &Samples) -> Result<Fraction, TrainingError> {
    let (right, all) = evaluate(&TrainableNetwork::of(network)?, samples)?;
    Ok(Fraction::of(right, all))
}
