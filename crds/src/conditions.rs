//! Conditions: their types, their reasons, and how one is made and compared.
//!
//! kstatus (kubernetes-sigs/cli-utils): `Ready` is always there; [`RECONCILING`] and [`STALLED`] exist only while they are
//! true. A condition is always written whole, `message: ""` included, since server-side apply cannot clear a field.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Fully there, as wanted.
pub const READY: &str = "Ready";
/// On the way; exists only while true.
pub const RECONCILING: &str = "Reconciling";
/// Failed, and will not get better without a change; exists only while true.
pub const STALLED: &str = "Stalled";
/// Of a portfolio: the wanted variants exist.
pub const VARIANTS_AVAILABLE: &str = "VariantsAvailable";
/// Of a portfolio: every matching node serves, unreachable ones included. Never affects [`READY`].
pub const NODES_SERVING: &str = "NodesServing";
/// Of a portfolio: Prometheus gives a fresh load for every serving node. Never affects [`READY`]; while it is false, variants hold.
pub const LOAD_KNOWN: &str = "LoadKnown";
/// Of a portfolio: exists, and is true, only while a node is matched by more than one of its device classes.
pub const DEVICE_CLASSES_OVERLAP: &str = "DeviceClassesOverlap";
/// Of a portfolio: exists, and is true, only while a device class matches nodes that our images cannot run on, which are left out.
pub const NODES_UNSUPPORTED: &str = "NodesUnsupported";
/// Of a placement: the active variant meets the latency objective.
pub const OBJECTIVE_MET: &str = "ObjectiveMet";
/// Of a placement: every variant was loaded and gave the output of its check.
pub const VARIANTS_LOADED: &str = "VariantsLoaded";

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows.
    Unknown,
}

impl Truth {
    /// The status as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// A condition as it should be; when it changed is found by comparing with what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedCondition {
    /// One of this module's types.
    pub type_: &'static str,
    /// Whether it holds.
    pub truth: Truth,
    /// One `CamelCase` word.
    pub reason: &'static str,
    /// For a person: what, where, how to mend. May be empty.
    pub message: String,
}

impl WantedCondition {
    /// The condition to write: the time of transition is kept if the status is the same as in `stored`.
    pub fn observed(self, stored: &[Condition], generation: Option<i64>, now: &Time) -> Condition {
        let same = stored
            .iter()
            .find(|condition| condition.type_ == self.type_ && condition.status == self.truth.as_str());
        Condition {
            type_: self.type_.to_owned(),
            status: self.truth.as_str().to_owned(),
            reason: self.reason.to_owned(),
            message: self.message,
            observed_generation: generation,
            last_transition_time: same
                .map_or_else(|| now.clone(), |condition| condition.last_transition_time.clone()),
        }
    }
}

/// Whether the condition of that type is there and true.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == Truth::True.as_str())
}
