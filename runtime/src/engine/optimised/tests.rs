//! Entries that are used, made, and made anew.

use std::cell::Cell;

use super::*;

/// A store, a network, and how often it was optimised.
struct Place {
    directory: tempfile::TempDir,
    optimised: Cell<u32>,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("model.onnx"), "a network").unwrap();
        Self { directory, optimised: Cell::new(0) }
    }

    fn store(&self, machine: &str) -> OptimisedNetworks {
        OptimisedNetworks::new(self.directory.path().join("store"), machine.to_owned())
    }

    /// Finds the network in a store of a new process.
    fn open(&self, machine: &str) -> PathBuf {
        let network = self.directory.path().join("model.onnx");
        let write = |directory: &Path| {
            self.optimised.set(self.optimised.get() + 1);
            fs::write(directory.join(NETWORK_FILE), "optimised").unwrap();
            fs::write(directory.join(WEIGHTS_FILE), "weights").unwrap();
            Ok(())
        };
        self.store(machine).find_or_make(&network, write).unwrap()
    }

    fn entries(&self) -> usize {
        fs::read_dir(self.directory.path().join("store")).unwrap().count()
    }
}

#[test]
fn a_network_is_optimised_once() {
    let place = Place::new();
    let path = place.open("m");
    assert_eq!(fs::read_to_string(&path).unwrap(), "optimised");
    assert_eq!((place.open("m"), place.optimised.get()), (path, 1));
}

#[test]
fn what_is_damaged_is_made_anew() {
    let damages: [fn(&Path); 4] = [
        |entry| fs::write(entry.join(WEIGHTS_FILE), "weights with a flipped bit").unwrap(),
        |entry| fs::remove_file(entry.join(WEIGHTS_FILE)).unwrap(),
        |entry| fs::write(entry.join(SEAL_FILE), "{").unwrap(),
        |entry| fs::write(entry.join(SEAL_FILE), r#"{"files":{}}"#).unwrap(),
    ];
    for damage in damages {
        let place = Place::new();
        let path = place.open("m");
        damage(path.parent().unwrap());
        assert_eq!((place.open("m"), place.optimised.get()), (path.clone(), 2));
        assert_eq!(fs::read_to_string(path.with_file_name(WEIGHTS_FILE)).unwrap(), "weights");
    }
}

#[test]
fn another_network_or_another_machine_has_an_entry_of_its_own() {
    let place = Place::new();
    let first = place.open("m");
    fs::write(place.directory.path().join("model.onnx"), "another network").unwrap();
    assert_ne!(place.open("m"), first);
    assert_eq!((place.entries(), place.optimised.get()), (2, 2));
    // The entries of the machine that this store has come from are of no use here.
    place.open("other");
    assert_eq!((place.entries(), place.optimised.get()), (1, 3));
}

#[test]
fn a_failure_leaves_no_entry() {
    let place = Place::new();
    let network = place.directory.path().join("model.onnx");
    let died = || EngineError::Died { path: "p".to_owned(), status: "signal: 11".to_owned() };
    let failed = place.store("m").find_or_make(&network, |directory| {
        fs::write(directory.join(NETWORK_FILE), "half").unwrap();
        Err(died())
    });
    assert!(matches!(failed, Err(OptimisedError::Engine(EngineError::Died { .. }))));
    assert_eq!(place.store("m").find(&network), None);
    place.open("m");
    place.store("m").discard(&network).unwrap();
    assert_eq!(place.store("m").find(&network), None);
}

#[test]
fn a_store_that_cannot_be_written_says_where() {
    let place = Place::new();
    fs::write(place.directory.path().join("store"), "no directory").unwrap();
    let network = place.directory.path().join("model.onnx");
    let failed = place.store("m").find_or_make(&network, |_| Ok(())).unwrap_err();
    assert!(failed.to_string().ends_with("/store"), "{failed}");
}

#[test]
fn the_store_is_bounded() {
    let place = Place::new();
    for network in 0..MOST_ENTRIES + 3 {
        fs::write(place.directory.path().join("model.onnx"), format!("network {network}")).unwrap();
        place.open("m");
    }
    assert_eq!(place.entries(), MOST_ENTRIES);
}
