//! The demo: the whole way from a `ModelPortfolio` to switched variants on a cluster of its own, measured.
//!
//! [`stage`] prepares (cluster, images, charts), [`drive`] sends load and watches, [`swaps`] forces switches, [`summary`] says
//! what came out. Kubernetes is spoken to from the hub's network namespace, into which the program starts itself again.

pub mod console;
pub mod drive;
pub mod kubernetes;
pub mod progress;
pub mod scenario;
pub mod stage;
pub mod summary;
pub mod swaps;
pub mod watch;
