//! Arbitrary bytes as an ONNX file: whatever they hold, the answer is a network or a refusal, never a panic, and never more
//! memory than the fuzzer allows.
//!
//! With `cargo-fuzz`: `cargo fuzz run --sanitizer none read -- -rss_limit_mb=512`, on seeds that
//! `dnnshifter-pruner-job model vgg16 --width 1/8 --input 1x8x8 --output fuzz/corpus/read/vgg.onnx` and the like write.

#![no_main]

use dnnshifter_network::{
    Cost, Graph, Network, Shapes,
    compact::{Options, compact},
    onnx::ModelProto,
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut model) = ModelProto::decode(bytes) {
        let _ = compact(&mut model, Options::default());
    }
    let Ok(network) = Network::read(bytes.to_vec().into()) else { return };
    let Ok(graph) = Graph::of(&network) else { return };
    if let Ok(shapes) = Shapes::infer(&network, &graph) {
        let _ = Cost::of(&network, &graph, &shapes);
    }
});
