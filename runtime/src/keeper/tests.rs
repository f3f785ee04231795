//! Variants that are kept warm, and variants that break while they are loaded.

use super::*;
use crate::{
    switch::Slot,
    testing::{Constant, GIVING_BACK, keeper, name, resident, resident_in_memory, write_variant},
    values::Values,
};

#[test]
fn what_is_in_memory_need_not_compute_but_once_a_minute() {
    let aged = |age| resident_in_memory("a").aged(age);
    assert!(is_warm(&aged(COMPUTE_EVERY / 2)));
    assert!(!is_warm(&aged(COMPUTE_EVERY)));
    assert!(!is_warm(&resident("a", 1.0)), "nobody knows where its weights are");
}

/// A keeper that has loaded these variants, each on an engine of its own, the first of which serves.
struct Place {
    keeper: Keeper,
    engines: Vec<Constant>,
    _models: tempfile::TempDir,
}

impl Place {
    fn of(variants: &[&str]) -> Self {
        let models = tempfile::tempdir().unwrap();
        let mut keeper = keeper(Arc::new(Constant::default()), models.path(), variants, None);
        let engines: Vec<_> = variants.iter().map(|_| Constant::default()).collect();
        for (variant, engine) in variants.iter().zip(&engines) {
            write_variant(models.path(), &crate::testing::description(variant, 0.0), b"a network");
            keeper.engine = Arc::new(engine.clone());
            keeper.load(&name(variant));
        }
        Self { keeper, engines, _models: models }
    }

    fn serving(&self) -> Option<String> {
        self.keeper.switch.active().map(|active| active.name().to_string())
    }

    /// Requests of so many items to what serves: which of them failed.
    fn ask(&self, items: [usize; 3]) -> [bool; 3] {
        let active = self.keeper.switch.active().unwrap();
        items.map(|items| active.run(items, &Values::Fp32(vec![0.0; 4 * items])).is_err())
    }

    /// Does what is next, if it is to look at a variant: whether it was.
    fn prove(&mut self) -> bool {
        let task = agenda::next(&self.keeper.switch.standing(), |_| false);
        let Task::Prove(variant) = task else { return false };
        self.keeper.prove(&variant);
        true
    }
}

#[test]
fn a_variant_whose_inferences_fail_is_refused_and_another_one_serves() {
    let mut place = Place::of(&["big", "small"]);
    place.engines[0].fail_from(1);
    assert_eq!(place.ask([1, 1, 1]), [true; 3]);
    assert!(place.prove());
    assert_eq!(place.serving().as_deref(), Some("small"));
    let standing = place.keeper.switch.standing();
    let Some(Slot::Refused(why)) = standing.slots.get(&name("big")) else { panic!("it was not refused") };
    assert!(why.starts_with("its inferences fail: failed to compute 1 items"), "{why}");
    assert!(!place.prove());
}

#[test]
fn the_only_variant_does_not_serve_while_it_fails_and_is_tried_again() {
    let mut place = Place::of(&["only"]);
    place.engines[0].fail_from(1);
    place.ask([1, 1, 1]);
    assert!(place.prove());
    assert_eq!(place.serving(), None);
    assert_eq!(place.keeper.switch.standing().active, None);
    place.engines[0].fail_from(usize::MAX);
    place.keeper.notes.postponed.values_mut().for_each(|when| *when = Instant::now());
    place.keeper.try_postponed();
    assert_eq!(place.serving().as_deref(), Some("only"));
}

#[test]
fn a_variant_that_computes_its_check_vector_is_not_refused_for_bad_requests() {
    let mut place = Place::of(&["big", "small"]);
    place.engines[0].fail_from(2);
    assert_eq!(place.ask([2, 2, 1]), [true, true, false]);
    assert!(!place.prove(), "one was answered");
    assert_eq!(place.ask([2, 2, 2]), [true; 3]);
    assert!(place.prove());
    assert_eq!(place.ask([2, 2, 2]), [true; 3]);
    assert!(!place.prove(), "who sends bad requests does not keep the keeper busy");
    assert_eq!(place.serving().as_deref(), Some("big"));
    // Its own inferences are above suspicion.
    place.engines[0].fail_from(1);
    assert!(place.keeper.switch.active().unwrap().warm().is_err());
    assert!(place.prove());
    assert_eq!(place.serving().as_deref(), Some("small"));
}

#[test]
fn a_variant_that_fails_to_get_warm_is_looked_at_before_all_else() {
    let mut place = Place::of(&["big", "small"]);
    place.engines[1].fail_from(1);
    let standing = place.keeper.switch.standing();
    let Some(Slot::Resident(small, _)) = standing.slots.get(&name("small")) else { panic!("it is loaded") };
    place.keeper.warm(small, |_| (), || false);
    assert!(place.prove());
    assert!(matches!(place.keeper.switch.standing().slots.get(&name("small")), Some(Slot::Refused(_))));
    assert_eq!(place.serving().as_deref(), Some("big"));
}

#[test]
fn what_only_starting_needed_is_given_back_once_and_what_serves_computes_after_that() {
    let _alone = GIVING_BACK.lock();
    let models = tempfile::tempdir().unwrap();
    let nothing = keeper(Arc::new(Constant::default()), models.path(), &["big"], None);
    assert!(!nothing.may_give_back(), "nothing serves yet");
    let mut place = Place::of(&["big", "small"]);
    let runs = |place: &Place| [place.engines[0].runs(), place.engines[1].runs()];
    let [big, small] = runs(&place);
    assert!(place.keeper.may_give_back());
    place.keeper.give_back_startup(|_| ());
    assert_eq!(runs(&place), [big + 1, small]);
    assert!(!place.keeper.may_give_back());
}
