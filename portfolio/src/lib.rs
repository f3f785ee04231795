//! The domain of DNNShifter, pure: what a portfolio of variants is, and how one of them is chosen.
//!
//! Everything here is a value or a pure function: no Kubernetes, no async, no clock, no randomness, no logging.
//! Time comes in as a [`Moment`], load as a number. The types that cross from one program to another live here, each
//! with a version and a round-trip test:
//!
//! - [`plan`]: what the operator asks of the pruning Job;
//! - [`manifest`]: what the Job answers, and what a published portfolio says of itself;
//! - [`description`]: what a variant's image says of itself to the runtime;
//! - [`profile`]: what a node measured of each variant.
//!
//! A [`correction`] brings what was measured up to what is seen. The decisions: [`latency`] predicts a tail, [`select()`] chooses a variant, [`rollout`] chooses the nodes that may change.

pub mod correction;
pub mod description;
pub mod digest;
pub mod fraction;
pub mod latency;
pub mod manifest;
pub mod name;
pub mod plan;
pub mod profile;
pub mod rollout;
pub mod select;
pub mod time;

pub use correction::Correction;
pub use description::VariantDescription;
pub use digest::Digest;
pub use fraction::Fraction;
pub use manifest::{PortfolioManifest, PruningOutcome, VariantRecord};
pub use name::VariantName;
pub use plan::PruningPlan;
pub use profile::{CpuQuota, NodeProfile, VariantProfile};
pub use select::{LoadHistory, Policy, Selection, Situation, select};
pub use time::Moment;
