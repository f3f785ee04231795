//! Where the wanted variants come from, and by which revision they are known. Pure.

use dnnshifter_crds::model_portfolio::{
    Augmentation, DataFormat, ImportanceCriterion, IterativeMagnitudeMethod, ModelPortfolioSpec, Prune,
    PruneMethod, Published, StructuredMethod, TrainingOptions,
};
use dnnshifter_portfolio::{
    Digest, Fraction,
    digest::InvalidDigest,
    plan::{
        self, DatasetFormat, DatasetInput, IterativeMagnitude, ModelInput, Normalization, PLAN_VERSION,
        PruningMethod, PruningPlan, Publish, StructuredPruning, Training,
    },
};

use crate::hash::short_hash;

/// Where the Job finds the model's source.
pub(crate) const MODEL_MOUNT: &str = "/input/model";
/// Where the Job finds the data set's source.
pub(crate) const DATASET_MOUNT: &str = "/input/dataset";

/// Where the wanted variants come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// From a Job of ours.
    Prune(Box<PruneSource>),
    /// From a registry, pruned elsewhere.
    Published(PublishedSource),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PruneSource {
    pub(crate) plan: PruningPlan,
    pub(crate) spec: Prune,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishedSource {
    pub(crate) repository: String,
    pub(crate) digest: Digest,
    /// Of both: in another repository the same portfolio is another one, since nodes pull it from there.
    revision: String,
}

/// Why a specification cannot be worked on. The API server's rules keep all of this out, unless the CRDs are older.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidSource {
    #[error("spec.variants names no source: set one of prune and published")]
    Missing,
    #[error("spec.variants.published.image \"{image}\" is not repository@sha256:...")]
    Image {
        image: String,
        #[source]
        source: Option<InvalidDigest>,
    },
    #[error("spec.variants.prune.{field} is out of range: {value}")]
    Range { field: &'static str, value: String },
    #[error("spec.variants.prune.method: set exactly one of structured and iterativeMagnitude")]
    Method,
    #[error("failed to hash what training depends on")]
    Hash(#[from] serde_json::Error),
}

impl Source {
    pub(crate) fn parse(spec: &ModelPortfolioSpec, runtime_image: &str) -> Result<Self, InvalidSource> {
        match (&spec.variants.prune, &spec.variants.published) {
            (Some(prune), _) => {
                let plan = pruning_plan(prune, runtime_image)?;
                Ok(Self::Prune(Box::new(PruneSource { plan, spec: prune.clone() })))
            }
            (None, Some(published)) => Ok(Self::Published(PublishedSource::parse(published)?)),
            (None, None) => Err(InvalidSource::Missing),
        }
    }

    /// The name of the wanted portfolio: ten hex digits.
    pub(crate) fn revision(&self) -> &str {
        match self {
            Self::Prune(prune) => &prune.plan.revision,
            Self::Published(published) => &published.revision,
        }
    }

    /// The repository that holds the variants' images.
    pub(crate) fn repository(&self) -> &str {
        match self {
            Self::Prune(prune) => &prune.spec.publish.repository,
            Self::Published(published) => &published.repository,
        }
    }
}

impl PublishedSource {
    fn parse(published: &Published) -> Result<Self, InvalidSource> {
        let invalid = |source| InvalidSource::Image { image: published.image.clone(), source };
        let (repository, digest) = published.image.split_once('@').ok_or_else(|| invalid(None))?;
        let digest = Digest::parse(digest).map_err(|source| invalid(Some(source)))?;
        let revision = short_hash(&(repository, digest.as_str()))?;
        Ok(Self { repository: repository.to_owned(), digest, revision })
    }
}

/// What training depends on is hashed alone, so that a new runtime, which only packages anew, finds the trained steps again.
fn pruning_plan(prune: &Prune, runtime_image: &str) -> Result<PruningPlan, InvalidSource> {
    let Prune { model, dataset, method, training, minimum_accuracy, maximum_variants, job: _, publish } =
        prune;
    let training_revision =
        short_hash(&(model, dataset, method, training, minimum_accuracy, maximum_variants))?;
    let revision = short_hash(&(&training_revision, runtime_image, &publish.repository))?;
    Ok(PruningPlan {
        version: PLAN_VERSION.to_owned(),
        training_revision,
        revision,
        model: ModelInput { path: format!("{MODEL_MOUNT}/{}", model.path) },
        dataset: DatasetInput {
            path: if dataset.path.is_empty() {
                DATASET_MOUNT.to_owned()
            } else {
                format!("{DATASET_MOUNT}/{}", dataset.path)
            },
            format: match dataset.format {
                DataFormat::Idx => DatasetFormat::Idx,
                DataFormat::Npz => DatasetFormat::Npz,
                DataFormat::ImageFolder => DatasetFormat::ImageFolder,
            },
            normalization: Normalization {
                mean: dataset.normalization.mean,
                deviation: dataset.normalization.deviation,
            },
        },
        method: method_of(method)?,
        training: training_of(training)?,
        minimum_accuracy: *minimum_accuracy,
        maximum_variants: ranged("maximumVariants", *maximum_variants)?,
        publish: Some(Publish {
            repository: publish.repository.clone(),
            runtime_image: runtime_image.to_owned(),
            plain_http: publish.plain_http,
        }),
    })
}

fn method_of(method: &PruneMethod) -> Result<PruningMethod, InvalidSource> {
    match (&method.structured, &method.iterative_magnitude) {
        (Some(method), None) => Ok(PruningMethod::Structured(structured(method)?)),
        (None, Some(method)) => Ok(PruningMethod::IterativeMagnitude(iterative_magnitude(method)?)),
        (Some(_), Some(_)) | (None, None) => Err(InvalidSource::Method),
    }
}

fn iterative_magnitude(method: &IterativeMagnitudeMethod) -> Result<IterativeMagnitude, InvalidSource> {
    const FIELD: &str = "method.iterativeMagnitude.densities";
    let density = |text: &String| {
        Fraction::parse(text).map_err(|_| InvalidSource::Range { field: FIELD, value: text.clone() })
    };
    let mut densities = method.densities.iter().map(density).collect::<Result<Vec<_>, _>>()?;
    densities.sort_unstable_by(|a, b| b.cmp(a));
    Ok(IterativeMagnitude {
        densities,
        rewind_steps: ranged("method.iterativeMagnitude.rewindSteps", method.rewind_steps)?,
        keep_last_layer: method.keep_last_layer,
    })
}

fn structured(method: &StructuredMethod) -> Result<StructuredPruning, InvalidSource> {
    Ok(StructuredPruning {
        criterion: match method.criterion {
            ImportanceCriterion::Taylor => plan::ImportanceCriterion::Taylor,
            ImportanceCriterion::BatchNormScale => plan::ImportanceCriterion::BatchNormScale,
        },
        channel_multiple: ranged("method.structured.channelMultiple", method.channel_multiple)?,
        latency_ratio_hundredths: hundredths(&method.latency_ratio).ok_or_else(|| InvalidSource::Range {
            field: "method.structured.latencyRatio",
            value: method.latency_ratio.clone(),
        })?,
        fine_tuning_epochs: ranged("method.structured.fineTuningEpochs", method.fine_tuning_epochs)?,
    })
}

fn training_of(training: &TrainingOptions) -> Result<Training, InvalidSource> {
    Ok(Training {
        epochs: ranged("training.epochs", training.epochs)?,
        batch_size: ranged("training.batchSize", training.batch_size)?,
        learning_rate: training.learning_rate,
        seed: ranged("training.seed", training.seed)?,
        training_images: training
            .training_images
            .map(|images| ranged("training.trainingImages", images))
            .transpose()?,
        validation_images: ranged("training.validationImages", training.validation_images)?,
        augmentation: training.augmentation.map(augmentation).transpose()?,
    })
}

fn augmentation(augmentation: Augmentation) -> Result<plan::Augmentation, InvalidSource> {
    Ok(plan::Augmentation {
        horizontal_flip: augmentation.horizontal_flip,
        crop_padding: ranged("training.augmentation.cropPadding", augmentation.crop_padding)?,
    })
}

fn ranged<T: TryFrom<i32>>(field: &'static str, value: i32) -> Result<T, InvalidSource> {
    T::try_from(value).map_err(|_| InvalidSource::Range { field, value: value.to_string() })
}

/// `"1.5"` is 150.
fn hundredths(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let valid = digits.len() <= 2 && digits.chars().all(|c| c.is_ascii_digit());
    valid.then(|| format!("{whole}{digits:0<2}").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_registry_or_another_digest_is_another_revision() {
        let revision = |registry: &str, digit: &str| {
            let image = format!("{registry}/fashion@sha256:{}", digit.repeat(64));
            PublishedSource::parse(&Published { image }).unwrap().revision
        };
        assert_eq!(revision("registry.test", "1"), "648ec71f1e");
        assert_ne!(revision("registry.test", "1"), revision("mirror.test", "1"));
        assert_ne!(revision("registry.test", "1"), revision("registry.test", "2"));
    }

    fn method(json: serde_json::Value) -> Result<PruningMethod, InvalidSource> {
        method_of(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn densities_in_any_order_become_levels_that_fall() {
        let method = method(json!({"iterativeMagnitude": {"densities": ["0.01", "0.1", "0.03"]}})).unwrap();
        let densities = ["0.1", "0.03", "0.01"].map(|text| Fraction::parse(text).unwrap()).to_vec();
        let levels = IterativeMagnitude { densities, rewind_steps: 500, keep_last_layer: true };
        assert_eq!(method, PruningMethod::IterativeMagnitude(levels));
    }

    #[test]
    fn one_method_is_wanted_neither_none_nor_two() {
        for methods in [json!({}), json!({"structured": {}, "iterativeMagnitude": {}})] {
            assert!(matches!(method(methods), Err(InvalidSource::Method)));
        }
    }

    #[test]
    fn ratios_are_read_in_hundredths() {
        let read = ["1.5", "1.25", "2", "9.99", "1.234", "x"].map(hundredths);
        assert_eq!(read, [Some(150), Some(125), Some(200), Some(999), None, None]);
    }
}
