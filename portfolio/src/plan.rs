//! The pruning plan: what the operator asks of the pruning Job, as one file. Read by the pruner-job, written by the operator.

use serde::{Deserialize, Serialize};

use crate::fraction::Fraction;

/// The version of the plan's format that this crate reads and writes.
pub const PLAN_VERSION: &str = "dnnshifter.io/plan/v1";

/// All that a pruning Job needs to know. Paths are those inside the Job's container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PruningPlan {
    /// The format's version, [`PLAN_VERSION`].
    pub version: String,
    /// Hash of all that training depends on. Finished steps are stored under it, so that a killed Job, and a Job that only
    /// packages anew, go on from them.
    pub training_revision: String,
    /// Hash of the training and of what packaging depends on (the runtime's image). Names the published portfolio.
    pub revision: String,
    /// The model to start from.
    pub model: ModelInput,
    /// The labelled images to train and choose on.
    pub dataset: DatasetInput,
    /// How variants are made.
    pub method: PruningMethod,
    /// How networks are trained.
    pub training: Training,
    /// A variant that is less accurate than this on the validation split is dropped.
    pub minimum_accuracy: Fraction,
    /// At most so many variants are published; from 1 to 12.
    pub maximum_variants: u8,
    /// Where the variants are published; a plan without can only be run into a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publish>,
}

/// The model to start from: an ONNX file, trained or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelInput {
    /// Path of the ONNX file.
    pub path: String,
}

/// A labelled data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatasetInput {
    /// Path of the folder that holds the data set's files; of the file itself if the format is `Npz`.
    pub path: String,
    /// The files' format.
    pub format: DatasetFormat,
    /// How pixel values become the network's input.
    pub normalization: Normalization,
}

/// Formats of data sets. Bytes are pixels from 0 (black) to 255 (white).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DatasetFormat {
    /// The four files of MNIST and its successors, plain or `.gz`: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
    /// `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte` (format: yann.lecun.com/exdb/mnist).
    Idx,
    /// A `NumPy` archive with the arrays `x_train`, `y_train`, `x_test` and `y_test`. Images are bytes, or floats that are taken as
    /// they are (not divided by 255): images x height x width, or with channels before or after height and width, whichever
    /// the network's input has. Labels are integers from 0.
    Npz,
    /// JPEG or PNG files of the network's height and width in `train/CLASS/` and `test/CLASS/`; classes are numbered by the
    /// names of their folders in alphabetical order.
    ImageFolder,
}

/// `(pixel / 255 - mean) / deviation`, for all channels alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Normalization {
    /// Mean of the pixel values, from 0 to 1.
    pub mean: Fraction,
    /// Standard deviation of the pixel values, above 0.
    pub deviation: Fraction,
}

/// How variants are made from the trained network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum PruningMethod {
    /// Whole channels are removed by importance, each variant from the next larger one.
    Structured(StructuredPruning),
    /// Single weights are masked by magnitude, level by level, each trained anew from early weights; what is dead is removed.
    IterativeMagnitude(IterativeMagnitude),
}

/// Iterative magnitude pruning with rewinding (Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", ICML
/// 2020), as DNNShifter does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IterativeMagnitude {
    /// The share of the weights that is left at each level, falling. The network as it is given comes before them.
    pub densities: Vec<Fraction>,
    /// Each level starts from the weights that the network had after so many steps of training.
    pub rewind_steps: u32,
    /// The weights of the last layer are not masked.
    pub keep_last_layer: bool,
}

/// Structured pruning of channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StructuredPruning {
    /// What says how much a channel matters.
    pub criterion: ImportanceCriterion,
    /// Layers keep a multiple of so many channels, as vector units like it: 8 for AVX2, 16 for AVX-512. Widths may be kept to a
    /// larger multiple of it where the processor computes more channels at a time. 1 counts as 2.
    pub channel_multiple: u16,
    /// Each variant is to be so many times faster than the one before it, in hundredths: 150 means 1.5 times.
    pub latency_ratio_hundredths: u16,
    /// Epochs of training after each removal.
    pub fine_tuning_epochs: u16,
}

/// Criteria of a channel's importance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportanceCriterion {
    /// First-order Taylor expansion of the loss in the `BatchNorm` scale and shift (Molchanov et al., CVPR 2019).
    Taylor,
    /// Magnitude of the `BatchNorm` scale (Liu et al., "Network Slimming", ICCV 2017).
    BatchNormScale,
}

/// How networks are trained: SGD with Nesterov momentum, one-cycle learning rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Training {
    /// Epochs for the network as it is given.
    pub epochs: u16,
    /// Images a step.
    pub batch_size: u16,
    /// The peak of the one-cycle learning rate.
    pub learning_rate: Fraction,
    /// Seed of everything random.
    pub seed: u32,
    /// Use only so many images for training, drawn by seed; all that are not for validation if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_images: Option<u32>,
    /// So many images of the training files are kept aside to choose on.
    pub validation_images: u32,
    /// How images are changed while they are learnt from; not at all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<Augmentation>,
}

/// How images are changed at random while they are learnt from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Augmentation {
    /// Half of the images are mirrored, left to right.
    #[serde(default)]
    pub horizontal_flip: bool,
    /// Each image is moved by up to so many pixels in both directions; what is missing is black.
    #[serde(default)]
    pub crop_padding: u16,
}

/// Where variants are published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publish {
    /// Repository for the variants' images, the portfolio and the finished steps: `registry.example.com/team/name`.
    pub repository: String,
    /// Image of the runtime, by digest, whose layers each variant's image starts with.
    pub runtime_image: String,
    /// Speak plain HTTP to the registry.
    #[serde(default)]
    pub plain_http: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"{
        "version": "dnnshifter.io/plan/v1", "trainingRevision": "5d41402abc", "revision": "7d793037a0",
        "model": {"path": "/input/model/vgg16.onnx"},
        "dataset": {"path": "/input/dataset", "format": "Idx", "normalization": {"mean": "0.286", "deviation": "0.353"}},
        "method": {"structured": {"criterion": "Taylor", "channelMultiple": 16, "latencyRatioHundredths": 150, "fineTuningEpochs": 2}},
        "training": {"epochs": 3, "batchSize": 128, "learningRate": "0.1", "seed": 1, "validationImages": 5000},
        "minimumAccuracy": "0.8", "maximumVariants": 6,
        "publish": {"repository": "registry.example.com/fashion", "runtimeImage": "registry.example.com/runtime@sha256:0", "plainHttp": false}
    }"#;

    #[test]
    fn a_plan_survives_a_round_trip() {
        let plan: PruningPlan = serde_json::from_str(PLAN).unwrap();
        let again: PruningPlan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(plan, again);
        let value: serde_json::Value = serde_json::from_str(PLAN).unwrap();
        assert_eq!(serde_json::to_value(&plan).unwrap(), value);
    }

    #[test]
    fn the_published_method_survives_a_round_trip() {
        let method = r#"{"iterativeMagnitude": {"densities": ["0.1", "0.004"], "rewindSteps": 500, "keepLastLayer": true}}"#;
        let read: PruningMethod = serde_json::from_str(method).unwrap();
        assert!(matches!(&read, PruningMethod::IterativeMagnitude(read) if read.densities.len() == 2));
        let value: serde_json::Value = serde_json::from_str(method).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), value);
    }

    #[test]
    fn a_misspelt_field_is_named() {
        let refused =
            serde_json::from_str::<PruningPlan>(&PLAN.replace("batchSize", "batchsize")).unwrap_err();
        assert!(refused.to_string().contains("unknown field `batchsize`"), "{refused}");
    }
}
