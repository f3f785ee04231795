//! Choosing, told as a table of situations, and its properties over all of them.

use proptest::prelude::*;

use super::*;
use crate::profile::{CpuQuota, Distribution, Machine};

const UP: Duration = Duration::from_mins(1);

fn name(text: &str) -> VariantName {
    VariantName::parse(text).unwrap()
}

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn measured(variant: &VariantName, mean_us: u64, mebibytes: u64) -> VariantProfile {
    let time = Distribution::constant(mean_us, 100);
    VariantProfile {
        name: variant.clone(),
        wall: time,
        cpu: time,
        protocol_cpu_us: 0,
        anonymous_bytes: mebibytes << 20,
        mapped_bytes: 0,
        warm_us: 0,
        throttled_periods: 0,
        digest: None,
    }
}

/// Three variants of 8, 4 and 2 ms on half a CPU, and 20 ms to meet.
struct Node {
    variants: Vec<VariantName>,
    profile: NodeProfile,
    policy: Policy,
    history: LoadHistory,
    now: u64,
}

impl Node {
    fn new() -> Self {
        let variants = vec![name("large"), name("medium"), name("small")];
        let times = variants.iter().zip([8_000, 4_000, 2_000]);
        let profile = NodeProfile {
            quota: Some(CpuQuota { quota_us: 50_000, period_us: 100_000 }),
            memory_limit_bytes: Some(256 << 20),
            base_memory_bytes: 32 << 20,
            machine: Machine::default(),
            variants: times.map(|(variant, us)| measured(variant, us, us / 100)).collect(),
        };
        let policy = Policy {
            latency: Duration::from_millis(20),
            quantile: Fraction::parse("0.99").unwrap(),
            step_down_window: Duration::ZERO,
            step_up_window: UP,
            pin: None,
        };
        Self { variants, profile, policy, history: LoadHistory::default(), now: 0 }
    }

    /// The load was `load` for a long time.
    fn settled_at(load: f64) -> Self {
        let mut node = Self::new();
        for _ in 0..=12 {
            node.observe(5, Some(load));
        }
        node
    }

    fn observe(&mut self, after_seconds: u64, load: Option<f64>) {
        self.now += after_seconds;
        self.history.observe(at(self.now), load, UP);
    }

    fn select(&self, active: &str) -> Selection {
        self.select_below(None, Some(active))
    }

    fn select_below(&self, ceiling: Option<&str>, active: Option<&str>) -> Selection {
        let (ceiling, active) = (ceiling.map(name), active.map(name));
        select(Situation {
            variants: &self.variants,
            profile: &self.profile,
            policy: &self.policy,
            ceiling: ceiling.as_ref(),
            active: active.as_ref(),
            history: &self.history,
            now: at(self.now),
        })
        .unwrap()
    }

    fn chosen(&self, active: &str) -> (String, Reason) {
        let selection = self.select(active);
        (selection.variant.to_string(), selection.reason)
    }
}

fn expect(variant: &str, reason: Reason) -> (String, Reason) {
    (variant.to_owned(), reason)
}

#[test]
fn the_most_accurate_variant_that_meets_the_objective_is_kept() {
    assert_eq!(Node::settled_at(5.0).chosen("large"), expect("large", Reason::MeetsObjective));
}

#[test]
fn the_first_sample_of_a_higher_load_steps_down() {
    let mut node = Node::settled_at(5.0);
    node.observe(5, Some(60.0));
    assert_eq!(node.chosen("large"), expect("medium", Reason::SteppedDown));
    node.observe(5, Some(120.0));
    assert_eq!(node.chosen("large"), expect("small", Reason::SteppedDown));
}

#[test]
fn a_step_down_window_lets_a_short_peak_pass() {
    let mut node = Node::settled_at(5.0);
    node.policy.step_down_window = Duration::from_secs(10);
    node.observe(5, Some(60.0));
    let held = node.select("large");
    assert_eq!((held.variant.as_str(), held.meets_objective), ("large", Some(false)));
    node.observe(5, Some(60.0));
    assert_eq!(node.chosen("large"), expect("large", Reason::MeetsObjective));
    node.observe(5, Some(60.0));
    assert_eq!(node.chosen("large"), expect("medium", Reason::SteppedDown));
}

#[test]
fn a_lower_load_steps_up_only_after_the_whole_window() {
    let mut node = Node::settled_at(60.0);
    for _ in 0..12 {
        node.observe(5, Some(5.0));
        assert_eq!(node.chosen("medium").0, "medium", "{} s", node.now);
    }
    node.observe(5, Some(5.0));
    assert_eq!(node.chosen("medium"), expect("large", Reason::SteppedUp));
}

#[test]
fn a_step_up_needs_headroom() {
    let within_objective = Node::settled_at(24.0);
    assert!(within_objective.select("large").meets_objective.unwrap());
    let selection = within_objective.select("medium");
    assert_eq!(selection.variant.as_str(), "medium");
    assert!(
        matches!(selection.refused.as_slice(), [Refused { refusal: Refusal::TooSlow { .. }, .. }]),
        "{selection:?}"
    );
}

#[test]
fn a_step_up_that_failed_is_not_repeated_at_once() {
    let mut node = Node::settled_at(5.0);
    node.history.switched(at(node.now - 20), Direction::Up, UP);
    node.history.switched(at(node.now), Direction::Down, UP);
    let selection = node.select("medium");
    assert_eq!(selection.variant.as_str(), "medium");
    assert_eq!(selection.refused.first().unwrap().refusal, Refusal::BackingOff);
}

#[test]
fn unknown_load_holds_whatever_is_active() {
    for active in ["large", "medium", "small"] {
        let mut node = Node::settled_at(200.0);
        node.observe(5, None);
        let selection = node.select(active);
        assert_eq!((selection.variant.as_str(), selection.reason), (active, Reason::LoadUnknown));
        assert_eq!(selection.meets_objective, None);
    }
}

#[test]
fn after_an_unknown_load_down_is_at_once_and_up_takes_a_whole_window() {
    let mut node = Node::settled_at(5.0);
    node.observe(5, None);
    node.observe(5, Some(5.0));
    assert_eq!(node.chosen("medium").0, "medium");
    node.observe(5, Some(120.0));
    assert_eq!(node.chosen("medium"), expect("small", Reason::SteppedDown));
}

#[test]
fn a_pin_beats_load_and_ceiling() {
    let mut node = Node::settled_at(1000.0);
    node.policy.pin = Some(name("large"));
    let selection = node.select_below(Some("small"), Some("small"));
    assert_eq!((selection.variant.as_str(), selection.reason), ("large", Reason::Pinned));
    assert_eq!(selection.meets_objective, Some(false));
}

#[test]
fn nothing_above_the_ceiling_is_chosen() {
    let node = Node::settled_at(5.0);
    assert_eq!(node.select_below(Some("medium"), Some("large")).variant.as_str(), "medium");
    let mut unknown = Node::settled_at(5.0);
    unknown.observe(5, None);
    assert_eq!(unknown.select_below(Some("medium"), Some("large")).variant.as_str(), "medium");
}

#[test]
fn what_does_not_fit_in_memory_is_refused_with_the_numbers() {
    let mut node = Node::settled_at(5.0);
    node.profile.memory_limit_bytes = Some(100 << 20);
    let selection = node.select("large");
    assert_eq!(selection.variant.as_str(), "medium");
    assert_eq!(selection.refused.first().unwrap().to_string(), "large: needs 112 MiB of 100 MiB");
}

#[test]
fn when_nothing_meets_the_objective_the_fastest_runs() {
    let node = Node::settled_at(1000.0);
    assert_eq!(node.chosen("large"), expect("small", Reason::NothingMeetsObjective));
    assert_eq!(node.select("large").meets_objective, Some(false));
    assert_eq!(node.select("large").refused.len(), 3);
}

#[test]
fn without_measurements_what_is_active_stays_and_the_smallest_is_the_start() {
    let mut node = Node::settled_at(5.0);
    node.profile.variants.clear();
    assert_eq!(node.chosen("medium"), expect("medium", Reason::NothingMeasured));
    assert_eq!(node.select_below(None, None).variant.as_str(), "small");
}

#[test]
fn a_measurement_without_samples_is_none() {
    let mut node = Node::settled_at(100.0);
    node.profile.variants[0].wall = Distribution::default();
    node.profile.variants[0].cpu = Distribution::default();
    let selection = node.select("small");
    assert_ne!(selection.variant.as_str(), "large");
    assert_eq!(selection.refused.first().unwrap().refusal, Refusal::NotMeasured);
}

#[test]
fn no_variants_no_choice() {
    let node = Node { variants: Vec::new(), ..Node::settled_at(5.0) };
    let nothing = Situation {
        variants: &node.variants,
        profile: &node.profile,
        policy: &node.policy,
        ceiling: None,
        active: None,
        history: &node.history,
        now: at(node.now),
    };
    assert_eq!(select(nothing), None);
}

proptest! {
    /// Total, deterministic, and always one of the variants.
    #[test]
    fn every_situation_has_one_answer(loads in proptest::collection::vec(proptest::option::of(-10.0..2000.0), 1..40), active in 0_usize..4, ceiling in 0_usize..4) {
        let mut node = Node::new();
        for load in loads {
            node.observe(5, load);
        }
        let pick = |i: usize| node.variants.get(i).map(|variant| variant.as_str().to_owned());
        let (active, ceiling) = (pick(active), pick(ceiling));
        let selection = node.select_below(ceiling.as_deref(), active.as_deref());
        prop_assert!(node.variants.contains(&selection.variant));
        prop_assert_eq!(selection, node.select_below(ceiling.as_deref(), active.as_deref()));
    }

    /// At a steady load the choice settles: chosen again, it stays.
    #[test]
    fn a_steady_load_never_flaps(load in 0.0..400.0, active in 0_usize..3) {
        let mut node = Node::settled_at(load);
        let mut active = node.variants[active].clone();
        let mut switches = 0;
        for _ in 0..100 {
            node.observe(5, Some(load));
            let next = node.select(active.as_str()).variant;
            switches += u32::from(next != active);
            active = next;
        }
        prop_assert!(switches <= 1, "{switches} switches");
    }

    /// A higher load never leads to a more accurate variant.
    #[test]
    fn a_higher_load_never_chooses_a_more_accurate_variant(load in 0.0..400.0, more in 0.0..400.0, active in 0_usize..3) {
        let (calm, busy) = (Node::settled_at(load), Node::settled_at(load + more));
        let active = calm.variants[active].as_str();
        let rank = |node: &Node| node.variants.iter().position(|v| *v == node.select(active).variant).unwrap();
        prop_assert!(rank(&busy) >= rank(&calm));
    }
}
