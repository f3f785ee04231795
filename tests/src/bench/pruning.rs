//! The benchmark of pruning: what `make bench-pruning` measures and publishes. Everything runs on the same data and threads, in
//! the same command: portfolios of several seeds, each variant trained conventionally beside, the published method with and
//! without compaction, and int8 as what a user would try first.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod fresh;
mod job;
mod judge;
pub mod page;
mod peer;

use super::{Programs, Spread};
use crate::images::LabelledImages;
use job::Workshop;
use judge::Bench;
pub use judge::Judgement;
use peer::TorchPruning;
pub use peer::{Made, Peer};

/// How Fashion-MNIST is normalised.
const MEAN: f32 = 0.286;
const DEVIATION: f32 = 0.353;
/// The peak of the dense network's learning rate.
const PEAK: f64 = 0.1;
/// The shape of its images.
const SHAPE: [usize; 3] = [1, 28, 28];
/// Part of the published widths of VGG-16: a network that a small machine can train.
const WIDTH: &str = "1/4";
/// Variants are asked for up to so many.
const VARIANTS: u32 = 6;
/// Densities of the published method.
const DENSITIES: [&str; 4] = ["0.1", "0.03", "0.01", "0.004"];

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extent {
    /// Portfolios, each from another seed.
    pub seeds: u32,
    /// Images that are learnt from.
    pub training_images: u32,
    /// Epochs of the dense network, of each level, and of conventional training.
    pub epochs: u32,
    /// Epochs after each removal of channels.
    pub fine_tuning_epochs: u32,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How much was measured.
    pub extent: Extent,
    /// A portfolio by the structured method for each seed.
    pub portfolios: Vec<Portfolio>,
    /// The published method.
    pub levels: Vec<Level>,
    /// Torch-Pruning beside the portfolio of the first seed; absent if there was no Python to run it.
    pub torch_pruning: Option<Vec<Peer>>,
    /// The dense network of the first seed, quantised; absent if there was no Python to do it.
    pub int8: Option<Judgement>,
}

/// A portfolio, and what its variants cost otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Portfolio {
    /// Seed of everything random.
    pub seed: u32,
    /// The network that everything is made from.
    pub dense: Judgement,
    /// Seconds of its training.
    pub dense_seconds: f64,
    /// Seconds from the plan to the finished portfolio.
    pub seconds: f64,
    /// Latency of the slowest chosen variant over the fastest.
    pub range: f64,
    /// The smaller networks, the largest first.
    pub smaller: Vec<Smaller>,
}

/// A smaller network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Smaller {
    /// What it is worth.
    pub judgement: Judgement,
    /// Its multiply-accumulates for one image.
    pub macs: u64,
    /// Seconds of planning which channels leave, and of removing them: the structural step alone.
    pub removal_seconds: f64,
    /// Seconds of the whole step before training: judging channels, and measuring how many must leave, besides.
    pub structural_seconds: f64,
    /// Seconds of training after it.
    pub fine_tuning_seconds: f64,
    /// Seconds of training the same layers from new weights for the epochs of the dense network.
    pub conventional_seconds: f64,
    /// Test accuracy of that.
    pub conventional_accuracy: f64,
}

/// A level of the published method.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    /// Share of the weights that is left.
    pub density: String,
    /// Seconds of the removal of what is dead.
    pub compaction_seconds: f64,
    /// Seconds of its training.
    pub training_seconds: f64,
    /// The network as it was trained, zeros and all.
    pub masked: Judgement,
    /// The same without what is dead.
    pub compacted: Judgement,
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
    let mut portfolios = Vec::new();
    for seed in 1..=extent.seeds {
        say(&format!("portfolio of seed {seed} of {}", extent.seeds));
        portfolios.push(portfolio(&workshop, &bench, &directory.join(format!("seed-{seed}")), seed)?);
    }
    say("the published method");
    let levels = levels(&workshop, &bench, &directory.join("levels"))?;
    let dense = directory.join("seed-1/structured/steps/checkpoint-bench-dense/model.onnx");
    let int8 = match &tools.python {
        Some(python) => {
            say("int8");
            let quantised = directory.join("int8.onnx");
            quantise(python, &dense, tools.dataset, &quantised)?;
            bench.judge(&[&dense, &quantised])?.pop()
        }
        None => None,
    };
    let costs: Vec<u64> =
        portfolios.iter().take(1).flat_map(|first| &first.smaller).map(|smaller| smaller.macs).collect();
    let torch_pruning = match &tools.torch_python {
        Some(python) => {
            say("Torch-Pruning");
            let peer = TorchPruning { python, workshop: &workshop, bench: &bench };
            Some(peer.prune(&dense, &costs, &directory.join("torch-pruning"))?)
        }
        None => None,
    };
    Ok(Report { extent, portfolios, levels, torch_pruning, int8 })
}

fn structured(extent: Extent) -> Value {
    json!({"structured": {"criterion": "Taylor", "channelMultiple": 8, "latencyRatioHundredths": 150,
        "fineTuningEpochs": extent.fine_tuning_epochs}})
}

fn portfolio(workshop: &Workshop<'_>, bench: &Bench<'_>, folder: &Path, seed: u32) -> Result<Portfolio> {
    std::fs::create_dir_all(folder)?;
    let model = folder.join("model.onnx");
    workshop.model(&model, WIDTH, seed)?;
    let method = structured(workshop.extent);
    let run = workshop.run(&folder.join("structured"), &model, &method, seed, VARIANTS)?;
    let steps = (1..VARIANTS).map_while(|position| run.step(&format!("variant-{position}")));
    let networks: Vec<PathBuf> = run.step("dense").into_iter().chain(steps).collect();
    let mut judged = bench.judge(&networks)?.into_iter();
    let dense = judged.next().context("the dense network was kept")?;
    let (removed, trained) = (run.times("channels removed"), run.times("network trained"));
    let removals = run.numbers("channels removed", "removal_seconds");
    let dense_seconds = trained.first().context("it was trained")? - run.when("plan prepared", None)?;
    let mut smaller = Vec::new();
    for (position, judgement) in (1..).zip(judged) {
        let at = |times: &[f64], index: usize| times.get(index).copied().context("each step is in the log");
        let (before, cut, after) =
            (at(&trained, position - 1)?, at(&removed, position - 1)?, at(&trained, position)?);
        let network = networks.get(position).context("each step was kept")?;
        let (conventional_seconds, conventional_accuracy) =
            conventional(workshop, bench, network, &folder.join(format!("conventional-{position}")), seed)?;
        smaller.push(Smaller {
            judgement,
            macs: peer::macs(network)?,
            removal_seconds: at(&removals, position - 1)?,
            structural_seconds: cut - before,
            fine_tuning_seconds: after - cut,
            conventional_seconds,
            conventional_accuracy,
        });
    }
    let latencies = run.portfolio()?.variants.into_iter().map(|variant| variant.latency_us as f64);
    let range = Spread::of(latencies);
    Ok(Portfolio {
        seed,
        dense,
        dense_seconds,
        seconds: run.seconds(),
        range: range.most / range.least,
        smaller,
    })
}

/// Seconds and test accuracy of training a network's layers from new weights.
fn conventional(
    workshop: &Workshop<'_>,
    bench: &Bench<'_>,
    network: &Path,
    folder: &Path,
    seed: u32,
) -> Result<(f64, f64)> {
    std::fs::create_dir_all(folder)?;
    let model = folder.join("model.onnx");
    fresh::redraw(network, &model, seed.into())?;
    let run = workshop.run(folder, &model, &structured(workshop.extent), seed, 1)?;
    let seconds = run.when("network trained", None)? - run.when("plan prepared", None)?;
    let trained = run.step("dense").context("it was kept")?;
    Ok((seconds, bench.judge(&[trained])?.first().map_or(0.0, |judgement| judgement.accuracy)))
}

fn levels(workshop: &Workshop<'_>, bench: &Bench<'_>, folder: &Path) -> Result<Vec<Level>> {
    std::fs::create_dir_all(folder)?;
    let model = folder.join("model.onnx");
    workshop.model(&model, WIDTH, 1)?;
    let steps = workshop.extent.training_images / 128;
    let method = json!({"iterativeMagnitude": {"densities": DENSITIES, "rewindSteps": steps / 2, "keepLastLayer": true}});
    let run = workshop.run(folder, &model, &method, 1, 12)?;
    let masked: Vec<PathBuf> =
        (1..=DENSITIES.len()).filter_map(|position| run.step(&format!("variant-{position}"))).collect();
    ensure!(masked.len() == DENSITIES.len(), "a level is missing");
    let compacted: Vec<PathBuf> = masked.iter().map(|path| path.with_file_name("compacted.onnx")).collect();
    let mut seconds = Vec::new();
    for (from, to) in masked.iter().zip(&compacted) {
        seconds.push(compact(workshop, from, to)?);
    }
    let dense = run.step("dense").context("the dense network was kept")?;
    let all: Vec<&PathBuf> = std::iter::once(&dense).chain(&masked).chain(&compacted).collect();
    let judged = bench.judge(&all)?;
    let (masks, trained) = (run.times("weights masked"), run.times("network trained"));
    let level = |position: usize| {
        let judgement = |at: usize| judged.get(at).cloned().context("all were judged");
        // The early and the dense network were trained before.
        let (start, end) = (masks.get(position), trained.get(position + 2));
        Ok(Level {
            density: (*DENSITIES.get(position).context("a density")?).to_owned(),
            compaction_seconds: *seconds.get(position).context("a time")?,
            training_seconds: end.context("it was trained")? - start.context("it was masked")?,
            masked: judgement(1 + position)?,
            compacted: judgement(1 + masked.len() + position)?,
        })
    };
    (0..masked.len()).map(level).collect()
}

/// Removes what is dead, and gives the seconds that the rewriting alone took.
fn compact(workshop: &Workshop<'_>, from: &Path, to: &Path) -> Result<f64> {
    let report = to.with_extension("json");
    let mut command = Command::new(workshop.program);
    let ended = command.arg("compact").args([from, to]).arg("--report").arg(&report).output()?;
    ensure!(ended.status.success(), "compact: {}", String::from_utf8_lossy(&ended.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(report)?)?;
    report.pointer("/seconds/compact").and_then(Value::as_f64).context("the report has seconds.compact")
}

fn quantise(python: &Path, network: &Path, dataset: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new(python);
    command.args(["-c", include_str!("pruning/int8.py")]).arg(network).arg(dataset);
    let ended = command.args([MEAN.to_string(), DEVIATION.to_string()]).arg(to).output();
    let ended = ended.context("failed to start Python")?;
    ensure!(ended.status.success(), "quantising failed: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(())
}
