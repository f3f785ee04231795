//! What an optimised network is tied to: the build of the engine, and the processor. Nothing is decided here.
//!
//! The most optimised form holds weights in blocks of the processor's vector width, and operators of one engine's own.

use std::fs;

use sha2::{Digest, Sha256};

/// Counts up when we optimise in another way.
const METHOD: &str = "1";

/// What tells processors apart in `/proc/cpuinfo`, on x86-64 and on Arm.
const FIELDS: [&str; 10] = [
    "vendor_id",
    "cpu family",
    "model",
    "stepping",
    "flags",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
    "Features",
];

/// A short key of this machine with this build of the engine.
pub(super) fn key(engine_build: &str) -> String {
    // A kernel that does not say leaves the engine's build: the check vector of each variant is held on every load anyway.
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    key_of(engine_build, &processors)
}

fn key_of(engine_build: &str, processors: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(METHOD);
    hash.update(engine_build);
    for line in processors.lines().take_while(|line| !line.is_empty()) {
        if line.split_once(':').is_some_and(|(field, _)| FIELDS.contains(&field.trim())) {
            hash.update(line);
        }
    }
    format!("{:x}", hash.finalize()).chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPYC: &str = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 17\ncpu MHz\t\t: 2400.0\nflags\t\t: avx2 avx512f\n\nprocessor\t: 1\n";

    #[test]
    fn another_build_or_another_processor_has_another_key() {
        let key = key_of("1.31.1", EPYC);
        assert_eq!(key.len(), 16);
        assert_ne!(key, key_of("1.32.0", EPYC));
        assert_ne!(key, key_of("1.31.1", &EPYC.replace(" avx512f", "")));
    }

    #[test]
    fn the_clock_and_the_other_processors_do_not_matter() {
        let other =
            EPYC.replace("2400.0", "1800.0").replace("processor\t: 1", "processor\t: 1\nflags\t\t: none");
        assert_eq!(key_of("1.31.1", EPYC), key_of("1.31.1", &other));
    }
}
