//! The reasons of conditions and Events, in one place: people and alerts search for them. What each means stands in
//! `docs/operations.md` as far as somebody has to act on it.

// Of several conditions.
pub(crate) const SERVING: &str = "Serving";
pub(crate) const SUSPENDED: &str = "Suspended";
pub(crate) const REFUSED: &str = "Refused";
pub(crate) const DEVICE_CLASS_MISSING: &str = "DeviceClassMissing";
pub(crate) const SECRET_UNUSABLE: &str = "SecretUnusable";

// Of a portfolio's `Ready`, `Reconciling`, `Stalled` and `VariantsAvailable`.
pub(crate) const AVAILABLE: &str = "Available";
pub(crate) const INVALID_SPEC: &str = "InvalidSpec";
pub(crate) const PIN_UNKNOWN: &str = "PinUnknown";
pub(crate) const PORTFOLIO_UNUSABLE: &str = "PortfolioUnusable";
pub(crate) const PRUNING: &str = "Pruning";
pub(crate) const PRUNING_FAILED: &str = "PruningFailed";
pub(crate) const REGISTRY_UNREACHABLE: &str = "RegistryUnreachable";
pub(crate) const ROLLING_OUT: &str = "RollingOut";
pub(crate) const SERVICE_NAME_TAKEN: &str = "ServiceNameTaken";

// Of a portfolio's `NodesServing`, `DeviceClassesOverlap` and `NodesUnsupported`.
pub(crate) const ALL_NODES_SERVE: &str = "AllNodesServe";
pub(crate) const ARCHITECTURE_UNSUPPORTED: &str = "ArchitectureUnsupported";
pub(crate) const NODES_MISSING: &str = "NodesMissing";
pub(crate) const NOTHING_TO_SERVE: &str = "NothingToServe";
pub(crate) const SEVERAL_CLASSES_MATCH: &str = "SeveralClassesMatch";

// Of a portfolio's `LoadKnown`.
pub(crate) const AWAITING_SAMPLES: &str = "AwaitingSamples";
pub(crate) const FRESH: &str = "Fresh";
pub(crate) const NOTHING_SERVES: &str = "NothingServes";
pub(crate) const PROMETHEUS_MISSING: &str = "PrometheusMissing";
pub(crate) const PROMETHEUS_UNREACHABLE: &str = "PrometheusUnreachable";
pub(crate) const SAMPLES_MISSING: &str = "SamplesMissing";

// Of a placement's `Ready`.
pub(crate) const IMAGE_VOLUMES_UNSUPPORTED: &str = "ImageVolumesUnsupported";
/// It is the node that is not heard of, not the pod that fails.
pub(crate) const NODE_UNREACHABLE: &str = "NodeUnreachable";
pub(crate) const POD_FAILING: &str = "PodFailing";
pub(crate) const ROLLOUT_PENDING: &str = "RolloutPending";
pub(crate) const STARTING: &str = "Starting";

// Of a device class's `Ready`.
pub(crate) const NODES_MATCH: &str = "NodesMatch";
pub(crate) const NO_NODE_MATCHES: &str = "NoNodeMatches";
