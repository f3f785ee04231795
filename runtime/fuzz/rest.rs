//! Arbitrary bytes as the body of an inference request over REST.
//!
//! With `cargo-fuzz`, in `runtime/`: `cargo fuzz run --sanitizer none rest fuzz/corpus/rest fuzz/seeds/rest -- -rss_limit_mb=512`. What it
//! finds belongs into `seeds/rest`, which the tests of the runtime feed to it as well.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dnnshifter_runtime::fuzzing::rest(bytes));
