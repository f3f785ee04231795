//! Random networks and random masks.

use dnnshifter_network::compact::{Options, compact};
use proptest::{
    prelude::{ProptestConfig, Strategy, any, prop, proptest},
    test_runner::RngSeed,
};
use prost::Message;

use crate::{
    judge::{Judged, check_equal, images},
    mask::{self, Scope},
    random::{Choice, IMAGE, network},
};

/// Networks that are compared in one run; `PROPTEST_CASES` asks for more.
const CASES: u32 = 512;

/// The same networks in every run, for the judge's tolerance is of `f32` and rare networks exceed it without a fault;
/// `PROPTEST_RNG_SEED` looks at others.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    config.cases = config.cases.max(CASES);
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    prop::collection::vec(any::<Choice>(), 1..16)
}

proptest! {
    #[test]
    fn any_decisions_make_a_network_that_runs(seed in 0..1000_u64, choices in choices()) {
        let mut network = Judged::open(&network(seed, &choices).encode_to_vec()).unwrap();
        let answers = network.run(&images(IMAGE)[0]).unwrap();
        proptest::prop_assert_eq!(answers.len(), 4);
    }
}

/// How much of a network is dead.
#[derive(Clone, Debug)]
struct Dead {
    /// Of the weights.
    fraction: f64,
    by_layer: bool,
    /// Every so many layers are dead altogether, from the given one on.
    layers: (usize, usize),
    round_to: usize,
}

fn dead() -> impl Strategy<Value = Dead> {
    let layers = (2..9_usize, 0..12_usize);
    (0.3..1.0_f64, any::<bool>(), layers, prop::sample::select(vec![1, 1, 4, 8]))
        .prop_map(|(fraction, by_layer, layers, round_to)| Dead { fraction, by_layer, layers, round_to })
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn any_masked_network_computes_the_same_when_compact(seed in 0..1000_u64, choices in choices(), dead in dead()) {
        let mut model = network(seed, &choices);
        mask::mask(&mut model, dead.fraction, if dead.by_layer { Scope::Layer } else { Scope::Global });
        let (period, offset) = dead.layers;
        mask::kill(&mut model, |position| position >= offset && (position - offset).is_multiple_of(period));
        let untouched = model.encode_to_vec();
        let report = compact(&mut model, Options { round_to: dead.round_to }).unwrap();
        proptest::prop_assert!(report.walls.is_empty(), "{:?}", report.walls);
        if let Err(said) = check_equal(&untouched, &model.encode_to_vec(), IMAGE) {
            proptest::prop_assert!(false, "{said}");
        }
    }
}
