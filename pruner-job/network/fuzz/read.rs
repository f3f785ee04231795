//! Arbitrary bytes as an ONNX file: whatever they hold, the answer is a network or a refusal, never a panic, and never more
//! memory than the fuzzer allows.
//!
//! `make fuzz` runs it, from small networks of ours.

#![no_main]

use dnnshifter_network::{
    Cost, Graph, Network, Shapes,
    compact::{Options, compact, compacted},
    network::weights::KnownWeights,
    onnx::ModelProto,
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut model) = ModelProto::decode(bytes) {
        if let Ok(known) = KnownWeights::checked(&model) {
            let _ = compacted(&known, Options::default());
        }
        let _ = compact(&mut model, Options::default());
    }
    let _ = Network::import(bytes.to_vec().into());
    let Ok(network) = Network::read(bytes.to_vec().into()) else { return };
    let Ok(graph) = Graph::of(&network) else { return };
    if let Ok(shapes) = Shapes::infer(&network, &graph) {
        let _ = Cost::of(&network, &graph, &shapes);
    }
});
