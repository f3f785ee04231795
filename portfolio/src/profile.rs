//! What a node measured of each variant under its real limits: the ground on which [`mod@crate::select`] chooses.

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, name::VariantName};

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
    /// What the node computes with.
    pub machine: Machine,
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

/// What a node computes with: times that were measured hold for this alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The CPUs that the container may run on, as Linux lists them: `0-3,8`. Empty where it does not say.
    pub cpus: String,
    /// Those extensions of the CPU that decide how fast networks are, as Linux calls them.
    pub cpu_flags: Vec<String>,
    /// Threads that compute an inference.
    pub threads: u32,
    /// The engine and its release. Empty where nothing was measured.
    pub engine: String,
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
    /// Wall time of an inference of the variant after it lay idle, its weights loaded: what it takes to warm it again.
    pub warm_us: u64,
    /// Periods in which the CPU quota ran out while the variant was measured. Many mean that the times are those of a busy moment.
    pub throttled_periods: u64,
    /// Digest of the network's file; absent where the runtime did not read it.
    pub digest: Option<Digest>,
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
