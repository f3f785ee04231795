//! ONNX networks that can be read, understood, made smaller and written again.
//!
//! Pure: bytes in, bytes out. No files, no tch, no async, no randomness, no logging. The modules in reading order:
//!
//! - [`network`]: a checked ONNX model, and its weights as tensors ([`tensor`]);
//! - [`operator`] and [`graph`]: its nodes, typed; what is not known is refused with its name;
//! - [`shapes`] and [`cost`]: what flows through it, its parameters and multiply-accumulates;
//! - [`channels`] and [`mod@slice`]: which channels go together, and the network without some of them;
//! - [`mod@compact`]: the same network without what it does not need;
//! - [`builder`]: networks from nothing.

#![warn(missing_docs)]

#[expect(
    missing_docs,
    clippy::pedantic,
    reason = "generated from onnx-ml.proto, where every field is documented"
)]
pub mod onnx;

mod attributes;
pub mod builder;
pub mod channels;
pub mod compact;
pub mod cost;
pub mod graph;
mod import;
pub mod network;
pub mod operator;
pub mod shapes;
pub mod slice;
pub mod tensor;

pub use builder::NetworkBuilder;
pub use channels::{ChannelGroup, Channels};
pub use compact::compact;
pub use cost::Cost;
pub use graph::{Graph, Node};
pub use network::{Network, TensorInfo};
pub use operator::Operator;
pub use shapes::Shapes;
pub use tensor::FloatTensor;
