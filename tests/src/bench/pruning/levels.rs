//! The published method: masks, training under them, and what compaction makes of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Extent, WIDTH,
    job::Workshop,
    judge::{Bench, Judgement},
};

/// Densities of the published method.
const DENSITIES: [&str; 4] = ["0.1", "0.03", "0.01", "0.004"];

/// Widths that ONNX Runtime computes fastest are a multiple of this.
const ALIGNMENT: u16 = 16;

/// Epochs of each level: the masked network is compared with itself, so half of a whole training does.
pub(super) fn epochs(extent: Extent) -> u32 {
    extent.epochs.div_ceil(2)
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
    /// The same without what is dead, but for what fills widths up to a multiple of 16, which ONNX Runtime computes fastest.
    pub aligned: Judgement,
}

/// Every level of the network of `seed`, judged in turns.
pub(super) fn levels(
    workshop: &Workshop<'_>,
    bench: &Bench<'_>,
    folder: &Path,
    seed: u32,
) -> Result<Vec<Level>> {
    fs::create_dir_all(folder)?;
    let model = folder.join("model.onnx");
    workshop.model(&model, WIDTH, seed)?;
    let steps = workshop.extent.training_images / 128;
    let method = json!({"iterativeMagnitude": {"densities": DENSITIES, "rewindSteps": steps / 2, "keepLastLayer": true}});
    let run = workshop.run(folder, &workshop.plan(&model, &method, seed, 12, epochs(workshop.extent)))?;
    let masked: Vec<PathBuf> =
        (1..=DENSITIES.len()).filter_map(|position| run.step(&format!("variant-{position}"))).collect();
    ensure!(masked.len() == DENSITIES.len(), "a level is missing");
    let beside = |name| masked.iter().map(|path| path.with_file_name(name)).collect::<Vec<_>>();
    let (compacted, aligned) = (beside("compacted.onnx"), beside("aligned.onnx"));
    let mut seconds = Vec::new();
    for (from, (to, to_aligned)) in masked.iter().zip(compacted.iter().zip(&aligned)) {
        seconds.push(compact(workshop, from, to, 1)?);
        compact(workshop, from, to_aligned, ALIGNMENT)?;
        verify(workshop, from, to)?;
        verify(workshop, from, to_aligned)?;
    }
    let dense = run.step("dense").context("the dense network was kept")?;
    let all: Vec<&PathBuf> =
        std::iter::once(&dense).chain(&masked).chain(&compacted).chain(&aligned).collect();
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
            aligned: judgement(1 + 2 * masked.len() + position)?,
        })
    };
    (0..masked.len()).map(level).collect()
}

/// Removes what is dead but for a multiple of `round_to` channels, and gives the seconds that the rewriting alone took.
fn compact(workshop: &Workshop<'_>, from: &Path, to: &Path, round_to: u16) -> Result<f64> {
    let report = to.with_extension("json");
    let mut command = Command::new(workshop.program);
    command.arg("compact").args([from, to]).args(["--round-to", &round_to.to_string()]);
    let ended = command.arg("--report").arg(&report).output()?;
    ensure!(ended.status.success(), "compact: {}", String::from_utf8_lossy(&ended.stderr));
    let report: Value = serde_json::from_slice(&fs::read(report)?)?;
    report.pointer("/seconds/compact").and_then(Value::as_f64).context("the report has seconds.compact")
}

/// Whether two networks compute the same.
fn verify(workshop: &Workshop<'_>, from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new(workshop.program);
    let ended =
        command.arg("verify").args([from, to]).env("ORT_DYLIB_PATH", workshop.onnxruntime).output()?;
    ensure!(ended.status.success(), "verify: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(())
}
