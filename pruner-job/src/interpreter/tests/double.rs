//! Compaction, proved in double precision: what is left of a difference there is the rounding of sums that were stored as f32, and no
//! mistake above that can hide in the rounding of the computation.

use dnnshifter_network::compact::{Options, compact};

use super::{
    CLASSIFIERS, Kind, Mode, Network, Norms, Tensor, TrainableNetwork, batch,
    compaction::mask::{self, Scope},
    random_inputs,
};

/// Each sum that was made beforehand is off by at most a half of the 24th binary digit, about 6e-8 of itself, and several meet in an
/// output: together they stay below this. A mistake that is smaller is not seen.
const ROUNDING: f64 = 1e-6;

/// The outputs of a network whose weights are f64, for f64 inputs.
fn outputs(network: &Network, inputs: &Tensor) -> Tensor {
    let mut trainable = TrainableNetwork::of(network).unwrap();
    for parameter in trainable.parameters.values_mut() {
        parameter.tensor = parameter.tensor.detach().to_kind(Kind::Double);
    }
    let outputs = trainable.forward(inputs, Mode::Evaluation).unwrap();
    assert_eq!(outputs.kind(), Kind::Double);
    outputs
}

#[test]
fn masked_networks_and_compacted_ones_differ_by_the_rounding_of_stored_sums_alone() {
    let mut wrong = Vec::new();
    for architecture in CLASSIFIERS {
        for (norms, fraction) in
            [(Norms::Kept, 0.9), (Norms::Folded, 0.9), (Norms::Kept, 0.97), (Norms::Folded, 0.97)]
        {
            let mut model = architecture.small(norms, 1);
            mask::mask(&mut model, fraction, Scope::Layer);
            let masked = Network::from_model(model.clone()).unwrap();
            compact(&mut model, Options::default()).unwrap();
            let compacted = Network::from_model(model).unwrap();
            assert!(compacted.write().len() < masked.write().len(), "{architecture:?}");
            let inputs = batch(&random_inputs(2 * 3 * 32 * 32), &masked.input().shape).to_kind(Kind::Double);
            let (expected, found) = (outputs(&masked, &inputs), outputs(&compacted, &inputs));
            let difference = (&expected - &found).abs().max().double_value(&[]);
            let relative = difference / expected.abs().max().double_value(&[]).max(1.0);
            if relative.is_nan() || relative > ROUNDING {
                wrong.push(format!("{architecture:?} {norms:?} {fraction}: {relative:e}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
