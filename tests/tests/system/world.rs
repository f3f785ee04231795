//! What all scenarios stand on: one cluster with our charts installed and tiny artifacts in its registry.
//!
//! The first scenario that runs begins it, so that listing and filtering cost nothing. Images are built in the machine's own
//! network; a scenario runs in the hub's, where the API server, the registry, Prometheus and pods answer.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, anyhow};
use dnnshifter_cluster::{Cluster, ClusterError, Config, Place};
use dnnshifter_tests::demo::{
    console::{say, step},
    stage::{SYSTEM_NAMESPACE, Workspace},
};
use libtest_mimic::Trial;

use super::{artifacts::Artifacts, manifests, scene::Scene};

/// The operator's Deployment, in [`SYSTEM_NAMESPACE`].
pub const OPERATOR: &str = "dnnshifter-operator";

/// The cluster, and what is in its registry.
pub struct World {
    /// The cluster.
    pub cluster: Cluster,
    /// Models, data and portfolios.
    pub artifacts: Artifacts,
}

static WORLD: OnceLock<Result<World, String>> = OnceLock::new();
/// A cluster that was there before is somebody's, and left to them.
static STARTED_HERE: AtomicBool = AtomicBool::new(false);

/// A scenario that plays in the namespace `namespace`, named `<namespace>::<what_holds>`.
pub fn scenario(
    namespace: &'static str,
    what_holds: &str,
    run: impl AsyncFnOnce(&Scene) -> Result<()> + Send + 'static,
) -> Trial {
    Trial::test(format!("{namespace}::{what_holds}"), move || {
        let world = WORLD.get_or_init(|| World::begin().map_err(|error| format!("{error:#}")));
        let world = world.as_ref().map_err(|error| format!("there is no cluster to test on: {error}"))?;
        let outcome = world.play(namespace, run);
        if let Err(error) = &outcome {
            say(format_args!("\n{error:#}\n\n{}", world.findings(namespace)));
            heal(&world.cluster);
        }
        if outcome.is_ok() || !keeps_cluster() {
            // Not waited for: the next scenario has a namespace of its own.
            let _ = world.cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]);
        }
        outcome.map_err(|error| format!("{error:#}").into())
    })
}

/// Removes the cluster, if this run has started one and nobody wants to keep it.
pub fn end() {
    if keeps_cluster() || !STARTED_HERE.load(Ordering::Relaxed) {
        return;
    }
    if let Err(error) = dnnshifter_cluster::remove() {
        say(format_args!("failed to remove the cluster: {error}"));
    }
}

fn keeps_cluster() -> bool {
    std::env::var_os("KEEP_CLUSTER").is_some_and(|value| !value.is_empty() && value != "0")
}

impl World {
    fn begin() -> Result<Self> {
        let starting = step("starting a cluster: a hub and three edge nodes of two device classes");
        let earlier = Cluster::attach();
        if let Ok(cluster) = &earlier {
            heal(cluster);
        }
        let up = Cluster::up(&Config::default());
        let somebodys = matches!(
            up,
            Err(ClusterError::LeftOver { .. } | ClusterError::Other | ClusterError::Incomplete { .. })
        );
        STARTED_HERE.store(earlier.is_err() && !somebodys, Ordering::Relaxed);
        let cluster = up?;
        starting.done("every node is Ready");
        let workspace = Workspace::here();
        let images = workspace.push_components(&cluster)?;
        workspace.install_charts(&cluster, &images)?;
        let publishing = step("publishing tiny models and data");
        let artifacts = Artifacts::publish(&cluster, &workspace, &images)?;
        publishing.done("published");
        cluster
            .apply(&manifests::DEVICE_CLASSES.join("---\n"))
            .context("failed to make the device classes")?;
        Ok(Self { cluster, artifacts })
    }

    /// Runs a scenario on the hub, in a thread of its own; a panic there is a failure like any other.
    fn play(
        &'static self,
        namespace: &'static str,
        run: impl AsyncFnOnce(&Scene) -> Result<()> + Send,
    ) -> Result<()> {
        let on_hub = || {
            self.cluster.enter(&Place::Hub)?;
            let runtime = tokio::runtime::Runtime::new().context("failed to start a runtime")?;
            runtime.block_on(async { run(&Scene::open(self, namespace).await?).await })
        };
        std::thread::scope(|scope| scope.spawn(on_hub).join()).unwrap_or_else(|panic| Err(words_of(&*panic)))
    }

    /// What a person needs to find out why a scenario failed.
    fn findings(&self, namespace: &str) -> String {
        let of_namespace: [&[&str]; 5] = [
            &["get", "mpf,mv,vpl,deployments,jobs,pods,services", "--output", "wide"],
            &["get", "mpf,vpl", "--output", "yaml", "--show-managed-fields=false"],
            &["get", "events", "--sort-by", ".lastTimestamp"],
            &["describe", "pods"],
            &["logs", "--selector", "app.kubernetes.io/name=dnnshifter", "--prefix", "--tail", "40"],
        ];
        let operator = format!("deployment/{OPERATOR}");
        let of_system: [&[&str]; 2] =
            [&["get", "pods", "--output", "wide"], &["logs", operator.as_str(), "--tail", "60"]];
        let all = of_namespace.map(|command| (namespace, command)).into_iter();
        let ask = |(namespace, command): (&str, &[&str])| {
            let arguments = [&["--namespace", namespace], command].concat();
            let said = self.cluster.kubectl(&arguments).unwrap_or_else(|error| error.to_string());
            format!("$ kubectl {}\n{said}\n", arguments.join(" "))
        };
        let answers = all.chain(of_system.map(|command| (SYSTEM_NAMESPACE, command))).map(ask);
        answers.collect::<Vec<_>>().join("\n")
    }
}

/// Takes back what a failed scenario, or a run that was interrupted, may have broken.
fn heal(cluster: &Cluster) {
    for node in &cluster.config().nodes {
        let _ = cluster.mend(&node.name);
    }
    let _ = super::load_unknown::restore_prometheus(cluster);
    let _ = super::operator_away::bring_back(cluster);
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> anyhow::Error {
    let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    anyhow!(words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned()))
}
