//! Arbitrary bytes as a `ModelInferRequest` over gRPC.
//!
//! `make fuzz` runs it. What it finds belongs into `seeds/grpc`, which the tests of the runtime feed to it as well.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dnnshifter_runtime::fuzzing::grpc(bytes));
