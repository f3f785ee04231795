//! What whole-system tests, the demo and the benchmarks share: an open-loop load generator and what it measures.
//!
//! Nothing of the product depends on this crate. The cluster itself is `dnnshifter-cluster`, in the folder beside.

pub mod demo;
pub mod images;
pub mod load;
pub mod process;
