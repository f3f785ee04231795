//! What the node measured of its variants, and what it may use, as metrics: the same that the placement's status says, without what
//! has no bound, as digests.

use std::sync::OnceLock;

use dnnshifter_portfolio::VariantProfile;
use prometheus::{GaugeVec, IntCounter, Result};

use super::maker::Maker;
use crate::{
    cgroup::{self, Cgroup},
    switch::Standing,
};

const WALL: &str = "Time of an inference of one item alone, as it was measured, while not throttled.";
const CPU: &str = "Mean CPU time of an inference of one item alone, as it was measured.";
const WARM: &str = "Time of an inference of the variant after it lay idle.";
const PROTOCOL: &str = "CPU time that the protocol costs a request beside the inference, as it was measured.";
const QUOTA: &str = "CPUs that the quota grants to the process; absent where there is none.";
const THROTTLED: &str = "Periods in which the process used up its CPU quota, and stood still.";

/// The metrics, and where the last of them is read.
pub(super) struct ProfileMetrics {
    wall_seconds: GaugeVec,
    cpu_seconds: GaugeVec,
    warm_seconds: GaugeVec,
    protocol_cpu_seconds: GaugeVec,
    quota_ratio: GaugeVec,
    throttled_periods: IntCounter,
    cgroup: OnceLock<Cgroup>,
}

impl ProfileMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self> {
        Ok(Self {
            wall_seconds: make.measured("dnnshifter_variant_wall_seconds", WALL, &["variant", "quantile"])?,
            cpu_seconds: make.measured("dnnshifter_variant_cpu_seconds", CPU, &["variant"])?,
            warm_seconds: make.measured("dnnshifter_variant_warm_seconds", WARM, &["variant"])?,
            protocol_cpu_seconds: make.measured("dnnshifter_protocol_cpu_seconds", PROTOCOL, &[])?,
            quota_ratio: make.measured("dnnshifter_cpu_quota_ratio", QUOTA, &[])?,
            throttled_periods: make
                .registered(IntCounter::new("dnnshifter_cpu_throttled_periods_total", THROTTLED))?,
            cgroup: OnceLock::new(),
        })
    }

    /// The process is in this control group.
    pub(super) fn runs_under(&self, cgroup: Cgroup) {
        if let Some(quota) = cgroup.limits().quota {
            self.quota_ratio.with_label_values::<&str>(&[]).set(cgroup::share(quota));
        }
        self.cgroup.get_or_init(|| cgroup);
    }

    /// As it is known now.
    pub(super) fn show(&self, standing: &Standing) {
        for gauges in [&self.wall_seconds, &self.cpu_seconds, &self.warm_seconds, &self.protocol_cpu_seconds]
        {
            gauges.reset();
        }
        for profile in standing.profiles.values() {
            self.show_variant(profile);
        }
        let throttled = self.cgroup.get().map_or(0, Cgroup::throttled_periods);
        self.throttled_periods.inc_by(throttled.saturating_sub(self.throttled_periods.get()));
    }

    fn show_variant(&self, profile: &VariantProfile) {
        let name = profile.name.as_str();
        let wall = &profile.wall;
        for (quantile, time_us) in [("0.5", wall.p50_us), ("0.95", wall.p95_us), ("0.99", wall.p99_us)] {
            self.wall_seconds.with_label_values(&[name, quantile]).set(seconds(time_us));
        }
        self.cpu_seconds.with_label_values(&[name]).set(seconds(profile.cpu.mean_us));
        self.warm_seconds.with_label_values(&[name]).set(seconds(profile.warm_us));
        // It is of the tensors, which are the same for all.
        self.protocol_cpu_seconds.with_label_values::<&str>(&[]).set(seconds(profile.protocol_cpu_us));
    }
}

fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use dnnshifter_portfolio::profile::Distribution;

    use super::*;
    use crate::{
        metrics::{Identity, Metrics},
        testing,
    };

    /// The lines of a metric, as `variant` was measured, under half a CPU that was used up seven times.
    fn lines(metric: &str) -> Vec<String> {
        let root = testing::half_a_cpu();
        let metrics = Metrics::new(&Identity::default()).unwrap();
        metrics.runs_under(Cgroup::of_this_process(root.path()));
        let time = Distribution {
            p50_us: 1_500,
            p95_us: 1_800,
            p99_us: 2_500,
            mean_us: 1_600,
            ..Distribution::default()
        };
        let profile = VariantProfile { wall: time, cpu: time, warm_us: 4_000, ..testing::profile("small") };
        let standing = Standing { profiles: [(profile.name.clone(), profile)].into(), ..Standing::default() };
        metrics.profile.show(&standing);
        // A counter counts on from where it was.
        metrics.profile.show(&standing);
        let text = metrics.text();
        text.lines().filter(|line| line.starts_with(metric)).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn what_was_measured_is_told_in_seconds() {
        assert_eq!(
            lines("dnnshifter_variant_wall_seconds"),
            [
                r#"dnnshifter_variant_wall_seconds{quantile="0.5",variant="small"} 0.0015"#,
                r#"dnnshifter_variant_wall_seconds{quantile="0.95",variant="small"} 0.0018"#,
                r#"dnnshifter_variant_wall_seconds{quantile="0.99",variant="small"} 0.0025"#,
            ]
        );
        assert_eq!(
            lines("dnnshifter_variant_cpu_seconds"),
            [r#"dnnshifter_variant_cpu_seconds{variant="small"} 0.0016"#]
        );
        assert_eq!(
            lines("dnnshifter_variant_warm_seconds"),
            [r#"dnnshifter_variant_warm_seconds{variant="small"} 0.004"#]
        );
        assert_eq!(lines("dnnshifter_protocol_cpu_seconds"), ["dnnshifter_protocol_cpu_seconds 0.0001"]);
    }

    #[test]
    fn the_quota_and_its_end_are_told() {
        assert_eq!(lines("dnnshifter_cpu_quota_ratio"), ["dnnshifter_cpu_quota_ratio 0.5"]);
        assert_eq!(
            lines("dnnshifter_cpu_throttled_periods_total"),
            ["dnnshifter_cpu_throttled_periods_total 7"]
        );
        assert!(
            Metrics::new(&Identity::default())
                .unwrap()
                .text()
                .contains("dnnshifter_cpu_throttled_periods_total 0")
        );
    }
}
