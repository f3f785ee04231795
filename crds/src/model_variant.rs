//! `ModelVariant`: one size of a portfolio's model, in one revision. Made by the operator, for people to look at.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// One size of a portfolio's model, in one revision.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "dnnshifter.io",
    version = "v1alpha1",
    kind = "ModelVariant",
    namespaced,
    shortname = "mv",
    derive = "PartialEq",
    cel,
    doc = "One size of a portfolio's model, in one revision. Made by the operator.",
    printcolumn(name = "Portfolio", type_ = "string", json_path = ".spec.portfolioName"),
    printcolumn(name = "Variant", type_ = "string", json_path = ".spec.variantName"),
    printcolumn(
        name = "Accuracy",
        type_ = "string",
        json_path = ".spec.accuracy",
        description = "On the test set."
    ),
    printcolumn(name = "Parameters", type_ = "integer", json_path = ".spec.parameters"),
    printcolumn(
        name = "MACs",
        type_ = "integer",
        json_path = ".spec.macs",
        description = "Multiply-accumulate operations for one input."
    ),
    printcolumn(
        name = "Latency (us)",
        type_ = "integer",
        json_path = ".spec.latencyMicroseconds",
        description = "Median latency for one input where it was pruned, in microseconds."
    ),
    printcolumn(name = "Revision", type_ = "string", json_path = ".spec.revision"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".spec.bytes", priority = 1),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a variant never changes: a new revision has new variants"))]
pub struct ModelVariantSpec {
    /// The portfolio.
    #[schemars(length(min = 1, max = 40))]
    pub portfolio_name: String,

    /// The revision of the portfolio.
    #[schemars(length(min = 1, max = 20))]
    pub revision: String,

    /// The variant's name within the portfolio.
    #[schemars(length(min = 1, max = 20))]
    pub variant_name: String,

    /// The variant's image, by digest.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,

    /// Accuracy on the test set, a decimal fraction.
    #[schemars(length(min = 1, max = 8))]
    pub accuracy: String,

    /// Parameters of the network.
    #[schemars(range(min = 0))]
    pub parameters: i64,

    /// Size of the ONNX file in bytes.
    #[schemars(range(min = 0))]
    pub bytes: i64,

    /// Multiply-accumulate operations for one input.
    #[schemars(range(min = 0))]
    pub macs: i64,

    /// Median latency for one input where it was pruned, one thread, in microseconds. Each node measures its own.
    #[schemars(range(min = 0))]
    pub latency_microseconds: i64,

    /// Largest absolute difference between the outputs of the trained network and of the image's ONNX file, as decimal text.
    #[schemars(length(min = 1, max = 32))]
    pub maximum_difference: String,
}
