//! A node's measurements as Kubernetes stores them, and their way to and from [`NodeProfile`].

use dnnshifter_portfolio::{
    CpuQuota, Digest, NodeProfile, VariantName, VariantProfile,
    name::InvalidVariantName,
    profile::{Distribution, Machine},
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

/// What the pod computes with: the measured times hold for this alone.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeMachine {
    /// The CPUs that the container may run on, as Linux lists them: `0-3,8`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub cpus: String,
    /// Those extensions of the CPU that decide how fast networks are, as Linux calls them. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 32)))]
    pub cpu_flags: Vec<String>,
    /// Threads that compute an inference.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub threads: i64,
    /// The engine and its release.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub engine: String,
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
    /// Wall time of an inference of the variant after it lay idle, its weights loaded: what it takes to warm it again.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warm_microseconds: i64,
    /// Periods in which the CPU quota ran out while the variant was measured. Many mean that the times are those of a busy moment.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub throttled_periods: i64,
    /// Digest of the network's file that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub digest: Option<String>,
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

impl From<&NodeProfile> for VariantPlacementStatus {
    /// A status of the measurements alone.
    fn from(profile: &NodeProfile) -> Self {
        Self {
            limits: Some(profile.into()),
            machine: Some((&profile.machine).into()),
            profiles: profile.variants.iter().map(MeasuredVariant::from).collect(),
            ..Self::default()
        }
    }
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
            machine: self.machine.as_ref().map(Machine::from).unwrap_or_default(),
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

impl From<&NodeMachine> for Machine {
    fn from(machine: &NodeMachine) -> Self {
        let NodeMachine { cpus, cpu_flags, threads, engine } = machine.clone();
        Self { cpus, cpu_flags, threads: u32::try_from(threads).unwrap_or(0), engine }
    }
}

impl From<&Machine> for NodeMachine {
    fn from(machine: &Machine) -> Self {
        let Machine { cpus, cpu_flags, threads, engine } = machine.clone();
        Self { cpus, cpu_flags, threads: i64::from(threads), engine }
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
            warm_us: unsigned(measured.warm_microseconds),
            throttled_periods: unsigned(measured.throttled_periods),
            // It is for people, and for the node: nothing is chosen by it.
            digest: measured.digest.as_deref().and_then(|digest| Digest::parse(digest).ok()),
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
            warm_microseconds: signed(profile.warm_us),
            throttled_periods: signed(profile.throttled_periods),
            digest: profile.digest.as_ref().map(ToString::to_string),
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
            machine: Machine {
                cpus: "0-3,8".to_owned(),
                cpu_flags: vec!["avx2".to_owned(), "fma".to_owned()],
                threads: 2,
                engine: "onnxruntime 1.31.1".to_owned(),
            },
            variants: vec![VariantProfile {
                name: VariantName::parse("macs-100").unwrap(),
                wall: time,
                cpu: time,
                protocol_cpu_us: 150,
                anonymous_bytes: 3 << 20,
                mapped_bytes: 15 << 20,
                warm_us: 4_100,
                throttled_periods: 3,
                digest: Some(Digest::parse(&format!("sha256:{}", "0a".repeat(32))).unwrap()),
            }],
        };
        let text = serde_json::to_string(&VariantPlacementStatus::from(&profile)).unwrap();
        let status: VariantPlacementStatus = serde_json::from_str(&text).unwrap();
        assert_eq!(status.node_profile().unwrap(), profile);
    }

    #[test]
    fn a_profile_of_an_earlier_runtime_is_read() {
        let time = r#"{"meanMicroseconds": 1, "deviationMicroseconds": 0, "p50Microseconds": 1, "p95Microseconds": 1, "p99Microseconds": 1, "samples": 9}"#;
        let text = format!(
            r#"{{"limits": {{"baseMemoryBytes": 1}}, "profiles": [{{"name": "a", "wall": {time}, "cpu": {time},
                "protocolCpuMicroseconds": 5, "anonymousBytes": 1, "mappedBytes": 1}}]}}"#
        );
        let status: VariantPlacementStatus = serde_json::from_str(&text).unwrap();
        let profile = status.node_profile().unwrap();
        assert_eq!((profile.machine, profile.variants[0].warm_us), (Machine::default(), 0));
    }

    #[test]
    fn a_node_that_reported_nothing_has_an_empty_profile() {
        assert_eq!(VariantPlacementStatus::default().node_profile().unwrap(), NodeProfile::default());
    }
}
