//! The control plane of DNNShifter: watches, decides (by calling `portfolio`), applies.
//!
//! In reading order: `run` is the process; `portfolio`, `placement` and `device_class` are the controllers, each a
//! folder with one file a step; `switching` follows the load. What they share stands beside them. It trains nothing and serves
//! nothing: those are the pruning Job's and the runtime's parts.

pub mod settings;

pub mod run;

mod device_class;
mod placement;
mod portfolio;
mod switching;

mod reconcile;
mod stores;
mod watches;

mod apply;
mod backoff;
mod events;
mod hash;
mod metadata;
mod pods;
mod reasons;
mod template;

mod admin;
mod lease;
pub mod telemetry;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod golden;
