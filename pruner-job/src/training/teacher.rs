//! What a trained network answers to the images that a smaller one learns from, for [`super::distillation`]. To an image that is
//! never changed it always answers the same: then it is asked once, not in every epoch of every smaller network. Teaches nothing
//! itself.

use tch::{Tensor, no_grad};

use super::{EVALUATION_BATCH, TrainingError, doing, samples::Samples};
use crate::interpreter::{Mode, TrainableNetwork, copied};

/// Answers that would take more memory than this are not kept: it holds a thousand classes of 67 000 images, and is little beside
/// what training takes.
const MOST_BYTES: usize = 256 << 20;

/// The answers (logits) of a network to all images, as numbers that threads may share.
pub(crate) struct Answers {
    /// Images x classes.
    logits: Vec<f32>,
    images: usize,
}

/// Whom a network learns from.
pub(crate) enum Teacher {
    /// A network that is asked about each batch, as it is shown.
    Asked(Box<TrainableNetwork>),
    /// Its answers to all images as they are, images x classes.
    Noted(Tensor),
}

impl Answers {
    /// Whether so many are kept.
    pub(crate) fn are_few(images: usize, classes: usize) -> bool {
        images.saturating_mul(classes).saturating_mul(size_of::<f32>()) <= MOST_BYTES
    }

    /// Asks `network` about each of `samples` once.
    pub(crate) fn of(network: &TrainableNetwork, samples: &Samples) -> Result<Self, TrainingError> {
        let mut logits = Vec::new();
        for indices in samples.in_order(EVALUATION_BATCH)? {
            let (images, _) = samples.batch(&indices)?;
            let answers = no_grad(|| network.logits(&images, Mode::Evaluation))?;
            logits.extend(copied(&answers).map_err(doing("note answers"))?);
        }
        Ok(Self { logits, images: samples.len() })
    }
}

impl Teacher {
    /// The teacher that has answered so.
    pub(crate) fn noted(answers: &Answers) -> Result<Self, TrainingError> {
        let values = Tensor::f_from_slice(&answers.logits);
        let rows = values.and_then(|values| values.f_view([answers.images as i64, -1]));
        Ok(Self::Noted(rows.map_err(doing("look up answers"))?))
    }

    /// Its answers to the images at `indices`, which are shown as `images`.
    pub(super) fn answers(&self, images: &Tensor, indices: &Tensor) -> Result<Tensor, TrainingError> {
        match self {
            Self::Asked(network) => Ok(no_grad(|| network.logits(images, Mode::Evaluation))?),
            Self::Noted(rows) => rows.f_index_select(0, indices).map_err(doing("look up answers")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_fill_the_memory_is_not_kept() {
        assert!(Answers::are_few(55_000, 10) && Answers::are_few(50_000, 1000));
        assert!(!Answers::are_few(1_300_000, 1000) && !Answers::are_few(usize::MAX, 10));
    }
}
