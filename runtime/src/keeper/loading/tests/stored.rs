//! Variants that were optimised by an earlier process.

use dnnshifter_portfolio::description::CheckVector;
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    engine::suite::networks::{WEIGHTS, shift, shifted},
    testing::{ONNX_RUNTIME, description},
    values::Values,
};

/// Loads the variant `a` as a process does that finds what earlier ones have kept in `place`.
fn loaded_in(place: &Path) -> Keeper {
    let engine = ONNX_RUNTIME.keeping_in_by_itself(&place.join("store"));
    let mut keeper = keeper(Arc::new(engine), &place.join("models"), &["a"], None);
    keeper.load(&name("a"));
    keeper
}

/// A directory with the variant `a`, whose first output should be so much.
fn place(first_output: f32) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let fixture = shifted();
    let mut described = description("a", 0.0);
    (described.input, described.output) = (fixture.interface.input, fixture.interface.output);
    let mut output: Vec<f32> = (0..WEIGHTS).map(shift).collect();
    output[0] = first_output;
    described.check = CheckVector { input: vec![0.0; WEIGHTS].into(), output: output.into() };
    write_variant(&place.path().join("models"), &described, &fixture.bytes);
    place
}

/// The folder of the only entry of the store.
fn entry(place: &Path) -> std::path::PathBuf {
    let mut entries = fs::read_dir(place.join("store/optimised")).unwrap();
    entries.next().unwrap().unwrap().path()
}

/// Other weights, under a seal that is whole.
fn damage(entry: &Path) {
    let weights = vec![0; fs::read(entry.join("weights.bin")).unwrap().len()];
    // Another file: what is mapped must not change.
    fs::remove_file(entry.join("weights.bin")).unwrap();
    fs::write(entry.join("weights.bin"), &weights).unwrap();
    let seal = entry.join("seal.json");
    let mut sealed: serde_json::Value = serde_json::from_slice(&fs::read(&seal).unwrap()).unwrap();
    sealed["files"]["weights.bin"] = format!("{:x}", Sha256::digest(&weights)).into();
    fs::write(seal, sealed.to_string()).unwrap();
}

#[test]
fn what_was_optimised_but_computes_something_else_is_made_anew() {
    let place = place(0.0);
    assert_eq!(loaded_in(place.path()).presence("a"), Presence::Resident);
    damage(&entry(place.path()));
    let keeper = loaded_in(place.path());
    assert_eq!(keeper.presence("a"), Presence::Resident);
    let active = keeper.switch.active().unwrap();
    assert!(active.mapped_bytes() > 0);
    let output = active.run(1, &Values::Fp32(vec![1.0; WEIGHTS])).unwrap();
    assert_eq!(output, Values::Fp32((0..WEIGHTS).map(|place| shift(place) + 1.0).collect()));
}

#[test]
fn a_variant_that_is_wrong_itself_is_refused_by_every_process() {
    let place = place(9.0);
    for _ in 0..2 {
        let keeper = loaded_in(place.path());
        assert!(keeper.why("a").contains("its output is not that of its check vector"));
    }
    assert!(entry(place.path()).join("seal.json").exists());
}
