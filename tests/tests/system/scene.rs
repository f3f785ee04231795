//! What a scenario has at hand: a namespace of its own, and short words for what is asked of Kubernetes.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use dnnshifter_crds::{ModelPortfolio, VariantPlacement, conditions};
use dnnshifter_tests::demo::kubernetes::Portfolio;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use super::{
    until::{Look, until},
    world::World,
};

/// Until a portfolio serves: images are pulled, pods start, and each measures its variants, all on one machine.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// One scenario's place.
pub struct Scene {
    /// What it stands on.
    pub world: &'static World,
    /// Its own namespace, where Pod Security `restricted` is enforced.
    pub namespace: String,
    /// All rights.
    pub client: Client,
}

/// What tells whether an object was left alone, changed, or made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Changes when the object is made anew.
    pub uid: String,
    /// Changes with what is wanted of it.
    pub generation: i64,
    /// Changes with anything.
    pub resource_version: String,
    /// Restarts of a pod's containers.
    pub restarts: i64,
}

impl Scene {
    /// Makes the namespace; one that an earlier run has left is removed first.
    pub async fn open(world: &'static World, namespace: &str) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(world.cluster.layout().admin_kubeconfig())?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        world.cluster.kubectl(&["delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s"])?;
        world.cluster.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}}}"
        ))?;
        Ok(Self { world, namespace: namespace.to_owned(), client: Client::try_from(config)? })
    }

    /// Applies an object as a person does, and returns what kubectl says.
    pub fn apply(&self, object: &Value) -> Result<String> {
        Ok(self.world.cluster.apply(&object.to_string())?)
    }

    /// A Secret of the namespace.
    pub fn secret(&self, name: &str, type_: &str, content: &Value) -> Value {
        let metadata = json!({"name": name, "namespace": self.namespace});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": type_, "stringData": content})
    }

    /// Runs kubectl in the namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let all = [&["--namespace", self.namespace.as_str()], arguments].concat();
        Ok(self.world.cluster.kubectl(&all)?)
    }

    /// The portfolio of that name, with what belongs to it.
    pub fn portfolio(&self, name: &str) -> Portfolio {
        Portfolio::new(self.client.clone(), &self.namespace, name)
    }

    /// The portfolio itself.
    pub async fn read(&self, name: &str) -> Result<ModelPortfolio> {
        let api = Api::<ModelPortfolio>::namespaced(self.client.clone(), &self.namespace);
        api.get(name).await.with_context(|| format!("failed to read the portfolio {name}"))
    }

    /// A condition of the portfolio, if it is there and about the present generation.
    pub async fn condition(&self, name: &str, type_: &str) -> Result<Option<Condition>> {
        let portfolio = self.read(name).await?;
        let generation = portfolio.metadata.generation;
        let conditions = portfolio.status.map(|status| status.conditions).unwrap_or_default();
        Ok(conditions.into_iter().find(|one| one.type_ == type_ && one.observed_generation == generation))
    }

    /// Waits for a condition of the portfolio's present generation.
    pub async fn until_condition(
        &self,
        name: &str,
        type_: &str,
        status: &str,
        patience: Duration,
    ) -> Result<Condition> {
        until(&format!("{type_}={status} of {name}"), patience, async || {
            let found = self.condition(name, type_).await?;
            let seen = words(found.as_ref());
            Ok(Look::of(found.filter(|found| found.status == status), || seen))
        })
        .await
    }

    /// Waits until the portfolio is `Ready` in its present generation; fails at once if it is stalled.
    pub async fn until_ready(&self, name: &str) -> Result<()> {
        until(&format!("Ready=True of {name}"), PATIENCE, async || {
            if let Some(stalled) = self.condition(name, conditions::STALLED).await? {
                bail!("{name} is stalled: {}", words(Some(&stalled)));
            }
            let ready = self.condition(name, conditions::READY).await?;
            Ok(Look::whether(ready.as_ref().is_some_and(|ready| ready.status == "True"), || {
                words(ready.as_ref())
            }))
        })
        .await
    }

    /// Waits until every node of the portfolio runs its most accurate variant, by the switching loop's decision.
    pub async fn until_all_run_the_largest(&self, name: &str) -> Result<()> {
        let portfolio = self.portfolio(name);
        until(&format!("every node of {name} to run its most accurate variant"), PATIENCE, async || {
            let placements = portfolio.placements().await?;
            let all = placements.iter().all(|placement| {
                let largest = placement.spec.variants.first().map(|variant| variant.name.as_str());
                largest == active(placement) && largest == ceiling(placement)
            });
            Ok(Look::whether(all && !placements.is_empty(), || what_runs(&placements)))
        })
        .await
    }

    /// Applies the portfolio and waits until it serves with its most accurate variant everywhere. Returns the URL of its Service.
    pub async fn settle(&self, manifest: &Value) -> Result<String> {
        let name =
            manifest.pointer("/metadata/name").and_then(Value::as_str).context("a portfolio has a name")?;
        self.apply(manifest)?;
        self.until_ready(name).await?;
        self.until_all_run_the_largest(name).await?;
        self.portfolio(name).service_url().await
    }

    /// The placement of a node.
    pub async fn placement(&self, name: &str, node: &str) -> Result<VariantPlacement> {
        let placements = self.portfolio(name).placements().await?;
        let found = placements.into_iter().find(|placement| placement.spec.node_name == node);
        found.with_context(|| format!("{name} has no placement on {node}"))
    }

    /// All objects of the given kinds (`pods,deployments`) in the namespace, by kind and name; those on their way out excluded.
    pub fn objects(&self, kinds: &str) -> Result<BTreeMap<String, Identity>> {
        let list: Value = serde_json::from_str(&self.kubectl(&["get", kinds, "--output", "json"])?)?;
        let items = list.pointer("/items").and_then(Value::as_array).context("kubectl lists items")?;
        Ok(items
            .iter()
            .filter(|item| item.pointer("/metadata/deletionTimestamp").is_none())
            .map(identity)
            .collect())
    }
}

/// The variant that answers.
pub fn active(placement: &VariantPlacement) -> Option<&str> {
    placement.status.as_ref()?.active_variant_name.as_deref()
}

/// The variant that the switching loop decided on.
pub fn ceiling(placement: &VariantPlacement) -> Option<&str> {
    Some(placement.spec.decision.as_ref()?.ceiling_variant_name.as_str())
}

/// What runs where, in words.
pub fn what_runs(placements: &[VariantPlacement]) -> String {
    let one = |placement: &VariantPlacement| {
        let decision = placement.spec.decision.as_ref();
        let why = decision.map(|decision| format!("{}: {}", decision.reason, decision.message));
        format!(
            "{} runs {} (decided {}; {})",
            placement.spec.node_name,
            active(placement).unwrap_or("nothing"),
            ceiling(placement).unwrap_or("nothing"),
            why.as_deref().unwrap_or("no decision")
        )
    };
    placements.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A condition in words.
pub fn words(condition: Option<&Condition>) -> String {
    let one =
        |found: &Condition| format!("{}={} {}: {}", found.type_, found.status, found.reason, found.message);
    condition.map_or_else(|| "no such condition of the present generation".to_owned(), one)
}

fn identity(item: &Value) -> (String, Identity) {
    let text = |path: &str| item.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let containers = item.pointer("/status/containerStatuses").and_then(Value::as_array);
    let restarts = containers.into_iter().flatten().filter_map(|one| one.get("restartCount")?.as_i64()).sum();
    let identity = Identity {
        uid: text("/metadata/uid"),
        generation: item.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default(),
        resource_version: text("/metadata/resourceVersion"),
        restarts,
    };
    (format!("{}/{}", text("/kind"), text("/metadata/name")), identity)
}
