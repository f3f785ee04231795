//! A plan, run by `dnnshifter-pruner-job` as a person would run it, timed by the lines of its log.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use dnnshifter_portfolio::PortfolioManifest;
use serde_json::{Value, json};

use super::{DEVIATION, Extent, MEAN, PEAK};

/// Images that networks are chosen on.
pub(super) const VALIDATION_IMAGES: u32 = 5_000;

/// What the log says of each network, in their order, when they are chosen from.
const MEASURED: &str = "network measured";

/// What every plan of the benchmark has alike.
pub(super) struct Workshop<'a> {
    pub(super) program: &'a Path,
    pub(super) onnxruntime: &'a Path,
    pub(super) dataset: &'a Path,
    pub(super) extent: Extent,
}

/// A finished run.
pub(super) struct Run {
    folder: PathBuf,
    /// Message and fields of each line, and the seconds after which it came.
    lines: Vec<(f64, Value)>,
}

impl Workshop<'_> {
    /// A network as `model` writes it.
    pub(super) fn model(&self, path: &Path, width: &str, seed: u32) -> Result<()> {
        let mut command = Command::new(self.program);
        command.args(["model", "vgg16", "--input", "1x28x28", "--classes", "10", "--width", width]);
        let made = command.args(["--seed", &seed.to_string(), "--output"]).arg(path).output();
        let made = made.context("failed to start dnnshifter-pruner-job")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Ok(())
    }

    /// Runs `plan` in a folder of its own.
    pub(super) fn run(&self, folder: &Path, plan: &Value) -> Result<Run> {
        fs::create_dir_all(folder)?;
        let path = folder.join("plan.json");
        fs::write(&path, plan.to_string())?;
        let mut command = Command::new(self.program);
        command
            .arg("run")
            .arg(&path)
            .args(["--log-format", "json", "--output"])
            .arg(folder.join("portfolio"));
        command.arg("--checkpoints").arg(folder.join("steps")).env("ORT_DYLIB_PATH", self.onnxruntime);
        let started = Instant::now();
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = process.stderr.take().context("the log is piped")?;
        let mut lines = Vec::new();
        for line in BufReader::new(log).lines() {
            let line = line?;
            let fields = serde_json::from_str(&line).unwrap_or(Value::String(line));
            lines.push((started.elapsed().as_secs_f64(), fields));
        }
        if !process.wait()?.success() {
            bail!("{} failed: {}", path.display(), lines.last().map_or(&Value::Null, |(_, line)| line));
        }
        Ok(Run { folder: folder.to_owned(), lines })
    }

    /// What makes up to `variants` of `model` with `method`.
    pub(super) fn plan(&self, model: &Path, method: &Value, seed: u32, variants: u32, epochs: u32) -> Value {
        let training_images = self.extent.training_images;
        json!({
            "version": "dnnshifter.io/plan/v1", "trainingRevision": "bench", "revision": "bench",
            "model": {"path": model},
            "dataset": {"path": self.dataset, "format": "Idx",
                "normalization": {"mean": MEAN.to_string(), "deviation": DEVIATION.to_string()}},
            "method": method,
            "training": {"epochs": epochs, "batchSize": 128, "learningRate": PEAK.to_string(), "seed": seed,
                "trainingImages": training_images, "validationImages": VALIDATION_IMAGES},
            "minimumAccuracy": "0", "maximumVariants": variants,
        })
    }
}

impl Run {
    /// When the first line said `message`.
    pub(super) fn when(&self, message: &str) -> Result<f64> {
        let found = self.said(message).next();
        Ok(found.with_context(|| format!("the log never said \"{message}\""))?.0)
    }

    /// The lines that said `message`.
    fn said(&self, message: &str) -> impl Iterator<Item = &(f64, Value)> {
        self.lines.iter().filter(move |(_, line)| line["message"] == message)
    }

    /// All times at which a line said `message`.
    pub(super) fn times(&self, message: &str) -> Vec<f64> {
        self.said(message).map(|(at, _)| *at).collect()
    }

    /// A field of every line that said `message`.
    pub(super) fn numbers(&self, message: &str, field: &str) -> Vec<f64> {
        self.said(message).filter_map(|(_, line)| line[field].as_f64()).collect()
    }

    /// Whether the network at `position`, the dense one at 0, became a variant.
    pub(super) fn is_chosen(&self, position: usize) -> bool {
        self.said(MEASURED).nth(position).is_some_and(|(_, line)| line["becomes_variant"] == true)
    }

    /// Accuracy on the validation images of the network at `position`, the dense one at 0.
    pub(super) fn validation_accuracy(&self, position: usize) -> Result<f64> {
        let (_, line) = self.said(MEASURED).nth(position).context("each network was measured")?;
        let accuracy = line["validation_accuracy"].as_str().and_then(|accuracy| accuracy.parse().ok());
        accuracy.context("each network has an accuracy")
    }

    /// Seconds of the whole run.
    pub(super) fn seconds(&self) -> f64 {
        self.lines.last().map_or(0.0, |(at, _)| *at)
    }

    /// The network that a step left; `None` if there was no such step.
    pub(super) fn step(&self, name: &str) -> Option<PathBuf> {
        network(&self.folder, name)
    }

    /// The portfolio that came out.
    pub(super) fn portfolio(&self) -> Result<PortfolioManifest> {
        Ok(serde_json::from_slice(&fs::read(self.folder.join("portfolio/portfolio.json"))?)?)
    }
}

/// The network that a step of the run in `folder` left; `None` if there was no such step.
pub(super) fn network(folder: &Path, step: &str) -> Option<PathBuf> {
    let path = folder.join("steps").join(format!("checkpoint-bench-{step}/model.onnx"));
    path.exists().then_some(path)
}
