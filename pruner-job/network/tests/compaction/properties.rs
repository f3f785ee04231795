//! Random networks and random masks.

use proptest::prelude::{Strategy, any, prop, proptest};
use prost::Message;

use crate::{
    judge::{Judged, images},
    random::{Choice, IMAGE, network},
};

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
