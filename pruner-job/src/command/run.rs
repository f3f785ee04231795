//! `run`: a pruning plan from beginning to end. Each finished step is kept; one that is found is not done again, and a
//! finished plan is only reported.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use dnnshifter_network::Network;
use dnnshifter_portfolio::{Fraction, PruningOutcome, PruningPlan};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    blocking,
    checkpoint::{Checkpoint, Checkpoints},
    command::RunArguments,
    failure::{Failure, read_file},
    plan,
    publish::{Publisher, Target},
    study::{Chosen, Study, Trained},
    variant::{Variant, read_folder, write_folder},
};

/// What a training step leaves beside its network.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrainedFacts {
    validation_accuracy: Fraction,
}

/// Runs the plan. The outcome is that of publishing; `None` if the variants went into a folder.
pub(crate) async fn execute(arguments: &RunArguments) -> Result<Option<PruningOutcome>, Failure> {
    let plan = plan::read(&arguments.plan)?;
    if let Some(folder) = &arguments.output {
        let checkpoints = arguments.checkpoints.as_deref().map_or(Checkpoints::None, Checkpoints::Folder);
        return into_folder(plan, &checkpoints, folder).await.map(|()| None);
    }
    let publisher = Publisher::new(Target {
        repository: &plan.publish.repository,
        runtime_image: &plan.publish.runtime_image,
        plain_http: plan.publish.plain_http,
        plain_http_registries: &arguments.plain_http_registries,
        credentials: arguments.registry_config.clone(),
    })?;
    if let Some(outcome) = publisher.published(&plan.revision).await? {
        tracing::info!(revision = plan.revision, "already published: nothing to do");
        return Ok(Some(outcome));
    }
    let folder = arguments.checkpoints.as_deref();
    let checkpoints = folder.map_or(Checkpoints::Registry(&publisher), Checkpoints::Folder);
    let revision = plan.revision.clone();
    let variants = variants(plan, &checkpoints).await?;
    Ok(Some(publisher.publish(&revision, &variants).await?))
}

async fn into_folder(plan: PruningPlan, checkpoints: &Checkpoints<'_>, folder: &Path) -> Result<(), Failure> {
    let revision = plan.revision.clone();
    if read_folder(folder).is_ok_and(|(manifest, _)| manifest.revision == revision) {
        tracing::info!(revision, "already written: nothing to do");
        return Ok(());
    }
    let variants = variants(plan, checkpoints).await?;
    write_folder(folder, &revision, &variants)?;
    tracing::info!(folder = %folder.display(), variants = variants.len(), "variants written");
    Ok(())
}

/// All variants of the plan, from finished steps as far as there are any.
async fn variants(plan: PruningPlan, checkpoints: &Checkpoints<'_>) -> Result<Vec<Variant>, Failure> {
    let (revision, maximum) = (plan.revision.clone(), usize::from(plan.maximum_variants));
    let steps = Steps { checkpoints, training_revision: plan.training_revision.clone() };
    if let Some(variants) = steps.finished(&revision).await? {
        return Ok(variants);
    }
    let model = read_file(Path::new(&plan.model.path))?.into();
    let (study, network) = blocking(move || Ok(Study::prepare(plan, model)?)).await?;
    let study = Arc::new(study);

    let networks = steps.networks(&study, network, maximum).await?;
    let models: Vec<Bytes> = networks.iter().map(|trained| trained.network.write().into()).collect();
    let chosen = blocking(move || Ok(study.choose(&networks)?)).await?;
    steps.keep(CHOICE, &chosen, Bytes::new()).await?;
    let variant = |chosen: Chosen| {
        let model = models.get(chosen.position)?.clone();
        Some(chosen.into_variant(&revision, model))
    };
    Ok(chosen.into_iter().filter_map(variant).collect())
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
    async fn finished(&self, revision: &str) -> Result<Option<Vec<Variant>>, Failure> {
        let Some((chosen, _)) = self.find::<Vec<Chosen>>(CHOICE).await? else { return Ok(None) };
        let mut variants = Vec::new();
        for chosen in chosen {
            let step = trained_step(chosen.position);
            let Some((_, model)) = self.find::<TrainedFacts>(&step).await? else { return Ok(None) };
            variants.push(chosen.into_variant(revision, model));
        }
        Ok(Some(variants))
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
        let step = trained_step(position);
        let Some((facts, model)) = self.find::<TrainedFacts>(&step).await? else { return Ok(None) };
        let network =
            Network::read(model).map_err(|source| Failure::Model { name: self.tag(&step), source })?;
        Ok(Some(Trained { network, accuracy: facts.validation_accuracy }))
    }

    async fn keep_trained(&self, position: usize, trained: Trained) -> Result<Trained, Failure> {
        let facts = TrainedFacts { validation_accuracy: trained.accuracy };
        self.keep(&trained_step(position), &facts, trained.network.write().into()).await?;
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

fn trained_step(position: usize) -> String {
    if position == 0 { "dense".to_owned() } else { format!("variant-{position}") }
}
