//! Variants that were held against their check vector before.

use super::*;
use crate::{
    engine::{Engine, EngineError, Interface, Network},
    testing::{resident, resident_in_memory},
};

/// An engine whose networks are mapped from one file, and compute a constant.
struct Mapping {
    constant: Constant,
    file: std::path::PathBuf,
    in_memory: bool,
}

struct MappedNetwork {
    network: Box<dyn Network>,
    stamps: Vec<Stamp>,
    in_memory: bool,
}

impl Engine for Mapping {
    fn prepare(&self, path: &Path, interface: &Interface) -> Result<Box<dyn Network>, EngineError> {
        let network = self.constant.prepare(path, interface)?;
        let stamps = vec![Stamp::of(&self.file).unwrap()];
        Ok(Box::new(MappedNetwork { network, stamps, in_memory: self.in_memory }))
    }
}

impl Network for MappedNetwork {
    fn run(&mut self, items: usize, input: Part<'_>, output: &mut Values) -> Result<(), EngineError> {
        self.network.run(items, input, output)
    }

    fn stamps(&self) -> &[Stamp] {
        &self.stamps
    }

    fn is_in_memory(&self) -> bool {
        self.in_memory
    }
}

/// How often the variant computes when it is loaded again, after `change` of what is on disk.
fn runs_again(in_memory: bool, change: impl FnOnce(&Path)) -> usize {
    let models = tempfile::tempdir().unwrap();
    write(models.path(), "a", &serde_json::to_string(&description("a", 1.0)).unwrap(), TINY);
    let file = models.path().join("weights");
    fs::write(&file, "1").unwrap();
    let engine = Mapping { constant: Constant::of(1.0), file, in_memory };
    let read = || read(models.path(), &name("a")).unwrap();
    let first = Resident::load(&engine, read()).unwrap();
    assert_eq!(engine.constant.runs(), 1);
    change(models.path());
    let proof = first.proof().unwrap();
    let again = Resident::load_again(&engine, read(), proof, Duration::from_secs(7)).unwrap();
    let runs = engine.constant.runs() - 1;
    assert_eq!(again.service_time() == Duration::from_secs(7), runs == 0);
    runs
}

#[test]
fn what_was_checked_and_is_in_memory_is_not_computed_again() {
    assert_eq!(runs_again(true, |_| ()), 0);
}

#[test]
fn a_variant_whose_weights_are_not_in_memory_is_computed_again() {
    assert_eq!(runs_again(false, |_| ()), 1);
}

#[test]
fn a_variant_of_other_files_is_computed_again() {
    assert_eq!(runs_again(true, |models| fs::write(models.join("weights"), "10").unwrap()), 1);
    let changed = serde_json::to_string_pretty(&description("a", 1.0)).unwrap();
    assert_eq!(runs_again(true, |models| fs::write(models.join("a/variant.json"), &changed).unwrap()), 1);
}

#[test]
fn what_is_found_in_memory_counts_as_seen_and_not_as_used() {
    let (old, now) = (Duration::from_mins(1), Duration::from_secs(1));
    let found = resident_in_memory("a").aged(old);
    assert!(found.unseen() >= old && !found.is_at_hand());
    assert!(found.look() && found.unseen() < now && found.idle() >= old && found.is_at_hand());
    let lost = resident("a", 0.0).aged(old);
    assert!(!lost.look() && lost.unseen() >= old);
    lost.warm().unwrap();
    assert!(lost.unseen() < now && lost.idle() < now && lost.is_at_hand());
}

#[test]
fn a_variant_that_somebody_uses_is_not_at_hand() {
    let resident = resident("a", 0.0);
    let used = resident.network.lock();
    assert!(!resident.is_at_hand());
    drop(used);
    assert!(resident.is_at_hand());
}

#[test]
fn what_is_not_mapped_has_no_proof() {
    assert!(load(&tiny("a"), TINY).unwrap().proof().is_none());
}
