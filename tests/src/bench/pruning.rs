//! The benchmark of pruning: what `make bench-pruning` measures and publishes. Everything runs on the same data and threads, in
//! the same command: portfolios of several seeds, each variant trained conventionally beside, what Torch-Pruning makes of the
//! same dense networks, the published method with and without compaction, int8 as what a user would try first, and portfolios of a
//! wider network.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod conventional;
mod fresh;
mod job;
mod judge;
mod levels;
pub mod page;
mod peer;

use super::{Machine, Programs, Spread};
use crate::images::LabelledImages;
pub use conventional::Conventional;
use conventional::Trainer;
use job::{Run, Workshop};
use judge::Bench;
pub use judge::Judgement;
pub use levels::Level;
use peer::TorchPruning;
pub use peer::{Made, Peer};

/// How Fashion-MNIST is normalised.
const MEAN: f32 = 0.286;
const DEVIATION: f32 = 0.353;
/// The peak of the dense network's learning rate.
const PEAK: f64 = 0.1;
/// The shape of its images.
const SHAPE: [usize; 3] = [1, 28, 28];
/// Part of the published widths of VGG-16: a network that a small machine can train many times.
const WIDTH: &str = "1/4";
/// Its smallest networks take hardly longer than ONNX Runtime itself; those of a wider one have farther to fall.
const WIDER: &str = "1/2";
/// Variants are asked for up to so many: more than there are steps until every layer is at its least.
const VARIANTS: u32 = 8;
/// Faster variants that are less accurate are easily had, and nothing worth.
const LEAST_ACCURACY: &str = "0.8";

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extent {
    /// Portfolios, each from another seed.
    pub seeds: u32,
    /// For how many of them, the first, one of a wider network is made as well.
    pub wider_seeds: u32,
    /// Images that are learnt from.
    pub training_images: u32,
    /// Epochs of dense networks, and of conventional training.
    pub epochs: u32,
    /// Epochs after each removal of channels.
    pub fine_tuning_epochs: u32,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// On what.
    pub machine: Machine,
    /// How much was measured.
    pub extent: Extent,
    /// A portfolio by the structured method for each seed.
    pub portfolios: Vec<Portfolio>,
    /// The same of a wider network, without anything beside it.
    pub wider: Vec<Portfolio>,
    /// The levels of the published method for each seed.
    pub levels: Vec<Vec<Level>>,
}

/// A portfolio, and what its variants cost otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Portfolio {
    /// Seed of everything random.
    pub seed: u32,
    /// The network that everything is made from.
    pub dense: Judgement,
    /// Its accuracy on the validation images, which networks are chosen on.
    pub dense_validation_accuracy: f64,
    /// Whether it became a variant.
    pub dense_chosen: bool,
    /// Seconds of its training.
    pub dense_seconds: f64,
    /// Seconds from the plan to the finished portfolio.
    pub seconds: f64,
    /// Latency of the slowest chosen variant over the fastest.
    pub range: f64,
    /// The smaller networks, the largest first.
    pub smaller: Vec<Smaller>,
    /// The dense network, quantised; absent of a wider network, and if there was no Python to do it.
    pub int8: Option<Quantised>,
}

/// A network in int8, judged in turns with the one that it is made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantised {
    /// The network as it was.
    pub dense: Judgement,
    /// What it is in int8.
    pub judgement: Judgement,
}

/// A smaller network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Smaller {
    /// What it is worth.
    pub judgement: Judgement,
    /// Its accuracy on the validation images, which networks are chosen on.
    pub validation_accuracy: f64,
    /// Whether it became a variant.
    pub chosen: bool,
    /// Its multiply-accumulates for one image.
    pub macs: u64,
    /// How many times faster than the network before it, as it was measured when channels were removed.
    pub latency_ratio: f64,
    /// The same as the table of latencies foretold.
    pub predicted_latency_ratio: f64,
    /// Seconds of finding out which channels go together, which leave, and the network without them, in all rounds: the
    /// structural step alone.
    pub removal_seconds: f64,
    /// Seconds of the whole step before training: judging channels, measuring how many must leave, and repair besides.
    pub structural_seconds: f64,
    /// Seconds of training after it.
    pub fine_tuning_seconds: f64,
    /// Training the same layers from new weights; absent of a wider network.
    pub conventional: Option<Conventional>,
    /// What Torch-Pruning makes of the same dense network, to the same operations; absent of a wider network, and if there was no
    /// Python to run it.
    pub torch_pruning: Option<Peer>,
}

/// What the benchmark needs.
pub struct Tools<'a> {
    /// The programs beside this one.
    pub programs: &'a Programs,
    /// The folder of Fashion-MNIST.
    pub dataset: &'a Path,
    /// A Python with `onnxruntime` and `onnx`, to quantise with.
    pub python: Option<PathBuf>,
    /// A Python with `torch`, `torch-pruning` and `onnx`.
    pub torch_python: Option<PathBuf>,
}

/// Measures in `directory`, and says what it does.
pub fn measure(tools: &Tools<'_>, directory: &Path, extent: Extent, say: impl Fn(&str)) -> Result<Report> {
    let environment = ort::init_from(&tools.programs.onnxruntime)?.with_telemetry(false).build()?;
    let images = LabelledImages::read(tools.dataset, MEAN, DEVIATION)?;
    let bench = Bench::new(&environment, &images, SHAPE);
    let workshop = Workshop {
        program: &tools.programs.pruner_job,
        onnxruntime: &tools.programs.onnxruntime,
        dataset: tools.dataset,
        extent,
    };
    let (mut portfolios, mut wider, mut levels) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 1..=extent.seeds {
        say(&format!("portfolio of seed {seed} of {}", extent.seeds));
        let folder = directory.join(format!("seed-{seed}"));
        let mut made = portfolio(&workshop, &bench, &folder, WIDTH, seed)?;
        say(&format!("conventional training with seed {seed}"));
        train_conventionally(&mut made, &Trainer { workshop: &workshop, bench: &bench, seed }, &folder)?;
        if let Some(python) = &tools.torch_python {
            say(&format!("Torch-Pruning with seed {seed}"));
            let peer = TorchPruning { python, workshop: &workshop, bench: &bench, seed };
            set_beside(&mut made, &peer, &folder)?;
        }
        if let Some(python) = &tools.python {
            say(&format!("int8 with seed {seed}"));
            made.int8 = Some(quantised(python, tools.dataset, &bench, &folder)?);
        }
        portfolios.push(made);
        say(&format!("the published method with seed {seed}"));
        levels.push(levels::levels(&workshop, &bench, &folder.join("levels"), seed)?);
        if seed <= extent.wider_seeds {
            say(&format!("portfolio of a wider network of seed {seed} of {}", extent.wider_seeds));
            wider.push(portfolio(&workshop, &bench, &folder.join("wider"), WIDER, seed)?);
        }
    }
    Ok(Report { machine: Machine::this(tools.programs), extent, portfolios, wider, levels })
}

/// Trains the layers of each smaller network of a portfolio that was made in `folder` from new weights.
fn train_conventionally(portfolio: &mut Portfolio, trainer: &Trainer<'_>, folder: &Path) -> Result<()> {
    for (position, smaller) in (1..).zip(&mut portfolio.smaller) {
        let network = job::network(&folder.join("structured"), &format!("variant-{position}"));
        let network = network.context("each step was kept")?;
        let conventional = trainer.train(&network, &folder.join(format!("conventional-{position}")))?;
        smaller.conventional = Some(conventional);
    }
    Ok(())
}

/// Sets what Torch-Pruning makes beside each smaller network of a portfolio that was made in `folder`.
fn set_beside(portfolio: &mut Portfolio, peer: &TorchPruning<'_>, folder: &Path) -> Result<()> {
    let ours = folder.join("structured");
    let step = |name: &str| job::network(&ours, name).context("each step was kept");
    let networks = (1..=portfolio.smaller.len()).map(|position| step(&format!("variant-{position}")));
    let networks = networks.collect::<Result<Vec<_>>>()?;
    let made = peer.prune(&step("dense")?, &networks, &folder.join("torch-pruning"))?;
    ensure!(made.len() == portfolio.smaller.len(), "Torch-Pruning made {} networks", made.len());
    for (smaller, peer) in portfolio.smaller.iter_mut().zip(made) {
        smaller.torch_pruning = Some(peer);
    }
    Ok(())
}

fn structured(extent: Extent) -> Value {
    json!({"structured": {"criterion": "Taylor", "channelMultiple": 8, "latencyRatioHundredths": 150,
        "fineTuningEpochs": extent.fine_tuning_epochs}})
}

/// Makes the portfolio of a network of so many of the published widths in `folder`.
fn portfolio(
    workshop: &Workshop<'_>,
    bench: &Bench<'_>,
    folder: &Path,
    width: &str,
    seed: u32,
) -> Result<Portfolio> {
    let run = run(workshop, folder, width, seed)?;
    let steps = (1..VARIANTS).map_while(|position| run.step(&format!("variant-{position}")));
    let networks: Vec<PathBuf> = run.step("dense").into_iter().chain(steps).collect();
    let mut judged = bench.judge(&networks)?.into_iter();
    let dense = judged.next().context("the dense network was kept")?;
    let trained = run.when("network trained")?;
    let latencies = run.portfolio()?.variants.into_iter().map(|variant| variant.latency_us as f64);
    let range = Spread::of(latencies);
    let smaller = (1..).zip(judged).map(|(position, judgement)| smaller(&run, position, judgement));
    Ok(Portfolio {
        seed,
        dense,
        dense_validation_accuracy: run.validation_accuracy(0)?,
        dense_chosen: run.is_chosen(0),
        dense_seconds: trained - run.when("plan prepared")?,
        seconds: run.seconds(),
        range: range.most / range.least,
        smaller: smaller.collect::<Result<_>>()?,
        int8: None,
    })
}

/// Runs the structured method.
fn run(workshop: &Workshop<'_>, folder: &Path, width: &str, seed: u32) -> Result<Run> {
    std::fs::create_dir_all(folder)?;
    let model = folder.join("model.onnx");
    workshop.model(&model, width, seed)?;
    let method = structured(workshop.extent);
    let mut plan = workshop.plan(&model, &method, seed, VARIANTS, workshop.extent.epochs);
    let fields = plan.as_object_mut().context("a plan has fields")?;
    fields.insert("minimumAccuracy".to_owned(), LEAST_ACCURACY.into());
    workshop.run(&folder.join("structured"), &plan)
}

/// What a run of the structured method says of the smaller network at `position`, from 1 on.
fn smaller(run: &Run, position: usize, judgement: Judgement) -> Result<Smaller> {
    let at = |numbers: &[f64], index: usize| numbers.get(index).copied().context("each step is in the log");
    let said = |field| at(&run.numbers("channels removed", field), position - 1);
    let trained = run.times("network trained");
    let (before, after) = (at(&trained, position - 1)?, at(&trained, position)?);
    let removed = at(&run.times("channels removed"), position - 1)?;
    let network = run.step(&format!("variant-{position}")).context("each step was kept")?;
    Ok(Smaller {
        judgement,
        validation_accuracy: run.validation_accuracy(position)?,
        chosen: run.is_chosen(position),
        macs: peer::macs(&network)?,
        latency_ratio: said("latency_ratio")?,
        predicted_latency_ratio: said("predicted_latency_ratio")?,
        removal_seconds: said("removal_seconds")?,
        structural_seconds: removed - before,
        fine_tuning_seconds: after - removed,
        conventional: None,
        torch_pruning: None,
    })
}

/// The dense network of the portfolio that was made in `folder`, quantised.
fn quantised(python: &Path, dataset: &Path, bench: &Bench<'_>, folder: &Path) -> Result<Quantised> {
    let dense = job::network(&folder.join("structured"), "dense").context("each step was kept")?;
    let quantised = folder.join("int8.onnx");
    quantise(python, &dense, dataset, &quantised)?;
    let judged: [Judgement; 2] =
        bench.judge(&[&dense, &quantised])?.try_into().ok().context("both were judged")?;
    let [dense, judgement] = judged;
    Ok(Quantised { dense, judgement })
}

fn quantise(python: &Path, network: &Path, dataset: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new(python);
    command.args(["-c", include_str!("pruning/int8.py")]).arg(network).arg(dataset);
    let ended = command.args([MEAN.to_string(), DEVIATION.to_string()]).arg(to).output();
    let ended = ended.context("failed to start Python")?;
    ensure!(ended.status.success(), "quantising failed: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(())
}
