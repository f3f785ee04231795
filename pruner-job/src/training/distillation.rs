//! Learning from a teacher: a smaller network is told not only which class an image has, but how alike the larger network finds
//! all of them (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015).

use tch::{Kind, Reduction, TchError, Tensor};

/// Answers are softened by it, so that the classes that a teacher thinks unlikely tell something, too: logits are divided by it.
/// Hinton et al. found 2.5 to 4 best for networks that are small beside their teacher (section 3).
const TEMPERATURE: f64 = 4.0;
/// How much the labels count against the teacher, which knows more than they do, but is wrong at times. Labels weigh "considerably
/// lower" in section 2 of the paper.
const WEIGHT_OF_LABELS: f64 = 0.3;

/// The loss of `answers` (logits), whose `cross_entropy` with the labels is known: `w CE(labels) + (1 - w) T^2 KL(teacher || student)`,
/// both softened by `T` in the divergence and means over the batch. Gradients of softened answers fall with `T^2`, which the factor
/// makes up for (section 2).
pub(super) fn loss(cross_entropy: &Tensor, answers: &Tensor, teacher: &Tensor) -> Result<Tensor, TchError> {
    let softened = |logits: &Tensor| logits.f_div_scalar(TEMPERATURE)?.f_log_softmax(-1, Kind::Float);
    let images = answers.size().first().map_or(1, |&images| images.max(1)) as f64;
    let divergence = softened(answers)?.f_kl_div(&softened(teacher)?, Reduction::Sum, true)?;
    let from_teacher =
        divergence.f_mul_scalar(TEMPERATURE * TEMPERATURE * (1.0 - WEIGHT_OF_LABELS) / images)?;
    cross_entropy.f_mul_scalar(WEIGHT_OF_LABELS)?.f_add(&from_teacher)
}

#[cfg(test)]
mod tests {
    use super::{super::cross_entropy, *};

    /// Shares of the classes when logits are divided by `temperature`.
    fn shares(logits: &[f64], temperature: f64) -> Vec<f64> {
        let powers: Vec<f64> = logits.iter().map(|logit| (logit / temperature).exp()).collect();
        let all: f64 = powers.iter().sum();
        powers.iter().map(|power| power / all).collect()
    }

    #[test]
    fn the_loss_is_what_the_formula_says() {
        let (student, teacher) = ([[1.0, -0.5, 0.25], [0.0, 2.0, -1.0]], [[2.0, 0.5, -3.0], [1.5, 1.0, 0.0]]);
        let labels = [0_i64, 2];
        let mut wanted = 0.0;
        for ((student, teacher), &label) in student.iter().zip(&teacher).zip(&labels) {
            let (soft, taught) = (shares(student, 4.0), shares(teacher, 4.0));
            let divergence: f64 = taught.iter().zip(&soft).map(|(t, s)| t * (t / s).ln()).sum();
            let surprise = -shares(student, 1.0)[label as usize].ln();
            wanted += (0.3 * surprise + 0.7 * 16.0 * divergence) / labels.len() as f64;
        }
        let tensor =
            |rows: &[[f64; 3]; 2]| Tensor::from_slice(&rows.concat()).to_kind(Kind::Float).view([2, 3]);
        let (student, teacher) = (tensor(&student), tensor(&teacher));
        let of_labels = cross_entropy(&student, &Tensor::from_slice(&labels)).unwrap();
        let found = loss(&of_labels, &student, &teacher).unwrap();
        assert!((found.double_value(&[]) - wanted).abs() < 1e-5, "{} {wanted}", found.double_value(&[]));
    }

    #[test]
    fn who_answers_as_the_teacher_does_learns_from_labels_alone() {
        let answers = Tensor::from_slice(&[1.0_f32, -2.0, 0.5, 0.1]).view([2, 2]);
        let labels = Tensor::from_slice(&[0_i64, 1]);
        let of_labels = cross_entropy(&answers, &labels).unwrap();
        let found = loss(&of_labels, &answers, &answers).unwrap().double_value(&[]);
        let wanted = 0.3 * of_labels.double_value(&[]);
        assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
    }
}
