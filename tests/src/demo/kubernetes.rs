//! The demo's view of the portfolio in Kubernetes: what is asked and what is changed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dnnshifter_crds::{ModelPortfolio, ModelVariant, VariantPlacement, conditions, names::PORTFOLIO_LABEL};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{console::say, progress::last_line};

/// How often the portfolio's state is read while waiting.
const READ_EVERY: Duration = Duration::from_millis(500);
/// The Job's log is read once in so many times.
const READS_A_PROGRESS: u64 = 20;

/// One portfolio and what belongs to it.
#[derive(Clone)]
pub struct Portfolio {
    /// Its name.
    pub name: String,
    /// The client, for what this type does not do.
    pub client: Client,
    namespace: String,
}

impl Portfolio {
    /// The portfolio of that name.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { name: name.to_owned(), client, namespace: namespace.to_owned() }
    }

    /// The placements, by node.
    pub async fn placements(&self) -> Result<Vec<VariantPlacement>> {
        let mut placements =
            self.placement_api().list(&self.mine()).await.context("failed to list placements")?.items;
        placements.sort_by(|a, b| a.spec.node_name.cmp(&b.spec.node_name));
        Ok(placements)
    }

    /// The variants, the largest first, as the portfolio orders them.
    pub async fn variants(&self) -> Result<Vec<ModelVariant>> {
        let api = Api::<ModelVariant>::namespaced(self.client.clone(), &self.namespace);
        let mut variants = api.list(&self.mine()).await.context("failed to list variants")?.items;
        variants.sort_by_key(|variant| std::cmp::Reverse(variant.spec.macs));
        Ok(variants)
    }

    /// Placements, which change one by one and are not reached through the portfolio.
    pub fn placement_api(&self) -> Api<VariantPlacement> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// `http://address:port` of the Service.
    pub async fn service_url(&self) -> Result<String> {
        let service =
            Api::<Service>::namespaced(self.client.clone(), &self.namespace).get(&self.name).await?;
        let spec = service.spec.unwrap_or_default();
        let address = spec.cluster_ip.context("the Service has no address")?;
        let port = spec
            .ports
            .and_then(|ports| ports.first().map(|port| port.port))
            .context("the Service has no port")?;
        Ok(format!("http://{address}:{port}"))
    }

    /// Address and node of each serving pod.
    pub async fn pods(&self) -> Result<Vec<(String, String)>> {
        let pods =
            Api::<Pod>::namespaced(self.client.clone(), &self.namespace).list(&self.mine()).await?.items;
        let placed = |pod: Pod| {
            let node = pod.spec.and_then(|spec| spec.node_name)?;
            let status = pod.status.filter(|status| status.phase.as_deref() == Some("Running"))?;
            Some((node, status.pod_ip?))
        };
        Ok(pods
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .filter_map(placed)
            .collect())
    }

    /// Waits until the portfolio is `Ready`, saying what its condition and the pruning Job's log say; fails when it stalls.
    pub async fn wait_ready(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let mut said = [String::new(), String::new()];
        for round in 0_u64.. {
            let (ready, state) = self.readiness().await?;
            let progress = if round % READS_A_PROGRESS == 0 { last_line(&pods).await } else { None };
            for (line, said) in [Some(state), progress].into_iter().zip(&mut said) {
                if let Some(line) = line.filter(|line| line != said) {
                    say(format_args!("    {line}"));
                    *said = line;
                }
            }
            if ready {
                return Ok(());
            }
            let seconds = patience.as_secs();
            anyhow::ensure!(Instant::now() < deadline, "the portfolio was not Ready within {seconds} s");
            tokio::time::sleep(READ_EVERY).await;
        }
        Ok(())
    }

    /// Whether the portfolio is `Ready` now, and what it says of that; fails when it is stalled.
    async fn readiness(&self) -> Result<(bool, String)> {
        let api = Api::<ModelPortfolio>::namespaced(self.client.clone(), &self.namespace);
        let portfolio = api.get(&self.name).await.context("failed to read the portfolio")?;
        let status = portfolio.status.unwrap_or_default();
        let ready = status.conditions.iter().find(|condition| condition.type_ == conditions::READY);
        let text = ready.map(|ready| format!("{}: {}", ready.reason, ready.message)).unwrap_or_default();
        if conditions::is_true(&status.conditions, conditions::STALLED) {
            bail!("the portfolio is stalled: {text}");
        }
        let is_ready = conditions::is_true(&status.conditions, conditions::READY);
        Ok((is_ready && status.observed_generation == portfolio.metadata.generation, text))
    }

    /// Pins every node to a variant, or lifts the pin.
    pub async fn pin(&self, variant: Option<&str>) -> Result<()> {
        let pin = variant.map(|name| json!({"variantName": name}));
        self.patch(&json!({"spec": {"switching": {"pin": pin}}})).await
    }

    /// Stops the operator's work on the portfolio, or lets it go on.
    pub async fn suspend(&self, suspend: bool) -> Result<()> {
        self.patch(&json!({"spec": {"suspend": suspend}})).await
    }

    /// Waits until every node runs the variant of that name.
    pub async fn wait_active(&self, variant: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let placements = self.placements().await?;
            let active = |placement: &VariantPlacement| {
                placement.status.as_ref().and_then(|status| status.active_variant_name.clone())
            };
            if placements.iter().all(|placement| active(placement).as_deref() == Some(variant)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let found: Vec<_> =
                    placements.iter().map(|p| format!("{}: {:?}", p.spec.node_name, active(p))).collect();
                bail!("not every node ran {variant} within {} s: {}", patience.as_secs(), found.join(", "));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn patch(&self, patch: &serde_json::Value) -> Result<()> {
        let api = Api::<ModelPortfolio>::namespaced(self.client.clone(), &self.namespace);
        api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .context("failed to change the portfolio")?;
        Ok(())
    }

    fn mine(&self) -> ListParams {
        ListParams::default().labels(&format!("{PORTFOLIO_LABEL}={}", self.name))
    }
}
