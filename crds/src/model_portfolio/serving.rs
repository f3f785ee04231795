//! `spec.serving`: how variants are served.

use dnnshifter_portfolio::Fraction;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How variants are served.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Serving {
    /// The latency to keep: the most accurate variant that keeps it runs.
    pub latency_objective: LatencyObjective,

    /// The Service before the nodes' pods. A node's clients reach its own pod, and others only while it has none.
    #[serde(default)]
    pub service: Service,

    /// Secrets of this namespace with which nodes and the pruning Job pull images, and the operator reads a published portfolio. Of type
    /// `kubernetes.io/dockerconfigjson`, whose one key `.dockerconfigjson` holds
    /// `{"auths": {"registry.example.com": {"username": "...", "password": "..."}}}`; `kubectl create secret docker-registry` writes it.
    /// What it holds is sent only to the registry that it is for. At most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,

    /// Serve by TLS, and only so. Without it all is plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServingTls>,
}

/// A bound on a quantile of the latency of a request, from its arrival at the node's pod to its answer.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyObjective {
    /// The bound in milliseconds, from 1 to 60000.
    #[schemars(range(min = 1, max = 60000))]
    pub milliseconds: i32,

    /// The quantile, a decimal from "0.5" to "0.999". Default "0.99".
    #[serde(default = "default_quantile")]
    #[schemars(
        with = "String",
        length(max = 8),
        regex(pattern = r"^0\.([5-8][0-9]{0,5}|9[0-8]?[0-9]{0,4}|99[0-9]{0,4})$")
    )]
    #[x_kube(validation = Rule::new("double(self) <= 0.999").message("the quantile must be at most 0.999"))]
    pub quantile: Fraction,
}

fn default_quantile() -> Fraction {
    Fraction::nearest(0.99)
}

/// The Service before the nodes' pods.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// `ClusterIP` for clients in the cluster, `NodePort` for clients on each node's local network as well. Default `ClusterIP`.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,

    /// The Service's port, from 1 to 65535. Default 80.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

fn default_port() -> i32 {
    80
}

impl Default for Service {
    fn default() -> Self {
        Self { type_: ServiceType::default(), port: default_port() }
    }
}

/// TLS between clients and the nodes' pods. Certificates that change in their Secrets are used without a restart.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServingTls {
    /// Secret of this namespace, of type `kubernetes.io/tls`, whose keys `tls.crt` and `tls.key` hold the certificate that the pods
    /// show, and its key, in PEM. The certificate should be for the Service's name, `<portfolio>.<namespace>.svc`.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,

    /// Secret of this namespace whose key `ca.crt` holds certificates, in PEM: only clients with a certificate that one of these
    /// has signed are served (mutual TLS), and Prometheus needs one, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub client_ca_secret_name: Option<String>,
}

/// Types of Service.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceType {
    /// Reachable in the cluster.
    #[default]
    ClusterIP,
    /// Reachable by a port of every node as well.
    NodePort,
}
