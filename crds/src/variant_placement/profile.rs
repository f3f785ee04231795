//! A node's measurements as Kubernetes stores them, and their way to and from [`NodeProfile`].

use dnnshifter_portfolio::{
    CpuQuota, NodeProfile, VariantName, VariantProfile, name::InvalidVariantName, profile::Distribution,
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::VariantPlacementStatus;

/// What the pod may use, as the runtime found it in its cgroup.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeLimits {
    /// CPU time that the container may use in each period; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub cpu_quota_microseconds: Option<i64>,
    /// The period of the quota; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub cpu_period_microseconds: Option<i64>,
    /// Memory that the container may use; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub memory_bytes: Option<i64>,
    /// Memory that the runtime needs without any variant.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub base_memory_bytes: i64,
}

/// What the node measured of one variant, one item at a time.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredVariant {
    /// The variant's name within the portfolio.
    #[schemars(length(min = 1, max = 20))]
    pub name: String,
    /// Wall time of an inference, while not throttled.
    pub wall: MeasuredTime,
    /// CPU time of an inference.
    pub cpu: MeasuredTime,
    /// CPU time that the protocol costs a request beside the inference.
    #[schemars(range(min = 0))]
    pub protocol_cpu_microseconds: i64,
    /// Private memory of the loaded variant.
    #[schemars(range(min = 0))]
    pub anonymous_bytes: i64,
    /// Memory mapped from files.
    #[schemars(range(min = 0))]
    pub mapped_bytes: i64,
}

/// A measured distribution of a time, in microseconds.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredTime {
    /// Mean.
    #[schemars(range(min = 0))]
    pub mean_microseconds: i64,
    /// Standard deviation.
    #[schemars(range(min = 0))]
    pub deviation_microseconds: i64,
    /// Median.
    #[schemars(range(min = 0))]
    pub p50_microseconds: i64,
    /// 95th percentile.
    #[schemars(range(min = 0))]
    pub p95_microseconds: i64,
    /// 99th percentile.
    #[schemars(range(min = 0))]
    pub p99_microseconds: i64,
    /// How many measurements.
    #[schemars(range(min = 0))]
    pub samples: i64,
}

impl VariantPlacementStatus {
    /// The measurements, as the choice of a variant wants them; empty before the runtime has reported any.
    pub fn node_profile(&self) -> Result<NodeProfile, InvalidVariantName> {
        let limits = self.limits.clone().unwrap_or_default();
        let quota = limits.cpu_quota_microseconds.zip(limits.cpu_period_microseconds);
        Ok(NodeProfile {
            quota: quota.map(|(quota, period)| CpuQuota {
                quota_us: unsigned(quota),
                period_us: unsigned(period).max(1),
            }),
            memory_limit_bytes: limits.memory_bytes.map(unsigned),
            base_memory_bytes: unsigned(limits.base_memory_bytes),
            variants: self.profiles.iter().map(VariantProfile::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&NodeProfile> for NodeLimits {
    fn from(profile: &NodeProfile) -> Self {
        Self {
            cpu_quota_microseconds: profile.quota.map(|quota| signed(quota.quota_us)),
            cpu_period_microseconds: profile.quota.map(|quota| signed(quota.period_us)),
            memory_bytes: profile.memory_limit_bytes.map(signed),
            base_memory_bytes: signed(profile.base_memory_bytes),
        }
    }
}

impl TryFrom<&MeasuredVariant> for VariantProfile {
    type Error = InvalidVariantName;

    fn try_from(measured: &MeasuredVariant) -> Result<Self, Self::Error> {
        Ok(Self {
            name: VariantName::parse(&measured.name)?,
            wall: (&measured.wall).into(),
            cpu: (&measured.cpu).into(),
            protocol_cpu_us: unsigned(measured.protocol_cpu_microseconds),
            anonymous_bytes: unsigned(measured.anonymous_bytes),
            mapped_bytes: unsigned(measured.mapped_bytes),
        })
    }
}

impl From<&VariantProfile> for MeasuredVariant {
    fn from(profile: &VariantProfile) -> Self {
        Self {
            name: profile.name.to_string(),
            wall: (&profile.wall).into(),
            cpu: (&profile.cpu).into(),
            protocol_cpu_microseconds: signed(profile.protocol_cpu_us),
            anonymous_bytes: signed(profile.anonymous_bytes),
            mapped_bytes: signed(profile.mapped_bytes),
        }
    }
}

impl From<&MeasuredTime> for Distribution {
    fn from(time: &MeasuredTime) -> Self {
        Self {
            mean_us: unsigned(time.mean_microseconds),
            deviation_us: unsigned(time.deviation_microseconds),
            p50_us: unsigned(time.p50_microseconds),
            p95_us: unsigned(time.p95_microseconds),
            p99_us: unsigned(time.p99_microseconds),
            samples: u32::try_from(time.samples).unwrap_or(u32::MAX),
        }
    }
}

impl From<&Distribution> for MeasuredTime {
    fn from(time: &Distribution) -> Self {
        Self {
            mean_microseconds: signed(time.mean_us),
            deviation_microseconds: signed(time.deviation_us),
            p50_microseconds: signed(time.p50_us),
            p95_microseconds: signed(time.p95_us),
            p99_microseconds: signed(time.p99_us),
            samples: i64::from(time.samples),
        }
    }
}

/// Kubernetes stores signed integers only; ours are never negative, which the schema's `minimum: 0` enforces.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_survives_the_way_through_kubernetes() {
        let time = Distribution {
            mean_us: 2_000,
            deviation_us: 50,
            p50_us: 1_990,
            p95_us: 2_100,
            p99_us: 2_300,
            samples: 50,
        };
        let profile = NodeProfile {
            quota: Some(CpuQuota { quota_us: 50_000, period_us: 100_000 }),
            memory_limit_bytes: Some(256 << 20),
            base_memory_bytes: 32 << 20,
            variants: vec![VariantProfile {
                name: VariantName::parse("macs-100").unwrap(),
                wall: time,
                cpu: time,
                protocol_cpu_us: 150,
                anonymous_bytes: 3 << 20,
                mapped_bytes: 15 << 20,
            }],
        };
        let status = VariantPlacementStatus {
            limits: Some((&profile).into()),
            profiles: profile.variants.iter().map(MeasuredVariant::from).collect(),
            ..VariantPlacementStatus::default()
        };
        assert_eq!(status.node_profile().unwrap(), profile);
    }

    #[test]
    fn a_node_that_reported_nothing_has_an_empty_profile() {
        assert_eq!(VariantPlacementStatus::default().node_profile().unwrap(), NodeProfile::default());
    }
}
