//! The benchmarks: what `make bench-serving` and `make bench-pruning` ([`pruning`]) measure and publish.
//!
//! That of serving makes its variants itself, starts the runtime as a person would, and asks it over the network, from a core of its own. What it
//! compares with, plain ONNX Runtime sessions on the same files, runs in a process of its own, so that each side's memory is its own.

pub mod cores;
pub mod echo;
pub mod figure;
pub mod page;
pub mod pruning;
pub mod serving;
pub mod sessions;

mod client;
mod group;
mod machine;
mod memory;
mod open_loop;
mod peers;
mod server;
mod spread;
mod variants;

#[cfg(test)]
mod published;

pub use machine::Machine;
pub use memory::Memory;
pub use server::Programs;
pub use spread::{Slope, Spread};
