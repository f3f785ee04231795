//! What a placement asks for: pure.

use std::time::Duration;

use dnnshifter_crds::{VariantPlacement, VariantPlacementSpec};
use dnnshifter_portfolio::{Policy, VariantName, select::Reason};
use kube::ResourceExt;

use crate::switch::Wanted;

/// What a placement asks of the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// The variants that are placed here, the most accurate first.
    pub(super) order: Vec<VariantName>,
    /// The one that is to serve; none yet means the least accurate.
    pub(super) wanted: Option<Wanted>,
    /// The latency to keep.
    pub(super) latency: Duration,
    /// How the node chooses below a ceiling.
    pub(super) policy: Option<Policy>,
}

/// Reads a placement. Names that are none, or that are not among the placed variants, count as absent (the API server's rules
/// do not let them in).
pub(super) fn directive(spec: &VariantPlacementSpec) -> Directive {
    let order: Vec<_> =
        spec.variants.iter().filter_map(|variant| VariantName::parse(&variant.name).ok()).collect();
    Directive { wanted: wanted(spec, &order), order, latency: latency(spec), policy: policy(spec) }
}

/// Reads a placement that is meant for pods of another template: the variants that are mounted here stay, and the present
/// choice among them holds unless the placement names another of them.
pub(super) fn directive_of_another_template(
    spec: &VariantPlacementSpec,
    mounted: Vec<VariantName>,
    present: Option<Wanted>,
) -> Directive {
    let wanted = wanted(spec, &mounted).or(present);
    Directive { wanted, order: mounted, latency: latency(spec), policy: policy(spec) }
}

/// Whether a placement is meant for pods of the template `own`. A pod that does not know its template obeys every placement.
pub(super) fn is_meant_for(spec: &VariantPlacementSpec, own: Option<&str>) -> bool {
    own.is_none_or(|own| own.is_empty() || own == spec.template_hash)
}

/// Of the variants in `order`, the one that is to serve: a pin beats the ceiling.
fn wanted(spec: &VariantPlacementSpec, order: &[VariantName]) -> Option<Wanted> {
    let placed = |name: &str| order.iter().find(|variant| variant.as_str() == name).cloned();
    let pin = spec.policy.pin.as_ref().and_then(|pin| placed(&pin.variant_name));
    let pinned =
        pin.map(|variant| Wanted { variant, reason: Reason::Pinned.as_str().to_owned(), is_ceiling: false });
    let decided = spec.decision.as_ref().and_then(|decision| {
        let variant = placed(&decision.ceiling_variant_name)?;
        Some(Wanted { variant, reason: decision.reason.clone(), is_ceiling: true })
    });
    pinned.or(decided)
}

fn latency(spec: &VariantPlacementSpec) -> Duration {
    Duration::from_millis(u64::try_from(spec.policy.latency_objective.milliseconds).unwrap_or(0))
}

fn policy(spec: &VariantPlacementSpec) -> Option<Policy> {
    Policy::try_from(&spec.policy).ok()
}

/// Whether `placement` is an earlier state of the same object than `than`, as the watch of an API server that lags behind may tell it.
pub(super) fn is_older(placement: &VariantPlacement, than: &VariantPlacement) -> bool {
    placement.uid() == than.uid() && placement.metadata.generation < than.metadata.generation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(policy: &str, decision: &str) -> VariantPlacementSpec {
        let text = format!(
            r#"{{"portfolioName":"p","nodeName":"n","deviceClassName":"c","revision":"r","templateHash":"t",
            "variants":[{{"name":"big","image":"i","accuracy":"0.9"}},{{"name":"small","image":"i","accuracy":"0.8"}}],
            "policy":{{"latencyObjective":{{"milliseconds":20,"quantile":"0.99"}},
                "behavior":{{"stepDown":{{"stabilizationWindowSeconds":0}},"stepUp":{{"stabilizationWindowSeconds":60}}}}{policy}}}{decision}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn wanted(policy: &str, decision: &str) -> Option<(String, String)> {
        directive(&spec(policy, decision)).wanted.map(|wanted| (wanted.variant.to_string(), wanted.reason))
    }

    const DECISION: &str =
        r#","decision":{"ceilingVariantName":"big","reason":"SteppedUp","decidedAt":"2026-01-01T00:00:00Z"}"#;

    #[test]
    fn without_a_decision_nothing_is_wanted_and_all_variants_are_placed() {
        let Directive { order, wanted, latency, .. } = directive(&spec("", ""));
        assert_eq!(order.iter().map(VariantName::as_str).collect::<Vec<_>>(), ["big", "small"]);
        assert_eq!((wanted, latency), (None, Duration::from_millis(20)));
    }

    #[test]
    fn the_ceiling_is_run() {
        assert_eq!(wanted("", DECISION), Some(("big".to_owned(), "SteppedUp".to_owned())));
    }

    #[test]
    fn a_pin_beats_the_ceiling() {
        let pin = r#","pin":{"variantName":"small"}"#;
        assert_eq!(wanted(pin, DECISION), Some(("small".to_owned(), "Pinned".to_owned())));
    }

    #[test]
    fn a_pin_of_a_variant_that_is_not_placed_does_not_count() {
        let pin = r#","pin":{"variantName":"gone"}"#;
        assert_eq!(wanted(pin, DECISION), Some(("big".to_owned(), "SteppedUp".to_owned())));
        assert_eq!(wanted(pin, ""), None);
    }

    #[test]
    fn states_are_ordered_by_generation_within_one_object() {
        let placement = |uid: &str, generation| {
            let mut placement = VariantPlacement::new("x", spec("", ""));
            placement.metadata.uid = Some(uid.to_owned());
            placement.metadata.generation = Some(generation);
            placement
        };
        assert!(is_older(&placement("a", 1), &placement("a", 2)));
        assert!(!is_older(&placement("a", 2), &placement("a", 2)));
        assert!(!is_older(&placement("b", 1), &placement("a", 2)));
    }
}
