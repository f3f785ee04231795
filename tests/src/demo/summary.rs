//! What came out of the demo: computed from what was recorded, printed for a person, and written as JSON.

use std::{collections::BTreeMap, time::Duration};

use dnnshifter_crds::ModelVariant;
use serde::Serialize;

use super::{
    console::{aligned, say},
    drive::{NodeLoad, NodeRecords},
    watch::Switch,
};
use crate::load::{Record, Tally};

/// After a step of the load, switching has this long before answers are judged.
const SETTLING: Duration = Duration::from_secs(10);

/// Everything that the demo measured. Field names are part of its interface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The portfolio, the most accurate variant first.
    pub variants: Vec<VariantLine>,
    /// The nodes.
    pub nodes: Vec<NodeLine>,
    /// From the decision received by the runtime to the pointer stored, over the forced switches.
    pub swap_ms: Quantiles,
    /// From the patch of the placement to the first answer by the new variant, over the forced switches.
    pub decision_to_answer_ms: Quantiles,
    /// From a step of the load to the switch that follows.
    pub reaction_seconds: Reactions,
    /// From `kubectl apply` to the first answer.
    pub apply_to_first_prediction_seconds: f64,
    /// Resident memory of the operator.
    pub operator_rss_bytes: u64,
    /// Resident memory of the largest runtime.
    pub runtime_rss_bytes: u64,
    /// Length of the whole demo without building.
    pub elapsed_seconds: f64,
}

/// A variant.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VariantLine {
    name: String,
    accuracy: f64,
    parameters: i64,
    bytes: i64,
    macs: i64,
    latency_ms: f64,
    max_difference: f64,
}

/// A node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeLine {
    name: String,
    switches_up: usize,
    switches_down: usize,
    offered: u64,
    answered: u64,
    late: u64,
    shed: u64,
    failed: u64,
    p50_ms: f64,
    p99_ms: f64,
    /// Part of the requests that were answered within the objective, those of the 10 s after a step left out.
    within_objective_outside_steps: f64,
    effective_accuracy: EffectiveAccuracy,
}

/// Right answers within the objective, of all offered, on the same load.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveAccuracy {
    switched: f64,
    largest: f64,
    smallest: f64,
}

/// Quantiles of times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantiles {
    p50: f64,
    p99: f64,
    n: usize,
}

/// Reactions to steps of the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reactions {
    down: Reaction,
    up: Reaction,
}

/// Times from a step of the load to the switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reaction {
    p50: f64,
    max: f64,
    n: usize,
    /// Steps that no switch followed before the next one.
    missed: usize,
}

/// The same load, three times.
pub struct Passes {
    /// With switching.
    pub switched: Vec<NodeRecords>,
    /// Pinned to the most accurate variant.
    pub largest: Vec<NodeRecords>,
    /// Pinned to the least accurate one.
    pub smallest: Vec<NodeRecords>,
}

impl Quantiles {
    /// Quantiles in milliseconds.
    pub fn of_ms(mut durations: Vec<Duration>) -> Self {
        durations.sort();
        let at = |q| quantile(&durations, q).as_secs_f64() * 1e3;
        Self { p50: at(0.5), p99: at(0.99), n: durations.len() }
    }
}

/// The nearest-rank quantile of sorted durations; zero of none.
fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// The portfolio's lines.
pub fn variant_lines(variants: &[ModelVariant]) -> Vec<VariantLine> {
    let line = |variant: &ModelVariant| VariantLine {
        name: variant.spec.variant_name.clone(),
        accuracy: variant.spec.accuracy.parse().unwrap_or(f64::NAN),
        parameters: variant.spec.parameters,
        bytes: variant.spec.bytes,
        macs: variant.spec.macs,
        latency_ms: variant.spec.latency_microseconds as f64 / 1e3,
        max_difference: variant.spec.maximum_difference.parse().unwrap_or(f64::NAN),
    };
    variants.iter().map(line).collect()
}

/// The nodes' lines, and how fast they reacted.
pub fn node_lines(
    loads: &[NodeLoad],
    passes: &Passes,
    switches: &[Switch],
    objective: Duration,
) -> (Vec<NodeLine>, Reactions) {
    let accuracy = |pass: &[NodeRecords], node: &str| {
        let records = pass.iter().find(|records| records.node == node);
        records.map_or(f64::NAN, |records| Tally::of(&records.records, objective).effective_accuracy)
    };
    let mut lines = Vec::new();
    let (mut down, mut up) = (Vec::new(), Vec::new());
    for (load, switched) in loads.iter().zip(&passes.switched) {
        let of_node = |wanted_up: bool| {
            switches.iter().filter(move |switch| switch.node == load.node && switch.up == wanted_up)
        };
        let tally = Tally::of(&switched.records, objective);
        lines.push(NodeLine {
            name: load.node.clone(),
            switches_up: of_node(true).count(),
            switches_down: of_node(false).count(),
            offered: tally.offered,
            answered: tally.answered,
            late: tally.late,
            shed: tally.shed,
            failed: tally.failed,
            p50_ms: tally.p50_ms,
            p99_ms: tally.p99_ms,
            within_objective_outside_steps: outside_steps(load, &switched.records, objective),
            effective_accuracy: EffectiveAccuracy {
                switched: tally.effective_accuracy,
                largest: accuracy(&passes.largest, &load.node),
                smallest: accuracy(&passes.smallest, &load.node),
            },
        });
        let steps = reactions(load, start_unix_us(&switched.records), switches);
        for (rises, time) in steps {
            if rises { down.push(time) } else { up.push(time) }
        }
    }
    (lines, Reactions { down: reaction(&down), up: reaction(&up) })
}

/// Each step of a node's load: whether it rises, and how long after it, and before the next one, the variant followed.
fn reactions(load: &NodeLoad, start_unix_us: u64, switches: &[Switch]) -> Vec<(bool, Option<Duration>)> {
    let schedule = &load.schedule;
    let steps = schedule.steps();
    let ends = steps.iter().copied().skip(1).chain([schedule.duration()]);
    let unix_us = |at: Duration| start_unix_us + at.as_micros() as u64;
    let react = |(step, end): (Duration, Duration)| {
        let rises = schedule.rate(step) > schedule.rate(step.saturating_sub(Duration::from_millis(1)));
        let within = unix_us(step)..unix_us(end);
        let mut following = switches.iter().filter(|switch| switch.node == load.node && switch.up != rises);
        let next = following.find(|switch| within.contains(&switch.at_unix_us));
        (rises, next.map(|switch| Duration::from_micros(switch.at_unix_us - within.start)))
    };
    steps.iter().copied().zip(ends).map(react).collect()
}

fn outside_steps(load: &NodeLoad, records: &[Record], objective: Duration) -> f64 {
    let steps = load.schedule.steps();
    let settled =
        |record: &&Record| !steps.iter().any(|step| (*step..*step + SETTLING).contains(&record.intended));
    let tally = Tally::of(records.iter().filter(settled), objective);
    (tally.answered - tally.late) as f64 / tally.offered.max(1) as f64
}

fn start_unix_us(records: &[Record]) -> u64 {
    records.first().map_or(0, |record| {
        record.ended_unix_us.saturating_sub((record.intended + record.latency).as_micros() as u64)
    })
}

fn reaction(times: &[Option<Duration>]) -> Reaction {
    let mut made: Vec<_> = times.iter().copied().flatten().collect();
    made.sort();
    Reaction {
        p50: quantile(&made, 0.5).as_secs_f64(),
        max: quantile(&made, 1.0).as_secs_f64(),
        n: made.len(),
        missed: times.len() - made.len(),
    }
}

impl Summary {
    /// Prints the summary for a person.
    pub fn print(&self) {
        let percent = |fraction: f64| format!("{:.2} %", fraction * 100.0);
        let texts = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let mut rows =
            vec![texts(&["variant", "accuracy", "parameters", "MACs", "latency", "max difference"])];
        rows.extend(self.variants.iter().map(|v| {
            let latency = format!("{:.3} ms", v.latency_ms);
            vec![
                v.name.clone(),
                percent(v.accuracy),
                v.parameters.to_string(),
                v.macs.to_string(),
                latency,
                format!("{:.1e}", v.max_difference),
            ]
        }));
        say(format_args!("\n{}\n", aligned(&rows)));
        let mut rows = vec![texts(&[
            "node", "offered", "late", "shed", "failed", "p50 ms", "p99 ms", "up", "down", "in time*",
            "switched", "largest", "smallest",
        ])];
        rows.extend(self.nodes.iter().map(|n| {
            let counts = [n.offered, n.late, n.shed, n.failed].map(|count| count.to_string());
            let times = [n.p50_ms, n.p99_ms].map(|ms| format!("{ms:.1}"));
            let switches = [n.switches_up, n.switches_down].map(|count| count.to_string());
            let accuracy = n.effective_accuracy;
            let parts =
                [n.within_objective_outside_steps, accuracy.switched, accuracy.largest, accuracy.smallest]
                    .map(percent);
            std::iter::once(n.name.clone()).chain(counts).chain(times).chain(switches).chain(parts).collect()
        }));
        say(aligned(&rows));
        say(
            "    * within the objective, the 10 s after a step of the load left out. The last three: right answers within the objective,\n      of all offered, with switching and pinned to the largest and the smallest variant.",
        );
        let quantiles = |q: Quantiles| format!("p50 {:.3} ms, p99 {:.3} ms, n = {}", q.p50, q.p99, q.n);
        let reaction =
            |r: Reaction| format!("p50 {:.1} s, max {:.1} s, n = {}, missed {}", r.p50, r.max, r.n, r.missed);
        say(format_args!("\n    swap (decision received to pointer stored): {}", quantiles(self.swap_ms)));
        say(format_args!(
            "    patch of a placement to the first answer:    {}",
            quantiles(self.decision_to_answer_ms)
        ));
        say(format_args!(
            "    step of the load to step down:               {}",
            reaction(self.reaction_seconds.down)
        ));
        say(format_args!(
            "    fall of the load to step up:                 {}",
            reaction(self.reaction_seconds.up)
        ));
        say(format_args!(
            "    kubectl apply to the first prediction:       {:.1} s",
            self.apply_to_first_prediction_seconds
        ));
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        say(format_args!(
            "    resident: operator {:.0} MiB, largest runtime {:.0} MiB",
            mebibytes(self.operator_rss_bytes),
            mebibytes(self.runtime_rss_bytes)
        ));
    }
}

/// Records of all nodes, by node.
pub fn by_node(records: Vec<NodeRecords>) -> BTreeMap<String, Vec<Record>> {
    records.into_iter().map(|records| (records.node, records.records)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let durations = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(Quantiles::of_ms(durations), Quantiles { p50: 100.0, p99: 198.0, n: 200 });
        assert_eq!(Quantiles::of_ms(Vec::new()), Quantiles::default());
    }
}
