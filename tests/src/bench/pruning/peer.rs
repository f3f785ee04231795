//! Torch-Pruning (Fang et al., "`DepGraph`: Towards Any Structural Pruning", CVPR 2023), which a practitioner would take instead:
//! it prunes the same dense network to the same operations, by the same criterion, and fine-tunes for as many epochs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use dnnshifter_network::{Cost, Graph, Network, Shapes};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    DEVIATION, Extent, MEAN, PEAK,
    job::{VALIDATION_IMAGES, Workshop},
    judge::{Bench, Judgement},
};

/// As the pruner-job has it: the peak of the learning rate after a removal, as a share of the dense network's.
const FINE_TUNING_RATE: f64 = 0.4;

/// Images of the training file of Fashion-MNIST.
const TRAINING_IMAGES: usize = 60_000;

/// A network that Torch-Pruning has made, beside ours of the same cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// What ours is worth, judged in turns with theirs.
    pub ours: Judgement,
    /// What it is worth.
    pub judgement: Judgement,
    /// What it does.
    #[serde(flatten)]
    pub made: Made,
}

/// How Torch-Pruning has made a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// Where it is while the benchmark runs; empty in a report.
    #[serde(default, skip_serializing)]
    pub path: PathBuf,
    /// Its multiply-accumulates for one image.
    pub macs: u64,
    /// Seconds of collecting gradients to judge channels by.
    pub judging_seconds: f64,
    /// Median seconds of finding out which channels go together, which leave, and the network without them.
    pub removal_seconds: f64,
    /// Seconds of training after it.
    pub fine_tuning_seconds: f64,
}

/// Torch-Pruning, run by Python, and what judges its networks.
pub(super) struct TorchPruning<'a> {
    pub(super) python: &'a Path,
    pub(super) workshop: &'a Workshop<'a>,
    pub(super) bench: &'a Bench<'a>,
    /// Of everything random.
    pub(super) seed: u32,
}

impl TorchPruning<'_> {
    /// Makes a network of the cost of each of `ours` from `dense`, each from the one before it.
    pub(super) fn prune(&self, dense: &Path, ours: &[PathBuf], folder: &Path) -> Result<Vec<Peer>> {
        fs::create_dir_all(folder)?;
        let extent = self.workshop.extent;
        let mut command = Command::new(self.python);
        command.args(["-c", include_str!("torch_pruning.py")]).args([dense, self.workshop.dataset]);
        command.args([MEAN.to_string(), DEVIATION.to_string()]);
        let positions = folder.join("images.json");
        fs::write(&positions, serde_json::to_string(&learnt_from(extent, self.seed)?)?)?;
        command.arg(&positions).arg(extent.fine_tuning_epochs.to_string());
        command.args([(PEAK * FINE_TUNING_RATE).to_string(), self.seed.to_string()]).arg(folder);
        let costs = ours.iter().map(|network| macs(network)).collect::<Result<Vec<_>>>()?;
        let ended = command.args(costs.iter().map(u64::to_string)).output();
        let ended = ended.context("failed to start Python")?;
        ensure!(ended.status.success(), "Torch-Pruning failed: {}", String::from_utf8_lossy(&ended.stderr));
        let said = String::from_utf8_lossy(&ended.stdout);
        let line = said.lines().last().context("the script says what it has made")?;
        let made: Vec<Made> = serde_json::from_str(line)?;
        let paths = made.iter().map(|made| made.path.as_path());
        let networks: Vec<&Path> =
            std::iter::once(dense).chain(ours.iter().map(PathBuf::as_path)).chain(paths).collect();
        let mut judged = self.bench.judge(&networks)?.into_iter().skip(1);
        let ours: Vec<Judgement> = judged.by_ref().take(ours.len()).collect();
        let pairs = ours.into_iter().zip(judged).zip(made);
        Ok(pairs.map(|((ours, judgement), made)| Peer { ours, judgement, made }).collect())
    }
}

/// Positions of the training images that a plan of `seed` learns from, as the pruner-job divides them.
fn learnt_from(extent: Extent, seed: u32) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = (0..TRAINING_IMAGES).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed.into()));
    let learnt_from = VALIDATION_IMAGES as usize..(VALIDATION_IMAGES + extent.training_images) as usize;
    Ok(order.get(learnt_from).context("Fashion-MNIST has no more images")?.to_vec())
}

/// Multiply-accumulates of a network for one image.
pub(super) fn macs(path: &Path) -> Result<u64> {
    let network = Network::read(fs::read(path)?.into())?;
    let graph = Graph::of(&network)?;
    let shapes = Shapes::infer(&network, &graph)?;
    Ok(Cost::of(&network, &graph, &shapes)?.macs)
}
