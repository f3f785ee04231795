//! Conventional training, which a variant is compared with: the same layers from new weights.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{fresh, job::Workshop, judge::Bench, structured};

/// Training from new weights, for as many epochs as the dense network has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conventional {
    /// Seconds of the training.
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
    /// Trains the layers of `network` from new weights.
    pub(super) fn train(&self, network: &Path, folder: &Path) -> Result<Conventional> {
        let extent = self.workshop.extent;
        fs::create_dir_all(folder)?;
        let model = folder.join("model.onnx");
        fresh::redraw(network, &model, self.seed.into())?;
        let plan = self.workshop.plan(&model, &structured(extent), self.seed, 1, extent.epochs);
        let run = self.workshop.run(folder, &plan)?;
        let seconds = run.when("network trained")? - run.when("plan prepared")?;
        let trained = run.step("dense").context("it was kept")?;
        let judged = self.bench.judge(&[trained])?;
        let accuracy = judged.first().context("it was judged")?.accuracy;
        Ok(Conventional { seconds, accuracy })
    }
}
