//! Networks judged by ONNX Runtime on one thread: what they answer on the test images, and how fast, all in turns.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use ort::{
    environment::Environment,
    session::{Session, builder::GraphOptimizationLevel},
    value::TensorRef,
};
use serde::{Deserialize, Serialize};

use crate::images::LabelledImages;

/// Images that are answered at a time.
const BATCH: usize = 250;
/// Rounds in which each network takes its turn, and single images in a turn.
pub(super) const ROUNDS: usize = 15;
pub(super) const TURN: usize = 40;
/// Bins of confidence of the calibration error (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 3).
const BINS: usize = 15;

/// What is known of a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// Share of the test images that it is right about.
    pub accuracy: f64,
    /// Share of the test images on which it answers as the dense network does.
    pub agreement: f64,
    /// The most that one class loses against the dense network, as a share of its images.
    pub worst_class_drop: f64,
    /// Expected calibration error.
    pub calibration_error: f64,
    /// Median of one image, milliseconds.
    pub latency_ms: f64,
    /// Of the file.
    pub bytes: u64,
}

/// Open networks of one kind, the first of which is the dense one.
pub(super) struct Bench<'a> {
    environment: &'a Environment,
    images: &'a LabelledImages,
    shape: [usize; 3],
}

struct Answers {
    classes: Vec<usize>,
    confidences: Vec<f32>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(environment: &'a Environment, images: &'a LabelledImages, shape: [usize; 3]) -> Self {
        Self { environment, images, shape }
    }

    /// Judges all networks; the first is what the others are compared with.
    pub(super) fn judge(&self, networks: &[impl AsRef<Path>]) -> Result<Vec<Judgement>> {
        let mut sessions = Vec::new();
        for network in networks {
            let network = network.as_ref();
            let open = self.open(network).with_context(|| format!("failed to open {}", network.display()))?;
            sessions.push(open);
        }
        let answers = sessions.iter_mut().map(|session| self.answers(session)).collect::<Result<Vec<_>>>()?;
        let latencies = self.latencies(&mut sessions)?;
        let dense = answers.first().context("there is a network to compare with")?;
        let judged = answers.iter().zip(latencies).zip(networks).map(|((answers, latency_ms), network)| {
            Ok(Judgement {
                accuracy: self.accuracy(answers),
                agreement: agreement(answers, dense),
                worst_class_drop: self.worst_class_drop(answers, dense),
                calibration_error: self.calibration_error(answers),
                latency_ms,
                bytes: fs::metadata(network.as_ref())?.len(),
            })
        });
        judged.collect()
    }

    fn open(&self, network: &Path) -> ort::Result<Session> {
        Session::builder(self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .commit_from_file(network)
    }

    fn answers(&self, session: &mut Session) -> Result<Answers> {
        let mut answers = Answers { classes: Vec::new(), confidences: Vec::new() };
        for pixels in self.images.pixels().chunks(BATCH * self.images.image_len) {
            let [channels, height, width] = self.shape;
            let shape = [pixels.len() / self.images.image_len, channels, height, width];
            let outputs = session.run(ort::inputs![TensorRef::from_array_view((shape, pixels))?])?;
            let (_, logits) = outputs
                .values()
                .next()
                .context("an output")?
                .try_extract_tensor::<f32>()
                .map(|(shape, values)| (shape.to_vec(), values.to_vec()))?;
            ensure!(logits.len() % shape[0] == 0, "outputs of another size");
            for row in logits.chunks(logits.len() / shape[0]) {
                let best =
                    row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class);
                let largest = row.iter().copied().fold(f32::MIN, f32::max);
                answers.classes.push(best);
                answers.confidences.push(1.0 / row.iter().map(|value| (value - largest).exp()).sum::<f32>());
            }
        }
        Ok(answers)
    }

    /// Median milliseconds of one image for each network, in turns.
    fn latencies(&self, sessions: &mut [Session]) -> Result<Vec<f64>> {
        let image = self.images.pixels().get(..self.images.image_len).unwrap_or_default();
        let [channels, height, width] = self.shape;
        let mut times: Vec<Vec<f64>> = sessions.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (session, times) in sessions.iter_mut().zip(&mut times) {
                for _ in 0..TURN {
                    let tensor = TensorRef::from_array_view(([1, channels, height, width], image))?;
                    let start = Instant::now();
                    session.run(ort::inputs![tensor])?;
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        Ok(times.into_iter().map(|times| super::Spread::of(times).median).collect())
    }

    fn accuracy(&self, answers: &Answers) -> f64 {
        let right = answers.classes.iter().zip(self.images.labels());
        right.filter(|(class, label)| **class == usize::from(**label)).count() as f64
            / answers.classes.len() as f64
    }

    fn worst_class_drop(&self, answers: &Answers, dense: &Answers) -> f64 {
        let right = |answers: &Answers, class: u8| {
            let labels =
                self.images.labels().iter().zip(&answers.classes).filter(|(label, _)| **label == class);
            let (right, all) = labels.fold((0.0, 0.0_f64), |(right, all), (label, answer)| {
                (right + f64::from(u8::from(usize::from(*label) == *answer)), all + 1.0)
            });
            right / all.max(1.0)
        };
        let classes = self.images.labels().iter().copied().max().unwrap_or(0);
        (0..=classes).map(|class| right(dense, class) - right(answers, class)).fold(0.0, f64::max)
    }

    fn calibration_error(&self, answers: &Answers) -> f64 {
        // Count, sum of confidences and number of right answers of each bin.
        let mut bins = [(0.0, 0.0, 0.0); BINS];
        let both = answers.classes.iter().zip(&answers.confidences).zip(self.images.labels());
        for ((class, confidence), label) in both {
            let bin = ((confidence * BINS as f32) as usize).min(BINS - 1);
            if let Some((count, confidences, right)) = bins.get_mut(bin) {
                *count += 1.0;
                *confidences += f64::from(*confidence);
                *right += f64::from(u8::from(*class == usize::from(*label)));
            }
        }
        let all = answers.classes.len().max(1) as f64;
        bins.iter().map(|(_, confidences, right): &(f64, f64, f64)| (confidences - right).abs() / all).sum()
    }
}

fn agreement(answers: &Answers, dense: &Answers) -> f64 {
    let same = answers.classes.iter().zip(&dense.classes).filter(|(a, b)| a == b).count();
    same as f64 / answers.classes.len().max(1) as f64
}
