//! Variants that have room, find it, or do not. Their sizes are told, in TiB, so that what the test's own process takes is nothing.

use super::*;
use crate::{
    engine::{EngineError, Interface, Network},
    testing::{Constant, description},
    values::{Part, Values},
    variant::LARGEST_PART,
};

const TIB: u64 = 1 << 40;

/// Maps as much as a variant's description says.
#[derive(Clone, Default)]
struct Mapping(Constant);

struct MappedNetwork {
    computing: Constant,
    bytes: u64,
}

impl Engine for Mapping {
    fn prepare(&self, path: &Path, _: &Interface) -> Result<Box<dyn Network>, EngineError> {
        let text = fs::read(path.with_file_name("variant.json")).unwrap();
        let VariantDescription { bytes, .. } = serde_json::from_slice(&text).unwrap();
        Ok(Box::new(MappedNetwork { computing: self.0.clone(), bytes }))
    }

    fn peak_bytes(&self, _: &Path, file_bytes: u64) -> u64 {
        file_bytes
    }
}

impl Network for MappedNetwork {
    fn run(&mut self, items: usize, input: Part<'_>, output: &mut Values) -> Result<(), EngineError> {
        self.computing.run(items, input, output)
    }

    fn mapped_bytes(&self) -> u64 {
        self.bytes
    }
}

/// A keeper with room for 9.5 TiB of variants of so many, the most accurate first, which has tried to load all of them.
struct Place {
    keeper: Keeper,
    engine: Mapping,
    order: Vec<&'static str>,
    _models: tempfile::TempDir,
}

impl Place {
    fn of(variants: &[(&'static str, u64)], wanted: &str) -> Self {
        let models = tempfile::tempdir().unwrap();
        for (variant, tib) in variants {
            let mut described = description(variant, 0.0);
            described.bytes = tib * TIB;
            write_variant(models.path(), &described, b"a network");
        }
        let engine = Mapping::default();
        let order: Vec<_> = variants.iter().map(|(variant, _)| *variant).collect();
        let keeper = keeper(Arc::new(engine.clone()), models.path(), &order, Some(10 * TIB));
        let mut place = Self { keeper, engine, order, _models: models };
        place.want(wanted);
        for variant in place.order.clone().into_iter().rev() {
            place.keeper.load(&name(variant));
        }
        place
    }

    fn want(&mut self, variant: &str) {
        self.keeper.switch.direct(&names(&self.order), Some(wanted(variant)), Instant::now());
    }

    /// Wants and loads it: which variants are resident then.
    fn loaded(&mut self, variant: &str) -> Vec<&'static str> {
        self.want(variant);
        self.keeper.load(&name(variant));
        self.residents()
    }

    fn residents(&self) -> Vec<&'static str> {
        let is_resident = |variant: &&&str| self.keeper.presence(variant) == Presence::Resident;
        self.order.iter().filter(is_resident).copied().collect()
    }
}

#[test]
fn what_is_wanted_gets_the_room_of_the_least_useful_and_what_is_not_gets_none() {
    let mut place = Place::of(&[("big", 5), ("middle", 4), ("small", 3)], "small");
    assert_eq!(place.residents(), ["middle", "small"]);
    assert!(
        place.keeper.why("big").contains("it needs about 5497558138880 of"),
        "{}",
        place.keeper.why("big")
    );
    assert_eq!(place.loaded("big"), ["big", "small"]);
    assert!(place.keeper.why("middle").contains("there is no room for it beside big"));
    assert_eq!(place.keeper.switch.active().unwrap().name(), &name("big"));
    assert_eq!(place.loaded("middle"), ["big", "middle"]);
}

#[test]
fn nothing_is_given_up_for_what_fits_in_no_case() {
    let mut place = Place::of(&[("huge", 8), ("middle", 3), ("small", 3)], "small");
    assert_eq!(place.loaded("huge"), ["middle", "small"]);
    assert_eq!(place.keeper.switch.active().unwrap().name(), &name("small"));
}

#[test]
fn a_variant_that_is_loaded_again_computes_its_check_vector_and_nothing_more() {
    let mut place = Place::of(&[("big", 5), ("small", 3)], "small");
    let largest = |place: &Place| {
        let standing = place.keeper.switch.standing();
        standing.residents().map(|(resident, _)| resident.largest_part()).collect::<Vec<_>>()
    };
    // Each: its check vector, then parts of 2, 4 and 8.
    assert_eq!((place.engine.0.runs(), largest(&place)), (8, vec![LARGEST_PART; 2]));
    place.keeper.switch.no_room(&name("big"), "given up".to_owned());
    assert_eq!(place.loaded("big"), ["big", "small"]);
    assert_eq!((place.engine.0.runs(), largest(&place)), (9, vec![LARGEST_PART; 2]));
}

/// As if all that was put off were due.
fn wait_for_the_postponed(keeper: &mut Keeper) {
    keeper.notes.postponed.values_mut().for_each(|when| *when = Instant::now());
    keeper.try_postponed();
}

#[test]
fn what_is_wanted_is_tried_again_once_there_may_be_room() {
    let mut place = Place::of(&[("big", 5), ("small", 6)], "small");
    assert_eq!(place.loaded("big"), ["small"]);
    let why = place.keeper.why("big");
    wait_for_the_postponed(&mut place.keeper);
    assert_eq!((place.residents(), place.keeper.why("big")), (vec!["small"], why));
    place.keeper.host.limits.memory_bytes = Some(20 * TIB);
    place.keeper.try_postponed();
    assert_eq!(place.residents(), ["small"], "not before its time");
    wait_for_the_postponed(&mut place.keeper);
    assert_eq!(place.residents(), ["big", "small"]);
    assert_eq!(place.keeper.switch.active().unwrap().name(), &name("big"));
    assert!(place.keeper.switch.standing().without_room.is_empty());
}

#[test]
fn what_had_no_room_and_is_not_wanted_is_left_alone() {
    let mut place = Place::of(&[("big", 5), ("small", 6)], "small");
    place.keeper.host.limits.memory_bytes = Some(20 * TIB);
    wait_for_the_postponed(&mut place.keeper);
    assert_eq!(place.residents(), ["small"]);
    assert_eq!(place.loaded("big"), ["big", "small"]);
}
