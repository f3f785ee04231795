//! `run`: a pruning plan from beginning to end. Each finished step is kept; one that is found is not done again, and a
//! finished plan is only reported.

use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use dnnshifter_network::Network;
use dnnshifter_portfolio::{Fraction, PruningOutcome, PruningPlan};
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
        Study, Trained,
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
    let (revision, maximum) = (plan.revision.clone(), usize::from(plan.maximum_variants));
    let steps = Steps { checkpoints, training_revision: plan.training_revision.clone() };
    if let Some(made) = steps.finished(&revision).await? {
        return Ok(made);
    }
    let model = read_file(Path::new(&plan.model.path))?.into();
    let plan = plan.clone();
    let (study, network) = blocking(move || Ok(Study::prepare(plan, model)?)).await?;
    let study = Arc::new(study);

    let networks = steps.networks(&study, network, maximum).await?;
    let models: Vec<Bytes> = networks.iter().map(|trained| trained.network.write().into()).collect();
    let choice = blocking(move || Ok(study.choose(&networks)?)).await?;
    steps.keep(CHOICE, &choice, Bytes::new()).await?;
    let variant = |chosen: &Chosen| Some(chosen.to_variant(&revision, models.get(chosen.position)?.clone()));
    let variants = choice.chosen.iter().filter_map(variant).collect();
    Ok(Made { choice, variants })
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
            let step = phase(chosen.position);
            let Some((_, model)) = self.find::<TrainedFacts>(&step).await? else { return Ok(None) };
            variants.push(chosen.to_variant(revision, model));
        }
        Ok(Some(Made { choice, variants }))
    }

    /// The dense network and the smaller ones, each made from the one before it.
    async fn networks(
        &self,
        study: &Arc<Study>,
        network: Network,
        maximum: usize,
    ) -> Result<Vec<Trained>, Failure> {
        let dense = if let Some(found) = self.trained(0).await? {
            found
        } else {
            let study = study.clone();
            self.keep_trained(0, blocking(move || Ok(study.train_dense(&network)?)).await?).await?
        };
        let mut networks = vec![dense.clone()];
        let mut larger = dense;
        while networks.len() < maximum && study.is_accurate(&larger) {
            let Some(next) = self.next(study, &larger, networks.len()).await? else { break };
            networks.push(next.clone());
            larger = next;
        }
        Ok(networks)
    }

    async fn next(
        &self,
        study: &Arc<Study>,
        larger: &Trained,
        position: usize,
    ) -> Result<Option<Trained>, Failure> {
        if let Some(found) = self.trained(position).await? {
            return Ok(Some(found));
        }
        let (study, larger) = (study.clone(), larger.clone());
        match blocking(move || Ok(study.next_variant(&larger, position)?)).await? {
            Some(made) => Ok(Some(self.keep_trained(position, made).await?)),
            None => Ok(None),
        }
    }

    async fn trained(&self, position: usize) -> Result<Option<Trained>, Failure> {
        let step = phase(position);
        let Some((facts, model)) = self.find::<TrainedFacts>(&step).await? else { return Ok(None) };
        let network =
            Network::read(model).map_err(|source| Failure::Model { name: self.tag(&step), source })?;
        Ok(Some(Trained { network, accuracy: facts.validation_accuracy, curve: facts.curve }))
    }

    async fn keep_trained(&self, position: usize, trained: Trained) -> Result<Trained, Failure> {
        let facts = TrainedFacts { validation_accuracy: trained.accuracy, curve: trained.curve.clone() };
        self.keep(&phase(position), &facts, trained.network.write().into()).await?;
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
