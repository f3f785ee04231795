//! What is prepared, and what is left for later.

use std::fs;

use super::*;
use crate::testing::{ONNX_RUNTIME, description, name, write_variant};

const TINY: &[u8] = include_bytes!("../../fixtures/tiny.onnx");

/// Variants in `models`, of a network each, and a store beside them.
struct Place {
    directory: tempfile::TempDir,
    preparation: Preparation,
}

impl Place {
    fn of(networks: &[(&str, &[u8])]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (models, store) = (directory.path().join("models"), directory.path().join("store"));
        for (variant, network) in networks {
            write_variant(&models, &description(variant, 0.0), network);
        }
        let preparation = Preparation {
            models,
            engine: ONNX_RUNTIME.keeping_in_by_itself(&store),
            attempts: Attempts::kept_in(Some(&store)),
            budget: Budget::default(),
        };
        Self { directory, preparation }
    }

    /// The network's file of each entry of the store.
    fn entries(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path().join("store/optimised")).into_iter().flatten();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            // What is written, but not finished, is none.
            .filter(|path| !path.ends_with(".partial"))
            .map(|path| path.join("network.onnx"))
            .collect();
        files.sort();
        files
    }

    fn is_prepared(&self, variant: &str) -> bool {
        self.preparation.engine.was_optimised(&self.preparation.models.join(variant).join("model.onnx"))
    }
}

#[test]
fn all_variants_are_optimised_and_a_bad_one_is_left_out() {
    let place = Place::of(&[("good", TINY), ("worse", b"no network")]);
    place.preparation.prepare_all();
    assert_eq!(place.entries().len(), 1);
    assert!(place.is_prepared("good") && !place.is_prepared("worse"));
}

#[test]
fn what_was_prepared_is_passed_over_unread_and_what_is_gone_is_made_anew() {
    let place = Place::of(&[("good", TINY)]);
    place.preparation.prepare_all();
    let [file] = &place.entries()[..] else { panic!("not one entry") };
    fs::write(file, "touched").unwrap();
    place.preparation.prepare_all();
    assert_eq!(fs::read(file).unwrap(), b"touched");
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
    assert!(!place.is_prepared("good"));
    place.preparation.prepare_all();
    assert!(fs::read(file).unwrap().len() > b"touched".len());
}

#[test]
fn a_variant_that_ended_an_earlier_attempt_or_has_no_room_is_left_for_later() {
    let mut place = Place::of(&[("good", TINY)]);
    // The process ended before it could take the mark away.
    drop(place.preparation.attempts.begin(&name("good"), SystemTime::now()).unwrap());
    let refused = place.preparation.prepare_one(&name("good")).unwrap_err();
    assert!(matches!(refused, PrepareError::Variant(VariantError::Died { .. })), "{refused}");
    place.preparation.attempts.end();
    place.preparation.budget = Budget::without_requests(Some(1 << 20));
    let refused = place.preparation.prepare_one(&name("good")).unwrap_err();
    assert!(matches!(refused, PrepareError::Variant(VariantError::Memory { .. })), "{refused}");
    assert!(place.entries().is_empty());
}

#[test]
fn a_directory_without_variants_is_no_failure() {
    let place = Place::of(&[]);
    place.preparation.prepare_all();
    assert!(!place.directory.path().join("store").exists());
}
