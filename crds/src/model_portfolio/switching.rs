//! `spec.switching`: how variants follow the load.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::Pin;
use crate::variant_placement::PlacementPolicy;

/// How variants follow the load.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Switching {
    /// Where the load is read.
    #[serde(default)]
    pub prometheus: Prometheus,

    /// How fast steps follow the load.
    #[serde(default)]
    pub behavior: SwitchingBehavior,

    /// Run one variant on every node, whatever the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
}

/// The Prometheus that scrapes the nodes' pods.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.maximumSampleAgeSeconds >= self.intervalSeconds").message("maximumSampleAgeSeconds must be at least intervalSeconds"))]
pub struct Prometheus {
    /// Its address, such as `http://prometheus.monitoring:9090`. Default: the one that the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^https?://[^\s]+$"))]
    pub url: Option<String>,

    /// The label of the load's series that holds the node's name. Default `node`, which the runtime itself sets.
    #[serde(default = "default_node_label")]
    #[schemars(length(max = 63), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub node_label: String,

    /// The load is read, and variants are chosen, every so many seconds, from 1 to 3600. Default 5.
    #[serde(default = "default_interval_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: i32,

    /// A load that is older than so many seconds counts as unknown: the node holds its variant. At least the scrape interval and at
    /// least `intervalSeconds`; from 1 to 3600, default 30.
    #[serde(default = "default_maximum_sample_age_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub maximum_sample_age_seconds: i32,

    /// Secret of this namespace whose key `token` is sent as bearer token. It must allow that, by the annotation
    /// `dnnshifter.io/prometheus-url` with the address that the token may be sent to: who writes a portfolio may have no right to read
    /// Secrets. A Secret of type `kubernetes.io/service-account-token` is never sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub authorization_secret_name: Option<String>,

    /// Secret of this namespace whose key `ca.crt` holds the certificates to trust, in PEM; then none of the system's are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ca_secret_name: Option<String>,
}

fn default_node_label() -> String {
    "node".to_owned()
}

fn default_interval_seconds() -> i32 {
    5
}

fn default_maximum_sample_age_seconds() -> i32 {
    30
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            url: None,
            node_label: default_node_label(),
            interval_seconds: default_interval_seconds(),
            maximum_sample_age_seconds: default_maximum_sample_age_seconds(),
            authorization_secret_name: None,
            ca_secret_name: None,
        }
    }
}

/// How fast steps follow the load.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchingBehavior {
    /// Steps to a less accurate variant. Default: at once.
    #[serde(default = "Stabilization::at_once")]
    pub step_down: Stabilization,
    /// Steps to a more accurate variant. Default: 60 seconds.
    #[serde(default = "Stabilization::a_minute")]
    pub step_up: Stabilization,
}

/// When a step may follow.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stabilization {
    /// The load must have asked for the step during so many seconds without a break, from 0 to 3600.
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: i32,
}

impl Stabilization {
    fn at_once() -> Self {
        Self { stabilization_window_seconds: 0 }
    }

    fn a_minute() -> Self {
        Self { stabilization_window_seconds: 60 }
    }

    fn window(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.stabilization_window_seconds.try_into().unwrap_or(0))
    }
}

impl Default for SwitchingBehavior {
    fn default() -> Self {
        Self { step_down: Stabilization::at_once(), step_up: Stabilization::a_minute() }
    }
}

impl TryFrom<&PlacementPolicy> for dnnshifter_portfolio::Policy {
    type Error = dnnshifter_portfolio::name::InvalidVariantName;

    fn try_from(policy: &PlacementPolicy) -> Result<Self, Self::Error> {
        let milliseconds = u64::try_from(policy.latency_objective.milliseconds).unwrap_or(0);
        let pin = policy.pin.as_ref().map(|pin| dnnshifter_portfolio::VariantName::parse(&pin.variant_name));
        Ok(Self {
            latency: std::time::Duration::from_millis(milliseconds),
            quantile: policy.latency_objective.quantile,
            step_down_window: policy.behavior.step_down.window(),
            step_up_window: policy.behavior.step_up.window(),
            pin: pin.transpose()?,
        })
    }
}
