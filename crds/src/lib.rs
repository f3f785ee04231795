//! The Kubernetes API of DNNShifter, group `dnnshifter.io`, version `v1alpha1`: what Kubernetes stores, and nothing else.
//!
//! Four kinds: [`EdgeDeviceClass`] (what a node is), [`ModelPortfolio`] (what a team declares), [`ModelVariant`] (one size of
//! the model) and [`VariantPlacement`] (one portfolio on one node). The rules that the API server enforces stand beside the
//! fields; the names that others see are in [`names`] and [`conditions`]. No client and no async here. The YAML beside this
//! crate's `Cargo.toml` is generated from these types (`UPDATE_GOLDEN=1 cargo test --release -p dnnshifter-crds`).

#![expect(
    clippy::duplicated_attributes,
    reason = "the columns of one kind are attributes of one name; clippy takes their equal keys for repetitions"
)]

pub mod conditions;
pub mod device_class;
pub mod model_portfolio;
pub mod model_variant;
pub mod names;
pub mod variant_placement;
pub mod yaml;

pub use device_class::{EdgeDeviceClass, EdgeDeviceClassSpec, EdgeDeviceClassStatus};
pub use model_portfolio::{ModelPortfolio, ModelPortfolioSpec, ModelPortfolioStatus};
pub use model_variant::{ModelVariant, ModelVariantSpec};
pub use variant_placement::{VariantPlacement, VariantPlacementSpec, VariantPlacementStatus};
