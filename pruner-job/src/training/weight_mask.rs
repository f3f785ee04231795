//! A mask on the weights of a network that is being trained. What training does to a masked weight is undone after each step,
//! which is as if it had been multiplied by zero in each: momentum and decay of a weight touch no other.

use tch::{TchError, Tensor};

use crate::{interpreter::TrainableNetwork, magnitude::Mask};

/// For each masked weight tensor, the tensor and where it is masked.
pub(super) struct WeightMask(Vec<(Tensor, Tensor)>);

impl WeightMask {
    pub(super) fn of(mask: &Mask, network: &TrainableNetwork) -> Result<Self, TchError> {
        let mut masked = Vec::new();
        for (name, places) in mask.tensors() {
            if let Some(parameter) = network.parameters().get(name) {
                let places = Tensor::f_from_slice(places)?.f_reshape(parameter.tensor.size())?;
                masked.push((parameter.tensor.shallow_clone(), places));
            }
        }
        Ok(Self(masked))
    }

    /// Makes the masked weights zero again.
    pub(super) fn apply(&self) -> Result<(), TchError> {
        tch::no_grad(|| {
            for (weight, places) in &self.0 {
                let _same = weight.shallow_clone().f_masked_fill_(places, 0.0)?;
            }
            Ok(())
        })
    }
}
