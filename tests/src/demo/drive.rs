//! One pass: every node's clients send their load at once, from within the node's own network namespace, while a table shows
//! what happens.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use dnnshifter_cluster::{Cluster, Place};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
    time::interval,
};

use super::{
    console::LiveTable,
    watch::{Seen, SwitchWatch},
};
use crate::load::{Record, Schedule, Tally};

/// The load of one node.
#[derive(Clone, Debug)]
pub struct NodeLoad {
    /// The node.
    pub node: String,
    /// When requests leave.
    pub schedule: Schedule,
    /// How they are spaced.
    pub spacing: Spacing,
}

/// How requests are spaced in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// By chance: a Poisson process of this seed.
    Poisson {
        /// The seed.
        seed: u64,
    },
    /// As evenly as the rate allows.
    Even,
}

/// What all nodes' clients have in common.
#[derive(Clone, Debug)]
pub struct Clients {
    /// The load generator.
    pub program: PathBuf,
    /// The Service.
    pub url: String,
    /// The model.
    pub model: String,
    /// The latency objective.
    pub objective: Duration,
    /// Folder with the data set, its mean and deviation; blank images without it.
    pub images: Option<(PathBuf, String, String)>,
}

/// What one node's clients recorded.
pub struct NodeRecords {
    /// The node.
    pub node: String,
    /// All requests.
    pub records: Vec<Record>,
}

/// A line of the load generator.
#[derive(Debug, Deserialize)]
struct Second {
    second: u64,
    tally: Tally,
}

impl Clients {
    /// Sends each node its load and draws the table until all is answered.
    pub async fn drive(
        &self,
        cluster: &Cluster,
        loads: &[NodeLoad],
        watch: &SwitchWatch,
    ) -> Result<Vec<NodeRecords>> {
        let folder = tempfile::tempdir().context("failed to make a folder for the records")?;
        let (sender, mut seconds) = mpsc::unbounded_channel();
        let mut running = JoinSet::new();
        for (index, load) in loads.iter().enumerate() {
            let path = folder.path().join(format!("{}.jsonl", load.node));
            let child = self.start(cluster, load, &path)?;
            running.spawn(follow(child, index, load.node.clone(), path, sender.clone()));
        }
        drop(sender);
        let mut latest: Vec<Option<Second>> = loads.iter().map(|_| None).collect();
        let mut table = LiveTable::default();
        let mut tick = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                second = seconds.recv() => match second {
                    Some((index, second)) => if let Some(slot) = latest.get_mut(index) { *slot = Some(second); },
                    None => break,
                },
                _ = tick.tick() => table.draw(&rows(loads, &latest, &watch.seen())),
            }
        }
        let mut records = Vec::new();
        while let Some(ended) = running.join_next().await {
            records.push(ended.context("a load generator was lost")??);
        }
        records.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(records)
    }

    fn start(&self, cluster: &Cluster, load: &NodeLoad, records: &std::path::Path) -> Result<Child> {
        let mut command = Command::from(cluster.command_in(&Place::of(&load.node), &self.program));
        command.args(["--url", &self.url, "--model", &self.model, "--schedule", &load.schedule.to_string()]);
        command.args(["--objective-milliseconds", &self.objective.as_millis().to_string()]);
        match load.spacing {
            Spacing::Poisson { seed } => command.args(["--seed", &seed.to_string()]),
            Spacing::Even => command.arg("--even"),
        };
        command.arg("--records").arg(records);
        if let Some((folder, mean, deviation)) = &self.images {
            command.arg("--images").arg(folder).args(["--mean", mean, "--deviation", deviation]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command
            .spawn()
            .with_context(|| format!("failed to start {} on {}", self.program.display(), load.node))
    }
}

async fn follow(
    mut child: Child,
    index: usize,
    node: String,
    path: PathBuf,
    seconds: mpsc::UnboundedSender<(usize, Second)>,
) -> Result<NodeRecords> {
    let out = child.stdout.take().context("the load generator has no output")?;
    let mut lines = BufReader::new(out).lines();
    while let Some(line) = lines.next_line().await? {
        if let Ok(second) = serde_json::from_str(&line) {
            // Whoever draws is gone only when the run is.
            let _ = seconds.send((index, second));
        }
    }
    let status = child.wait().await?;
    ensure!(status.success(), "the load generator of {node} ended with {status}");
    let text = tokio::fs::read_to_string(&path)
        .await
        .with_context(|| format!("failed to read {}", path.display()))?;
    let records = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("failed to read the records")?;
    Ok(NodeRecords { node, records })
}

fn rows(loads: &[NodeLoad], latest: &[Option<Second>], seen: &Seen) -> Vec<Vec<String>> {
    let head = ["node", "load/s", "variant", "p99 ms", "late", "shed", "failed", "up", "down"]
        .map(str::to_owned)
        .to_vec();
    let row = |(load, second): (&NodeLoad, &Option<Second>)| {
        let rate =
            second.as_ref().map_or(0.0, |second| load.schedule.rate(Duration::from_secs(second.second)));
        let tally = second.as_ref().map(|second| second.tally.clone()).unwrap_or_default();
        let switches =
            |up| seen.switches.iter().filter(|switch| switch.node == load.node && switch.up == up).count();
        vec![
            load.node.clone(),
            format!("{rate:.0}"),
            seen.active.get(&load.node).cloned().unwrap_or_else(|| "-".to_owned()),
            format!("{:.1}", tally.p99_ms),
            tally.late.to_string(),
            tally.shed.to_string(),
            tally.failed.to_string(),
            switches(true).to_string(),
            switches(false).to_string(),
        ]
    };
    std::iter::once(head).chain(loads.iter().zip(latest).map(row)).collect()
}
