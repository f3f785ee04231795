//! What a node measured of each variant under its real limits: the ground on which [`mod@crate::select`] chooses.

use serde::{Deserialize, Serialize};

use crate::name::VariantName;

/// A node's measurements of one portfolio. Times are in microseconds, sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeProfile {
    /// The CPU quota of the container, if there is one.
    pub quota: Option<CpuQuota>,
    /// The memory limit of the container, if there is one.
    pub memory_limit_bytes: Option<u64>,
    /// Memory that the runtime itself needs, without any variant.
    pub base_memory_bytes: u64,
    /// The variants that were measured.
    pub variants: Vec<VariantProfile>,
}

/// A CPU quota as Linux' CFS bandwidth control grants it: so much CPU time in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuQuota {
    /// CPU time per period.
    pub quota_us: u64,
    /// The period, above 0.
    pub period_us: u64,
}

/// What a node measured of one variant, one request of one item at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VariantProfile {
    /// The variant.
    pub name: VariantName,
    /// Wall time of an inference, while not throttled.
    pub wall: Distribution,
    /// CPU time of an inference.
    pub cpu: Distribution,
    /// CPU time that the protocol costs a request beside the inference.
    pub protocol_cpu_us: u64,
    /// Private memory of the loaded variant.
    pub anonymous_bytes: u64,
    /// Memory that is mapped from files, which the cgroup is charged for as well.
    pub mapped_bytes: u64,
}

/// A measured distribution of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Distribution {
    /// Mean.
    pub mean_us: u64,
    /// Standard deviation.
    pub deviation_us: u64,
    /// Median.
    pub p50_us: u64,
    /// 95th percentile.
    pub p95_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// How many measurements.
    pub samples: u32,
}

impl Distribution {
    /// A time that is the same in each of `samples` measurements.
    pub const fn constant(microseconds: u64, samples: u32) -> Self {
        Self {
            mean_us: microseconds,
            deviation_us: 0,
            p50_us: microseconds,
            p95_us: microseconds,
            p99_us: microseconds,
            samples,
        }
    }
}

impl NodeProfile {
    /// The profile of `name`, if it was measured.
    pub fn variant(&self, name: &VariantName) -> Option<&VariantProfile> {
        self.variants.iter().find(|variant| variant.name == *name)
    }
}

impl VariantProfile {
    /// All memory that the loaded variant is charged for, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.anonymous_bytes.saturating_add(self.mapped_bytes)
    }
}
