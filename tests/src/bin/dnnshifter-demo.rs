//! `dnnshifter-demo`: `make demo`. Prepares a cluster, then starts itself again in the hub's network namespace, where Kubernetes
//! answers, and does there what a platform team would: applies the tutorial's YAML, waits, and sends load.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use dnnshifter_cluster::{Cluster, Config, Place};
use dnnshifter_tests::{
    demo::{
        console::{say, step},
        drive::{Clients, NodeLoad, NodeRecords, Spacing},
        kubernetes::Portfolio,
        scenario,
        stage::{Workspace, run},
        summary::{Passes, Quantiles, Summary, by_node, node_lines, variant_lines},
        swaps,
        watch::{Switch, SwitchWatch},
    },
    load::{Piece, Schedule},
    process,
};

const DATASET: &str = "/usr/share/datasets/fashion-mnist";
const NAMESPACE: &str = "fashion";
const PORTFOLIO: &str = "fashion";
/// As in the tutorial's portfolio.
const NORMALIZATION: (&str, &str) = ("0.286", "0.353");
/// 68 switches on each of three nodes are 204.
const FORCED_ROUNDS: usize = 68;

/// From a `ModelPortfolio` to switched variants, on a real Kubernetes on this machine.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole demo: cluster, images, charts, training, load. The cluster stays up; `down` removes it.
    Run,
    /// What `run` does once the cluster is there, in the hub's network namespace.
    #[command(hide = true)]
    Drive,
    /// Removes the cluster.
    Down,
}

fn main() -> ExitCode {
    dnnshifter_tests::install_crypto_provider();
    dnnshifter_tests::exit_code(match Arguments::parse().command {
        Command::Run => prepare(),
        Command::Drive => tokio::runtime::Runtime::new()
            .context("failed to start tokio")
            .and_then(|runtime| runtime.block_on(drive())),
        Command::Down => dnnshifter_cluster::remove().context("failed to remove the cluster"),
    })
}

fn prepare() -> Result<()> {
    let workspace = Workspace::here();
    let starting = step("starting a cluster: a hub and three edge nodes of two device classes");
    let cluster = Cluster::up(&Config::default())?;
    starting.done("every node is Ready");
    let images = workspace.push_components(&cluster)?;
    workspace.push_inputs(&cluster, "1/2", Path::new(DATASET))?;
    workspace.install_charts(&cluster, &images)?;
    let program = std::env::current_exe().context("failed to find this program")?;
    let status = cluster
        .command_in(&Place::Hub, program)
        .arg("drive")
        .status()
        .context("failed to start in the hub's namespace")?;
    ensure!(
        status.success(),
        "the demo ended early; `dnnshifter-cluster status` and `logs` show the cluster, `make demo-down` removes it"
    );
    Ok(())
}

async fn drive() -> Result<()> {
    let workspace = Workspace::here();
    let cluster = Cluster::attach()?;
    let client = kube::Client::try_default().await.context("failed to reach the cluster")?;
    let portfolio = Portfolio::new(client, NAMESPACE, PORTFOLIO);
    let begun = Instant::now();
    let first_prediction = apply_and_wait(&workspace, &cluster, &portfolio).await?;

    let variants = portfolio.variants().await?;
    let (largest, smallest) =
        variants.first().zip(variants.last()).context("the portfolio has no variants")?;
    // Without load every node steps up as far as it can: from there the first pass begins.
    portfolio.wait_active(&largest.spec.variant_name, Duration::from_mins(2)).await?;
    let loads = loads(&portfolio).await?;
    let clients = clients(&workspace, &portfolio).await?;
    let run = Run { cluster: &cluster, portfolio: &portfolio, clients: &clients, loads: &loads };
    let (passes, seen) = run.three_passes(&largest.spec.variant_name, &smallest.spec.variant_name).await?;
    let (swap_ms, decision_to_answer_ms) = run.forced_switches().await?;

    let (nodes, reaction_seconds) = node_lines(&loads, &passes, &seen, clients.objective);
    let summary = Summary {
        variants: variant_lines(&variants),
        nodes,
        swap_ms,
        decision_to_answer_ms,
        reaction_seconds,
        apply_to_first_prediction_seconds: first_prediction.as_secs_f64(),
        operator_rss_bytes: process::largest_rss_bytes("dnnshifter-operator")?,
        runtime_rss_bytes: process::largest_rss_bytes("dnnshifter-runtime")?,
        elapsed_seconds: begun.elapsed().as_secs_f64(),
    };
    write_summary(&workspace.path("target/demo/summary.json"), &summary)
}

/// Applies the tutorial and waits for `Ready` and for the first answer; returns how long that took.
async fn apply_and_wait(workspace: &Workspace, cluster: &Cluster, portfolio: &Portfolio) -> Result<Duration> {
    let applying = step(
        "kubectl apply -f docs/tutorial, and waiting until the portfolio is Ready: training takes some minutes",
    );
    let applied = Instant::now();
    run(cluster
        .command_in(&Place::Hub, "kubectl")
        .args(["apply", "--server-side", "-f"])
        .arg(workspace.path("docs/tutorial")))?;
    portfolio.wait_ready(Duration::from_mins(25)).await?;
    let url = portfolio.service_url().await?;
    dnnshifter_tests::load::wait_ready(&url, Duration::from_secs(30)).await?;
    let first = applied.elapsed();
    applying.done("every node serves");
    say(run(cluster.command_in(&Place::Hub, "kubectl").args([
        "--namespace",
        NAMESPACE,
        "get",
        "mpf,mv,vpl",
    ]))?);
    Ok(first)
}

async fn clients(workspace: &Workspace, portfolio: &Portfolio) -> Result<Clients> {
    let placement =
        portfolio.placements().await?.into_iter().next().context("the portfolio has no placement")?;
    let milliseconds = u64::try_from(placement.spec.policy.latency_objective.milliseconds)?;
    Ok(Clients {
        program: workspace.program("dnnshifter-load"),
        url: portfolio.service_url().await?,
        model: PORTFOLIO.to_owned(),
        objective: Duration::from_millis(milliseconds),
        images: Some((DATASET.into(), NORMALIZATION.0.to_owned(), NORMALIZATION.1.to_owned())),
    })
}

/// Each node's load, made of what its runtime measured of the most accurate variant.
async fn loads(portfolio: &Portfolio) -> Result<Vec<NodeLoad>> {
    let placements = portfolio.placements().await?;
    let mut loads = Vec::new();
    for (index, placement) in placements.iter().enumerate() {
        let profile = placement.status.clone().unwrap_or_default().node_profile()?;
        let largest = placement.spec.variants.first().context("a placement has no variants")?;
        let measured = profile.variants.iter().find(|variant| variant.name.as_str() == largest.name);
        let measured = measured
            .with_context(|| format!("{} has not measured {}", placement.spec.node_name, largest.name))?;
        let seconds = (measured.cpu.mean_us + measured.protocol_cpu_us) as f64 / 1e6;
        let cpus = profile.quota.map_or(1.0, |quota| quota.quota_us as f64 / quota.period_us as f64).min(1.0);
        loads.push(NodeLoad {
            node: placement.spec.node_name.clone(),
            schedule: scenario::schedule(index, placements.len(), cpus / seconds),
            spacing: Spacing::Poisson { seed: index as u64 + 1 },
        });
    }
    Ok(loads)
}

/// One load, to be sent under different policies.
struct Run<'a> {
    cluster: &'a Cluster,
    portfolio: &'a Portfolio,
    clients: &'a Clients,
    loads: &'a [NodeLoad],
}

impl Run<'_> {
    /// The same load with switching, pinned to the largest, and pinned to the smallest variant; and the first one's switches.
    async fn three_passes(&self, largest: &str, smallest: &str) -> Result<(Passes, Vec<Switch>)> {
        let (switched, seen) = self.pass("the load rises and falls on each node; variants follow it").await?;
        let largest = self.pinned_pass(largest).await?;
        let smallest = self.pinned_pass(smallest).await?;
        Ok((Passes { switched, largest, smallest }, seen))
    }

    async fn pass(&self, title: &str) -> Result<(Vec<NodeRecords>, Vec<Switch>)> {
        let pass = step(title);
        let watch = SwitchWatch::begin(self.portfolio.clone());
        let records = self.clients.drive(self.cluster, self.loads, &watch).await?;
        pass.done("all requests have ended");
        Ok((records, watch.seen().switches))
    }

    async fn pinned_pass(&self, variant: &str) -> Result<Vec<NodeRecords>> {
        self.portfolio.pin(Some(variant)).await?;
        self.portfolio.wait_active(variant, Duration::from_mins(1)).await?;
        let (records, _) = self.pass(&format!("the same load, pinned to {variant}")).await?;
        self.portfolio.pin(None).await?;
        Ok(records)
    }

    async fn forced_switches(&self) -> Result<(Quantiles, Quantiles)> {
        let title =
            format!("{} switches forced by pinning, under a steady load", FORCED_ROUNDS * self.loads.len());
        let forcing = step(title);
        self.portfolio.suspend(true).await?;
        let before = swaps::measured(self.portfolio).await?;
        let watch = SwitchWatch::begin(self.portfolio.clone());
        let steady: Vec<_> = self.loads.iter().map(steady).collect();
        let sending = self.clients.drive(self.cluster, &steady, &watch);
        let switching = swaps::force(self.portfolio, FORCED_ROUNDS);
        let (records, forced) = tokio::try_join!(sending, switching)?;
        let measured = swaps::newer(&before, swaps::measured(self.portfolio).await?);
        self.portfolio.suspend(false).await?;
        forcing.done(format_args!("{} switches", forced.len()));
        let records: BTreeMap<_, _> = by_node(records);
        Ok((Quantiles::of_ms(measured), Quantiles::of_ms(swaps::decision_to_answer(&forced, &records)?)))
    }
}

/// The calm load, for longer than the forced switches take. It comes evenly, or the longest pause between two requests would be
/// measured, and not the switch between them.
fn steady(load: &NodeLoad) -> NodeLoad {
    let calm = load.schedule.rate(Duration::ZERO);
    let piece = Piece { seconds: 60.0, from: calm, to: calm };
    NodeLoad { node: load.node.clone(), schedule: Schedule { pieces: vec![piece] }, spacing: Spacing::Even }
}

fn write_summary(path: &PathBuf, summary: &Summary) -> Result<()> {
    summary.print();
    let text = serde_json::to_string_pretty(summary)?;
    fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))?;
    say(format_args!("\n    written to {}; `make demo-down` removes the cluster", path.display()));
    Ok(())
}
