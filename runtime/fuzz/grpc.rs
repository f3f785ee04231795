//! Arbitrary bytes as a `ModelInferRequest` over gRPC.
//!
//! With `cargo-fuzz`, in `runtime/`: `cargo fuzz run --sanitizer none grpc fuzz/corpus/grpc fuzz/seeds/grpc -- -rss_limit_mb=512`. What it
//! finds belongs into `seeds/grpc`, which the tests of the runtime feed to it as well.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dnnshifter_runtime::fuzzing::grpc(bytes));
