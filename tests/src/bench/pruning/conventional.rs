//! Conventional training, which a variant is compared with: the same layers from new weights.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{fresh, job::Workshop, judge::Bench, structured};

/// Conventional training that falls short is repeated with twice the epochs, at most so often.
const DOUBLINGS: u32 = 1;

/// Training from new weights, for as many epochs as it takes to be as accurate.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conventional {
    /// Epochs of the last training.
    pub epochs: u32,
    /// Seconds of it.
    pub seconds: f64,
    /// Test accuracy after it.
    pub accuracy: f64,
}

/// Trains conventionally.
pub(super) struct Trainer<'a> {
    pub(super) workshop: &'a Workshop<'a>,
    pub(super) bench: &'a Bench<'a>,
    pub(super) seed: u32,
}

impl Trainer<'_> {
    /// Trains the layers of `network` from new weights, for twice the epochs each time, until they are as accurate.
    ///
    /// The learning rate follows the epochs, so a longer training is no continuation of a shorter one.
    pub(super) fn until(&self, network: &Path, accuracy: f64, folder: &Path) -> Result<Conventional> {
        let mut last = None;
        for epochs in (0..=DOUBLINGS).map(|doubling| self.workshop.extent.epochs << doubling) {
            let trained = self.train(network, epochs, &folder.join(format!("{epochs}-epochs")))?;
            last = Some(trained);
            if trained.accuracy >= accuracy {
                break;
            }
        }
        last.context("it was trained once at least")
    }

    fn train(&self, network: &Path, epochs: u32, folder: &Path) -> Result<Conventional> {
        fs::create_dir_all(folder)?;
        let model = folder.join("model.onnx");
        fresh::redraw(network, &model, self.seed.into())?;
        let plan = self.workshop.plan(&model, &structured(self.workshop.extent), self.seed, 1, epochs);
        let run = self.workshop.run(folder, &plan)?;
        let seconds = run.when("network trained", None)? - run.when("plan prepared", None)?;
        let trained = run.step("dense").context("it was kept")?;
        let judged = self.bench.judge(&[trained])?;
        let accuracy = judged.first().context("it was judged")?.accuracy;
        Ok(Conventional { epochs, seconds, accuracy })
    }
}
