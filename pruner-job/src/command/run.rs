//! `run`: a pruning plan from beginning to end. Each finished step is kept; one that is found is not done again, and a
//! finished plan is only reported.

use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use dnnshifter_network::Network;
use dnnshifter_portfolio::{Fraction, PruningOutcome, PruningPlan, VariantName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    blocking,
    checkpoint::{Checkpoint, Checkpoints},
    command::RunArguments,
    durable,
    failure::{Failure, read_file},
    plan::{self, PlanError},
    publish::{Publisher, Target},
    report::{self, REPORT_FILE},
    study::{
        EARLY, Predecessors, Study, Trained,
        choice::{Choice, Chosen},
        phase,
    },
    training::EpochResult,
    variant::{Variant, read_folder, write_folder},
};

/// What a training step leaves beside its network.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrainedFacts {
    validation_accuracy: Fraction,
    /// Empty if an older release trained it.
    #[serde(default)]
    curve: Vec<EpochResult>,
}

/// What a plan came to.
struct Made {
    choice: Choice,
    variants: Vec<Variant>,
}

/// Runs the plan. The outcome is that of publishing; `None` if the variants went into a folder only.
pub(crate) async fn execute(arguments: &RunArguments) -> Result<Option<PruningOutcome>, Failure> {
    let plan = plan::read(&arguments.plan)?;
    let wanted = arguments.push || arguments.output.is_none();
    let publisher = if wanted { Some(publisher(&plan, arguments)?) } else { None };
    let earlier = match &publisher {
        Some(publisher) => publisher.published(&plan.revision).await?,
        None => None,
    };
    let folder = arguments.output.as_deref().filter(|folder| !is_written(folder, &plan.revision));
    if folder.is_none() && (earlier.is_some() || publisher.is_none()) {
        tracing::info!(revision = plan.revision, "already finished: nothing to do");
        return Ok(earlier);
    }
    let checkpoints = match (arguments.checkpoints.as_deref(), &publisher) {
        (Some(folder), _) => Checkpoints::Folder(folder),
        (None, Some(publisher)) => Checkpoints::Registry(publisher),
        (None, None) => Checkpoints::None,
    };
    let Made { choice, variants } = make(&plan, &checkpoints).await?;
    if let Some(folder) = folder {
        write(folder, &plan, &choice, &variants)?;
    }
    match (publisher, earlier) {
        (None, _) => Ok(None),
        (Some(_), Some(earlier)) => Ok(Some(earlier)),
        (Some(publisher), None) => Ok(Some(publisher.publish(&plan.revision, &variants).await?)),
    }
}

fn publisher(plan: &PruningPlan, arguments: &RunArguments) -> Result<Publisher, Failure> {
    let target = plan.publish.as_ref().ok_or(PlanError::NoTarget)?;
    Ok(Publisher::new(Target {
        repository: &target.repository,
        runtime_image: &target.runtime_image,
        plain_http: target.plain_http,
        plain_http_registries: &arguments.plain_http_registries,
        credentials: arguments.registry_config.clone(),
    })?)
}

fn is_written(folder: &Path, revision: &str) -> bool {
    read_folder(folder).is_ok_and(|(manifest, _)| manifest.revision == revision)
}

/// The report comes before the portfolio, which says that the folder is finished.
fn write(folder: &Path, plan: &PruningPlan, choice: &Choice, variants: &[Variant]) -> Result<(), Failure> {
    let path = folder.join(REPORT_FILE);
    let report = report::html(plan, choice);
    let written = fs::create_dir_all(folder).and_then(|()| durable::write(&path, report.as_bytes()));
    written.map_err(|source| Failure::Write { path, source })?;
    write_folder(folder, &plan.revision, variants)?;
    tracing::info!(folder = %folder.display(), variants = variants.len(), "variants and report written");
    Ok(())
}

/// All variants of the plan, from finished steps as far as there are any.
async fn make(plan: &PruningPlan, checkpoints: &Checkpoints<'_>) -> Result<Made, Failure> {
    let revision = plan.revision.clone();
    let steps = Steps { checkpoints, training_revision: plan.training_revision.clone() };
    if let Some(made) = steps.finished(&revision).await? {
        return Ok(made);
    }
    let model = read_file(Path::new(&plan.model.path))?.into();
    let plan = plan.clone();
    let (study, network) = blocking(move || Ok(Study::prepare(plan, model)?)).await?;
    let study = Arc::new(study);

    let networks = steps.networks(&study, network).await?;
    let (choice, models) = blocking(move || Ok(study.choose(&networks)?)).await?;
    for (chosen, model) in choice.chosen.iter().zip(&models) {
        steps.keep(&served(chosen), &chosen.description.name, model.clone()).await?;
    }
    steps.keep(CHOICE, &choice, Bytes::new()).await?;
    let variants =
        choice.chosen.iter().zip(models).map(|(chosen, model)| chosen.to_variant(&revision, model));
    let variants = variants.collect();
    Ok(Made { choice, variants })
}

/// The step that keeps the file of a variant.
fn served(chosen: &Chosen) -> String {
    format!("{}-served", phase(chosen.position))
}

/// The step that chooses among the networks; the others are numbered from the dense one on.
const CHOICE: &str = "choice";

/// The steps of one training revision.
struct Steps<'a> {
    checkpoints: &'a Checkpoints<'a>,
    training_revision: String,
}

impl Steps<'_> {
    /// The variants, if all steps are finished.
    async fn finished(&self, revision: &str) -> Result<Option<Made>, Failure> {
        let Some((choice, _)) = self.find::<Choice>(CHOICE).await? else { return Ok(None) };
        let mut variants = Vec::new();
        for chosen in &choice.chosen {
            let Some((_, model)) = self.find::<VariantName>(&served(chosen)).await? else { return Ok(None) };
            variants.push(chosen.to_variant(revision, model));
        }
        Ok(Some(Made { choice, variants }))
    }

    /// The dense network and the smaller ones, each made from the one before it.
    async fn networks(&self, study: &Arc<Study>, network: Network) -> Result<Vec<Trained>, Failure> {
        let start = self.start(study, network).await?;
        let dense = if let Some(found) = self.trained(&phase(0)).await? {
            found
        } else {
            let (study, start) = (study.clone(), start.clone());
            self.keep_trained(&phase(0), blocking(move || Ok(study.train_dense(&start)?)).await?).await?
        };
        let mut networks = vec![dense.clone()];
        let mut from = Predecessors { start, larger: dense.clone(), dense };
        while networks.len() < study.most_networks() && study.is_accurate(&from.larger) {
            let Some(next) = self.next(study, &from, networks.len()).await? else { break };
            networks.push(next.clone());
            from.larger = next;
        }
        Ok(networks)
    }

    /// The network that training starts from: as it is given, or as it was after its first steps.
    async fn start(&self, study: &Arc<Study>, network: Network) -> Result<Network, Failure> {
        if let Some(found) = self.trained(EARLY).await? {
            return Ok(found.network);
        }
        let (study, given) = (study.clone(), network.clone());
        match blocking(move || Ok(study.train_early(&given)?)).await? {
            Some(early) => Ok(self.keep_trained(EARLY, early).await?.network),
            None => Ok(network),
        }
    }

    async fn next(
        &self,
        study: &Arc<Study>,
        from: &Predecessors,
        position: usize,
    ) -> Result<Option<Trained>, Failure> {
        let step = phase(position);
        if let Some(found) = self.trained(&step).await? {
            return Ok(Some(found));
        }
        let (study, from) = (study.clone(), from.clone());
        match blocking(move || Ok(study.next_variant(&from, position)?)).await? {
            Some(made) => Ok(Some(self.keep_trained(&step, made).await?)),
            None => Ok(None),
        }
    }

    async fn trained(&self, step: &str) -> Result<Option<Trained>, Failure> {
        let Some((facts, model)) = self.find::<TrainedFacts>(step).await? else { return Ok(None) };
        let network = Network::read(model)
            .map_err(|source| Failure::Model { name: self.tag(step), source: source.into() })?;
        Ok(Some(Trained { network, accuracy: facts.validation_accuracy, curve: facts.curve }))
    }

    async fn keep_trained(&self, step: &str, trained: Trained) -> Result<Trained, Failure> {
        let facts = TrainedFacts { validation_accuracy: trained.accuracy, curve: trained.curve.clone() };
        self.keep(step, &facts, trained.network.write().into()).await?;
        Ok(trained)
    }

    async fn find<T: DeserializeOwned>(&self, step: &str) -> Result<Option<(T, Bytes)>, Failure> {
        let Some(found) = self.checkpoints.find(&self.tag(step)).await? else {
            return Ok(None);
        };
        match serde_json::from_slice(&found.facts) {
            Ok(facts) => {
                tracing::info!(step, "finished before: not done again");
                Ok(Some((facts, found.model)))
            }
            Err(error) => {
                tracing::warn!(step, %error, "a finished step of another release: done again");
                Ok(None)
            }
        }
    }

    async fn keep<T: Serialize>(&self, step: &str, facts: &T, model: Bytes) -> Result<(), Failure> {
        let facts = serde_json::to_vec(facts).map_err(Failure::Serialize)?.into();
        Ok(self.checkpoints.keep(&self.tag(step), &Checkpoint { facts, model }).await?)
    }

    fn tag(&self, step: &str) -> String {
        format!("checkpoint-{}-{step}", self.training_revision)
    }
}
