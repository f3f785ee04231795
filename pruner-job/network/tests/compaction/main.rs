//! Compaction, proved from outside: on networks of every architecture, ONNX Runtime is asked whether the smaller network
//! computes what the masked one did.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

mod judge;
mod mask;
mod published;
mod zoo;

mod equality;
mod hostile;
mod networks;
mod properties;
mod random;
mod versions;
