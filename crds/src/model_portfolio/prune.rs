//! `spec.variants.prune`: what is trained and pruned, and where the result goes.

use std::collections::BTreeMap;

use dnnshifter_portfolio::Fraction;
use k8s_openapi::api::core::v1::Toleration;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::device_class::PodResources;

/// Train and prune a model in a Job of this namespace.
///
/// What training depends on (`model`, `dataset`, `method`, `training`, `minimumAccuracy`, `maximumVariants`) makes a new revision when
/// it changes; `job` and the secret do not.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.method.iterativeMagnitude) || self.training.epochs > 0").message("iterativeMagnitude trains at each level: set training.epochs to at least 1"))]
pub struct Prune {
    /// The model to start from.
    pub model: Model,

    /// The labelled images to train and choose on.
    pub dataset: Dataset,

    /// How variants are made.
    pub method: PruneMethod,

    /// How networks are trained.
    #[serde(default)]
    pub training: TrainingOptions,

    /// A variant that is less accurate than this on the validation images is dropped. A decimal from "0" to "1"; default "0".
    #[serde(default)]
    #[schemars(with = "String", length(max = 8), regex(pattern = r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$"))]
    pub minimum_accuracy: Fraction,

    /// At most so many variants, from 1 to 12. Default 6. Each takes memory on every node.
    #[serde(default = "default_maximum_variants")]
    #[schemars(range(min = 1, max = 12))]
    pub maximum_variants: i32,

    /// The Job's pod.
    #[serde(default)]
    pub job: PruningJob,

    /// Where the variants are published.
    pub publish: PublishTarget,
}

fn default_maximum_variants() -> i32 {
    6
}

/// The model to start from: an ONNX file, trained or not, with its `BatchNormalization` nodes kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// What holds the file.
    pub source: Source,
    /// Path of the file within the source, such as `vgg16.onnx`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.split('/').exists(part, part == '..')").message("write a path within the source: relative, and without '..'"))]
    pub path: String,
}

/// The labelled images to train and choose on.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dataset {
    /// What holds the files.
    pub source: Source,
    /// Path of the folder within the source, or of the file if the format is `Npz`. Default: the source's root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.split('/').exists(part, part == '..')").message("write a path within the source: relative, and without '..'"))]
    pub path: String,
    /// Format of the files. `Idx`: the four files of MNIST and its successors, plain or gzip. `Npz`: a `NumPy` archive with the arrays
    /// `x_train`, `y_train`, `x_test` and `y_test`; images are bytes, or floats that are taken as they are, labels are integers from 0.
    /// `ImageFolder`: JPEG or PNG files of the network's height and width in `train/CLASS/` and `test/CLASS/`; classes are numbered
    /// in the alphabetical order of their folders' names.
    pub format: DataFormat,
    /// How pixels become the network's input: `(pixel / 255 - mean) / deviation`.
    #[serde(default)]
    pub normalization: DatasetNormalization,
}

/// What holds files: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.image) != has(self.persistentVolumeClaim)").message("set exactly one of image and persistentVolumeClaim"))]
pub struct Source {
    /// An image in a registry whose files are mounted (Kubernetes 1.35 or newer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSource>,
    /// A volume of this namespace. Its content is not watched: write another path to train anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PersistentVolumeClaimSource>,
}

/// An image whose files are mounted.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageSource {
    /// The image, best by digest: what a tag points to is not watched.
    #[schemars(length(min = 1, max = 512))]
    pub reference: String,
}

/// A volume of this namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersistentVolumeClaimSource {
    /// Name of the claim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
}

/// Formats of data sets.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataFormat {
    /// The four files of MNIST and its successors, plain or gzip.
    Idx,
    /// A `NumPy` archive with the arrays `x_train`, `y_train`, `x_test` and `y_test`: images as bytes, or as floats that are taken as
    /// they are; labels as integers from 0.
    Npz,
    /// JPEG or PNG files of the network's height and width in `train/CLASS/` and `test/CLASS/`.
    ImageFolder,
}

/// How pixels become the network's input.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetNormalization {
    /// Mean of the pixels, a decimal from "0" to "1". Default "0.5".
    #[serde(default = "half")]
    #[schemars(with = "String", length(max = 8), regex(pattern = r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$"))]
    pub mean: Fraction,
    /// Standard deviation of the pixels, a decimal above "0" up to "1". Default "0.5".
    #[serde(default = "half")]
    #[schemars(
        with = "String",
        length(max = 8),
        regex(pattern = r"^(0\.[0-9]{0,5}[1-9][0-9]{0,5}|1(\.0{1,6})?)$")
    )]
    pub deviation: Fraction,
}

fn half() -> Fraction {
    Fraction::nearest(0.5)
}

impl Default for DatasetNormalization {
    fn default() -> Self {
        Self { mean: half(), deviation: half() }
    }
}

/// How variants are made: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.structured) != has(self.iterativeMagnitude)").message("set exactly one of structured and iterativeMagnitude"))]
pub struct PruneMethod {
    /// Whole channels are removed by importance, each variant from the next larger one, then trained on. The better choice
    /// between the full size and about a tenth of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured: Option<StructuredMethod>,
    /// Single weights are masked by magnitude until whole channels are dead, which are then removed without changing what the
    /// network computes: the method that DNNShifter was published with. For very small variants; each density takes a whole
    /// training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterative_magnitude: Option<IterativeMagnitudeMethod>,
}

/// Iterative magnitude pruning with rewinding: train, mask the weights that are smallest in the whole network, go back to early
/// weights, train again, and so on.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IterativeMagnitudeMethod {
    /// The shares of weights that are left, one for each level: decimals above "0" up to "1", from 1 to 32 of them, in any order.
    /// Default "0.1", "0.03", "0.01", "0.004": channels hardly die above a tenth. "1" is the model as it is given, which is trained
    /// first, whatever stands here. Accuracy lasts longer if weights leave in many small levels.
    #[serde(default = "default_densities")]
    #[schemars(
        length(min = 1, max = 32),
        inner(length(max = 8), regex(pattern = r"^(0\.[0-9]{0,5}[1-9][0-9]{0,5}|1(\.0{1,6})?)$"))
    )]
    #[x_kube(validation = Rule::new("self.all(density, self.exists_one(other, double(other) == double(density)))").message("name each density once"))]
    pub densities: Vec<String>,
    /// Each level starts from the weights that the network had after so many steps (batches) of training, from 0 (the model as
    /// it is given) to 1000000. Default 500. Must be fewer than all steps of `training`.
    #[serde(default = "default_rewind_steps")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub rewind_steps: i32,
    /// Do not mask the last layer, which is small and decides. Default true.
    #[serde(default = "default_keep_last_layer")]
    pub keep_last_layer: bool,
}

fn default_densities() -> Vec<String> {
    ["0.1", "0.03", "0.01", "0.004"].map(str::to_owned).to_vec()
}

fn default_rewind_steps() -> i32 {
    500
}

fn default_keep_last_layer() -> bool {
    true
}

/// Structured pruning of channels.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StructuredMethod {
    /// What says how much a channel matters. Default `Taylor`.
    #[serde(default)]
    pub criterion: ImportanceCriterion,
    /// Layers keep a multiple of so many channels, as vector units like it: 8 suits AVX2, 16 AVX-512. Widths may be kept to a
    /// larger multiple of it where the processor computes more channels at a time. From 1, which counts as 2, to 64; default 16.
    #[serde(default = "default_channel_multiple")]
    #[schemars(range(min = 1, max = 64))]
    pub channel_multiple: i32,
    /// Each variant is to be so many times faster than the one before it. A decimal from "1.1" to "9.99"; default "1.5".
    #[serde(default = "default_latency_ratio")]
    #[schemars(length(max = 4), regex(pattern = r"^(1\.[1-9][0-9]?|[2-9](\.[0-9]{1,2})?)$"))]
    pub latency_ratio: String,
    /// Epochs of training after each removal, from 0 to 1000. Default 2.
    #[serde(default = "default_fine_tuning_epochs")]
    #[schemars(range(min = 0, max = 1000))]
    pub fine_tuning_epochs: i32,
}

fn default_channel_multiple() -> i32 {
    16
}

fn default_latency_ratio() -> String {
    "1.5".to_owned()
}

fn default_fine_tuning_epochs() -> i32 {
    2
}

/// Criteria of a channel's importance.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportanceCriterion {
    /// First-order Taylor expansion of the loss (Molchanov et al., CVPR 2019).
    #[default]
    Taylor,
    /// Magnitude of the `BatchNorm` scale (Liu et al., "Network Slimming", ICCV 2017).
    BatchNormScale,
}

/// How networks are trained: SGD with Nesterov momentum and a one-cycle learning rate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrainingOptions {
    /// Epochs of training before anything is removed, from 0 (the model is trained already) to 10000. Default 6.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 0, max = 10000))]
    pub epochs: i32,
    /// Images a step, from 2 to 4096. Default 128.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 2, max = 4096))]
    pub batch_size: i32,
    /// Peak of the one-cycle learning rate, a decimal from "0" to "1". Default "0.1".
    #[serde(default = "default_learning_rate")]
    #[schemars(with = "String", length(max = 8), regex(pattern = r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$"))]
    pub learning_rate: Fraction,
    /// Seed of everything random. Default 0.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub seed: i32,
    /// Train on only so many images, drawn by seed. Default: all that are not kept aside for validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub training_images: Option<i32>,
    /// So many of the training images are kept aside to choose on. Default 5000.
    #[serde(default = "default_validation_images")]
    #[schemars(range(min = 1))]
    pub validation_images: i32,
    /// How images are changed while they are learnt from. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<Augmentation>,
}

/// How images are changed at random while they are learnt from.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Augmentation {
    /// Mirror half of the images, left to right. Right for photographs, wrong for digits and letters. Default false.
    #[serde(default)]
    pub horizontal_flip: bool,
    /// Move each image by up to so many pixels in both directions; what is missing is black. From 0 to 64; default 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 64))]
    pub crop_padding: i32,
}

fn default_epochs() -> i32 {
    6
}

fn default_batch_size() -> i32 {
    128
}

fn default_learning_rate() -> Fraction {
    Fraction::nearest(0.1)
}

fn default_validation_images() -> i32 {
    5000
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            epochs: default_epochs(),
            batch_size: default_batch_size(),
            learning_rate: default_learning_rate(),
            seed: 0,
            training_images: None,
            validation_images: default_validation_images(),
            augmentation: None,
        }
    }
}

/// The pruning Job's pod.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PruningJob {
    /// Labels of the nodes that the Job may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the Job tolerates. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// CPU and memory. Prefer a CPU request to a limit: training threads that wait for each other burn a limit away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<PodResources>,
    /// The Job fails after so many seconds. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i64>,
    /// The Job fails after so many pods that failed, from 0 to 100; each goes on from the last finished step. Default 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit: Option<i32>,
}

/// Where the variants are published.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishTarget {
    /// The repository, without tag: `registry.example.com/team/model`.
    #[schemars(
        length(max = 255),
        regex(pattern = r"^[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$")
    )]
    pub repository: String,
    /// Secret of type `kubernetes.io/dockerconfigjson` with which the Job pushes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub push_secret_name: Option<String>,
    /// Speak plain HTTP to the registry. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
}
