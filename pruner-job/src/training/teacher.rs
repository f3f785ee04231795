//! What a network learns from: labels, and the answers of a larger network.

use tch::{Kind, Reduction, TchError, Tensor};

use super::{EVALUATION_BATCH, TrainingError, doing, samples::Samples};
use crate::interpreter::{Mode, TrainableNetwork, copied};

/// What variants learn from a larger network: its answers to the training images (Hinton et al., "Distilling the Knowledge in
/// a Neural Network", 2015). Images are not altered in training, so each answer is computed once.
pub(crate) struct Teacher {
    answers: Tensor,
}

/// Softens the answers, so that small probabilities count; and the share of the labels in the loss.
const TEMPERATURE: f64 = 4.0;
const LABEL_SHARE: f64 = 0.3;

impl Teacher {
    /// Lets `network` answer all of `samples`, one answer after the other.
    pub(crate) fn answers(network: &TrainableNetwork, samples: &Samples) -> Result<Vec<f32>, TrainingError> {
        let mut answers = Vec::new();
        for indices in samples.in_order(EVALUATION_BATCH)? {
            let (images, _) = samples.batch(&indices)?;
            let computed = tch::no_grad(|| network.forward(&images, Mode::Evaluation))?;
            answers.extend(copied(&computed).map_err(doing("read answers"))?);
        }
        Ok(answers)
    }

    /// A teacher that gave `answers` to `count` samples.
    pub(crate) fn new(answers: &[f32], count: usize) -> Result<Self, TrainingError> {
        let answers = Tensor::f_from_slice(answers).and_then(|answers| answers.f_reshape([count as i64, -1]));
        Ok(Self { answers: answers.map_err(doing("load answers"))? })
    }

    /// `0.3 CE + 0.7 T^2 KL(teacher || network)` on answers softened by T; `by_label` is CE, `indices` are the samples'.
    pub(super) fn loss(
        &self,
        answers: &Tensor,
        by_label: &Tensor,
        indices: &Tensor,
    ) -> Result<Tensor, TchError> {
        let softened = |answers: &Tensor| answers.f_div_scalar(TEMPERATURE)?.f_log_softmax(-1, Kind::Float);
        let wanted = softened(&self.answers.f_index_select(0, indices)?)?;
        // `kl_div` by its own mean would divide by classes as well: sum, then divide by images.
        let divergence = softened(answers)?.f_kl_div(&wanted, Reduction::Sum, true)?;
        let images = indices.numel() as f64;
        let by_teacher = divergence.f_mul_scalar((1.0 - LABEL_SHARE) * TEMPERATURE * TEMPERATURE / images)?;
        by_label.f_mul_scalar(LABEL_SHARE)?.f_add(&by_teacher)
    }
}

/// Mean cross-entropy of `answers` (logits) against `labels`.
pub(crate) fn cross_entropy(answers: &Tensor, labels: &Tensor) -> Result<Tensor, TchError> {
    answers.f_cross_entropy_loss::<Tensor>(labels, None, Reduction::Mean, -100, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(network: &[f32], teacher: &[f32], label: i64) -> f64 {
        let answers = Tensor::from_slice(network).reshape([1, -1]);
        let by_label = cross_entropy(&answers, &Tensor::from_slice(&[label])).unwrap();
        let teacher = Teacher::new(teacher, 1).unwrap();
        teacher.loss(&answers, &by_label, &Tensor::from_slice(&[0_i64])).unwrap().double_value(&[])
    }

    #[test]
    fn the_loss_is_that_of_the_formula() {
        let softmax = |values: [f64; 2]| {
            let [a, b] = values.map(f64::exp);
            [a / (a + b), b / (a + b)]
        };
        let (network, teacher) = ([1.0, -1.0], [2.0, 4.0]);
        let [p, q] = [softmax(teacher.map(|x| x / 4.0)), softmax(network.map(|x| x / 4.0))];
        let divergence: f64 = p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum();
        let wanted = 0.3 * -softmax(network)[1].ln() + 0.7 * 16.0 * divergence;
        let found = loss(&network.map(|x| x as f32), &teacher.map(|x| x as f32), 1);
        assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
    }

    #[test]
    fn who_answers_like_the_teacher_learns_from_labels_only() {
        let answers = [0.3, -0.2, 1.0];
        let by_label =
            cross_entropy(&Tensor::from_slice(&answers).reshape([1, 3]), &Tensor::from_slice(&[2_i64]));
        let wanted = 0.3 * by_label.unwrap().double_value(&[]);
        assert!((loss(&answers, &answers, 2) - wanted).abs() < 1e-6);
    }
}
