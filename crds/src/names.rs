//! The names that others see: labels, annotations, field managers, and the names of the objects that we make.

/// Our API group, and the domain of our labels.
pub const GROUP: &str = "dnnshifter.io";

/// Field manager of the controllers.
pub const OPERATOR_FIELD_MANAGER: &str = "dnnshifter-operator";
/// Field manager of the switching loop, which writes `spec.decision` of placements and `LoadKnown` of portfolios.
pub const SWITCHING_FIELD_MANAGER: &str = "dnnshifter-switching";
/// Field manager of the runtime, which writes the status of its own placement.
pub const RUNTIME_FIELD_MANAGER: &str = "dnnshifter-runtime";

/// Label: the portfolio that an object belongs to.
pub const PORTFOLIO_LABEL: &str = "dnnshifter.io/portfolio";
/// Label: the placement that a Deployment and its pods belong to.
pub const PLACEMENT_LABEL: &str = "dnnshifter.io/placement";
/// Label: the revision of the portfolio that an object belongs to.
pub const REVISION_LABEL: &str = "dnnshifter.io/revision";
/// Label: hash of the pod template that a pod was made from.
pub const TEMPLATE_HASH_LABEL: &str = "dnnshifter.io/template-hash";
/// Annotation of a Secret: the address of the Prometheus that its token may be sent to.
pub const PROMETHEUS_URL_ANNOTATION: &str = "dnnshifter.io/prometheus-url";
/// Label of Kubernetes: who made the object. Our value is [`OPERATOR_FIELD_MANAGER`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Label of Kubernetes: the application's name; see the `*_COMPONENT` constants for [`COMPONENT_LABEL`].
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Our value of [`NAME_LABEL`].
pub const APPLICATION: &str = "dnnshifter";
/// Label of Kubernetes: the part of the application.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// The component that serves on edge nodes.
pub const RUNTIME_COMPONENT: &str = "runtime";
/// The component that trains and prunes.
pub const PRUNER_COMPONENT: &str = "pruner-job";

/// The longest name of a [`ModelPortfolio`](crate::ModelPortfolio): what is derived from it still fits 63 characters.
pub const LONGEST_PORTFOLIO_NAME: usize = 40;

/// Longest DNS label, and label value of Kubernetes.
const LONGEST_LABEL: usize = 63;

/// Name of the [`VariantPlacement`](crate::VariantPlacement) of a portfolio on a node, and of its Deployment.
///
/// `<portfolio>-<node>` where that is a DNS label; else the node's name is shortened and ends with a hash of the whole name.
pub fn placement_name(portfolio: &str, node: &str) -> String {
    let plain = format!("{portfolio}-{node}");
    if plain.len() <= LONGEST_LABEL && !node.contains('.') {
        return plain;
    }
    let hash = format!("{:08x}", fnv1a(node.as_bytes()));
    let room = LONGEST_LABEL.saturating_sub(portfolio.len() + hash.len() + 2);
    let short: String = node.chars().map(|c| if c == '.' { '-' } else { c }).take(room).collect();
    format!("{portfolio}-{}-{hash}", short.trim_end_matches('-'))
}

/// Name of the [`ModelVariant`](crate::ModelVariant) of a portfolio's revision.
pub fn variant_object_name(portfolio: &str, revision: &str, variant: &str) -> String {
    format!("{portfolio}-{revision}-{variant}")
}

/// FNV-1a, 32 bits (RFC 9923): short, stable for ever, and not for security.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stay_readable() {
        assert_eq!(placement_name("fashion", "edge-1"), "fashion-edge-1");
    }

    #[test]
    fn long_and_dotted_names_become_distinct_labels() {
        let portfolio = "p".repeat(LONGEST_PORTFOLIO_NAME);
        let nodes = [
            "ip-10-0-0-1.eu-central-1.compute.internal",
            "ip-10-0-0-1.eu-central-2.compute.internal",
            "a.b",
            "a-b",
        ];
        let mut names: Vec<_> = nodes.iter().map(|node| placement_name(&portfolio, node)).collect();
        assert!(names.iter().all(|name| name.len() <= 63 && !name.contains('.')), "{names:?}");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), nodes.len());
    }
}
