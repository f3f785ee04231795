//! `compact`: a masked network becomes a smaller dense one that computes the same, from file to file.

use std::{
    fmt,
    io::Write,
    time::{Duration, Instant},
};

use dnnshifter_network::{
    compact::{LayerReport, Options, Report, WallReport, compacted},
    network::weights::KnownWeights,
};
use serde::Serialize;

use crate::{
    command::{CompactArguments, check_report},
    durable, external,
    failure::{Failure, write_json},
    mapped,
};

pub(crate) fn execute(arguments: &CompactArguments) -> Result<(), Failure> {
    let unusable = |source| Failure::Uncompactable { name: arguments.input.display().to_string(), source };
    let failed = |source| Failure::Write { path: arguments.output.clone(), source };
    check_report(arguments.report.as_ref(), &[&arguments.input, &arguments.output])?;
    let mut lap = Lap(Instant::now());
    let bytes = mapped::map(&arguments.input)
        .map_err(|source| Failure::Read { path: arguments.input.clone(), source })?;
    let size = bytes.len() as u64;
    let (model, beside) = external::decode(bytes, &arguments.input).map_err(unusable)?;
    let known = KnownWeights::checked(&model).map_err(|error| unusable(error.into()))?;
    let read = lap.seconds();
    let options = Options { round_to: usize::from(arguments.round_to.get()) };
    let compacted = compacted(&known, options).map_err(|error| unusable(error.into()))?;
    let compact = lap.seconds();
    let file = durable::begin(&arguments.output, |file| compacted.write(file)).map_err(failed)?;
    let left = file.size().map_err(failed)?;
    let write = lap.seconds();
    file.sync().map_err(failed)?;
    let seconds = Seconds { read, compact, write, sync: lap.seconds() };
    let summary = Summary::of(compacted.report, [size + beside, left], seconds);
    if let Some(path) = &arguments.report {
        write_json(path, &summary)?;
    }
    // Last: where anything failed there is no network that looks as if all had gone well.
    file.finish().map_err(failed)?;
    write!(std::io::stdout(), "{summary}").map_err(Failure::Print)
}

/// Time since the last look at it.
struct Lap(Instant);

impl Lap {
    fn seconds(&mut self) -> f64 {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now)).as_secs_f64()
    }
}

/// What was done, as it is written to `--report`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    parameters_before: u64,
    parameters_after: u64,
    bytes_before: u64,
    bytes_after: u64,
    macs_before: u64,
    macs_after: u64,
    seconds: Seconds,
    layers: Vec<Layer>,
    walls: Vec<Wall>,
}

/// Seconds of wall time; `sync` is until the disk has it.
#[derive(Debug, Serialize)]
struct Seconds {
    read: f64,
    compact: f64,
    write: f64,
    sync: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    node: String,
    operator: String,
    inputs_before: usize,
    inputs_after: usize,
    outputs_before: usize,
    outputs_after: usize,
    constant_outputs: usize,
}

#[derive(Debug, Serialize)]
struct Wall {
    node: String,
    operator: String,
    reason: &'static str,
}

impl Summary {
    fn of(report: Report, [bytes_before, bytes_after]: [u64; 2], seconds: Seconds) -> Self {
        let Report { before, after, layers, walls } = report;
        Self {
            parameters_before: before.parameters,
            parameters_after: after.parameters,
            bytes_before,
            bytes_after,
            macs_before: before.macs,
            macs_after: after.macs,
            seconds,
            layers: layers.into_iter().map(Layer::from).collect(),
            walls: walls.into_iter().map(Wall::from).collect(),
        }
    }
}

impl From<LayerReport> for Layer {
    fn from(layer: LayerReport) -> Self {
        let LayerReport {
            node,
            operator,
            inputs_before,
            inputs_after,
            outputs_before,
            outputs_after,
            constant_outputs,
        } = layer;
        Self { node, operator, inputs_before, inputs_after, outputs_before, outputs_after, constant_outputs }
    }
}

impl From<WallReport> for Wall {
    fn from(wall: WallReport) -> Self {
        let WallReport { node, operator, reason } = wall;
        Self { node, operator, reason }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, what, before: u64, after: u64| {
            let share = 100.0 * after as f64 / before.max(1) as f64;
            writeln!(f, "{what:<11} {before:>13} -> {after:>13}  ({share:.1} %)")
        };
        line(f, "parameters", self.parameters_before, self.parameters_after)?;
        line(f, "bytes", self.bytes_before, self.bytes_after)?;
        line(f, "MACs", self.macs_before, self.macs_after)?;
        let count = self.layers.len();
        let changed = self.layers.iter().filter(|layer| {
            (layer.inputs_after, layer.outputs_after) != (layer.inputs_before, layer.outputs_before)
        });
        writeln!(f, "{} of {count} layers with weights are smaller", changed.count())?;
        for Wall { node, operator, reason } in &self.walls {
            writeln!(f, "left as it is, with all it reads: node \"{node}\" ({operator}): {reason}")?;
        }
        let Seconds { read, compact, write, sync } = &self.seconds;
        let milliseconds = |seconds: &f64| Duration::from_secs_f64(*seconds).as_millis();
        writeln!(
            f,
            "read in {} ms, compacted in {} ms, written in {} ms, on the disk after another {} ms",
            milliseconds(read),
            milliseconds(compact),
            milliseconds(write),
            milliseconds(sync)
        )
    }
}
