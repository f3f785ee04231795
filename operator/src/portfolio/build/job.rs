//! The pruning Job and its plan. Pure. An argument vector and a mounted file, never shell text made of the user's fields; no
//! token of the API; Pod Security `restricted`.

use std::collections::BTreeMap;

use dnnshifter_crds::{
    model_portfolio::Source as FileSource,
    names::{PRUNER_COMPONENT, REVISION_LABEL},
};
use k8s_openapi::api::{
    batch::v1::{
        Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
        PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
    },
    core::v1::{
        ConfigMap, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, ImageVolumeSource,
        KeyToPath, LocalObjectReference, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec,
        SecretVolumeSource, Volume, VolumeMount,
    },
};
use kube::core::ObjectMeta;

use super::{
    super::source::{DATASET_MOUNT, MODEL_MOUNT, PruneSource},
    BuildError, Valid,
};
use crate::{
    metadata::{controller_reference, labels, owned, portfolio_labels},
    settings::Settings,
    template::{ARCHITECTURE, ARCHITECTURE_LABEL, container_security, pod_security, resources},
};

/// The container whose termination message is the answer.
pub(crate) const PRUNER_CONTAINER: &str = "pruner";
/// The portfolio's generation for which a Job was started: a Job that failed for an older one is tried again.
pub(crate) const GENERATION_ANNOTATION: &str = "dnnshifter.io/generation";
/// Each pod goes on from the last finished step, so a killed one costs little.
const DEFAULT_BACKOFF_LIMIT: i32 = 6;

/// Exit codes of the pruning Job that say that trying again is in vain (docs/exit-codes.md): wrong arguments, a broken file, a
/// missing input, a wrong plan, and from 80 on models, data and aims that cannot be worked on.
const HOPELESS_EXIT_CODES: [i32; 11] = [2, 65, 66, 78, 80, 81, 82, 83, 84, 85, 86];
/// Ended by SIGTERM: somebody else's doing.
const TERMINATED_EXIT_CODE: i32 = 143;

/// The name of the Job, and of the plan, of a revision.
pub(crate) fn job_name(portfolio: &str, revision: &str) -> String {
    format!("{portfolio}-{revision}")
}

pub(super) fn pruning(
    valid: &Valid,
    prune: &PruneSource,
    settings: &Settings,
) -> Result<(ConfigMap, Job), BuildError> {
    let plan = ConfigMap {
        metadata: metadata(valid, prune),
        data: Some([("plan.json".to_owned(), serde_json::to_string_pretty(&prune.plan)?)].into()),
        ..ConfigMap::default()
    };
    Ok((plan, job(valid, prune, settings)))
}

fn metadata(valid: &Valid, prune: &PruneSource) -> ObjectMeta {
    let mut labels = portfolio_labels(&valid.name, PRUNER_COMPONENT);
    labels.insert(REVISION_LABEL.to_owned(), prune.plan.revision.clone());
    let name = job_name(&valid.name, &prune.plan.revision);
    owned(&valid.namespace, &name, labels, controller_reference(valid.object.as_ref()))
}

fn job(valid: &Valid, prune: &PruneSource, settings: &Settings) -> Job {
    let options = &prune.spec.job;
    let mut metadata = metadata(valid, prune);
    let generation = valid.generation.unwrap_or_default().to_string();
    metadata.annotations = Some(labels([(GENERATION_ANNOTATION, generation.as_str())]));
    Job {
        spec: Some(JobSpec {
            backoff_limit: Some(options.backoff_limit.unwrap_or(DEFAULT_BACKOFF_LIMIT)),
            active_deadline_seconds: options.active_deadline_seconds,
            pod_failure_policy: Some(failure_policy()),
            // Two pods of one plan would write the same steps.
            pod_replacement_policy: Some("Failed".to_owned()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: metadata.labels.clone(), ..ObjectMeta::default() }),
                spec: Some(PodSpec {
                    restart_policy: Some("Never".to_owned()),
                    automount_service_account_token: Some(false),
                    enable_service_links: Some(false),
                    security_context: Some(pod_security()),
                    node_selector: Some(node_selector(&options.node_selector)),
                    tolerations: Some(options.tolerations.clone())
                        .filter(|tolerations| !tolerations.is_empty()),
                    image_pull_secrets: pull_secrets(valid),
                    containers: vec![container(prune, settings)],
                    volumes: Some(volumes(&metadata, prune)),
                    ..PodSpec::default()
                }),
            },
            ..JobSpec::default()
        }),
        metadata,
        status: None,
    }
}

/// The nodes that the user wants, as far as the image runs there.
fn node_selector(wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut selector = wanted.clone();
    selector.insert(ARCHITECTURE_LABEL.to_owned(), ARCHITECTURE.to_owned());
    selector
}

/// What cannot get better fails at once; a pod that was taken away is no failure; all else counts against the limit.
fn failure_policy() -> PodFailurePolicy {
    let exit_codes = |values: &[i32]| PodFailurePolicyOnExitCodesRequirement {
        container_name: Some(PRUNER_CONTAINER.to_owned()),
        operator: "In".to_owned(),
        values: values.to_vec(),
    };
    let rule = |action: &str, codes: &[i32]| PodFailurePolicyRule {
        action: action.to_owned(),
        on_exit_codes: Some(exit_codes(codes)),
        on_pod_conditions: None,
    };
    let disrupted = PodFailurePolicyOnPodConditionsPattern {
        type_: "DisruptionTarget".to_owned(),
        status: Some("True".to_owned()),
    };
    PodFailurePolicy {
        rules: vec![
            rule("FailJob", &HOPELESS_EXIT_CODES),
            rule("Ignore", &[TERMINATED_EXIT_CODE]),
            PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_exit_codes: None,
                on_pod_conditions: Some(vec![disrupted]),
            },
        ],
    }
}

fn pull_secrets(valid: &Valid) -> Option<Vec<LocalObjectReference>> {
    let secrets = &valid.serving.image_pull_secrets;
    let references = secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    (!secrets.is_empty()).then(|| references.collect())
}

fn container(prune: &PruneSource, settings: &Settings) -> Container {
    let mut arguments = vec![
        "run",
        "/plan/plan.json",
        "--termination-message",
        "/dev/termination-log",
        "--log-format",
        "json",
    ];
    let mut mounts = vec![
        mount("plan", "/plan", true),
        mount("model", MODEL_MOUNT, true),
        mount("dataset", DATASET_MOUNT, true),
        mount("tmp", "/tmp", false),
    ];
    if prune.spec.publish.push_secret_name.is_some() {
        arguments.extend(["--registry-config", "/registry/.dockerconfigjson"]);
        mounts.push(mount("registry", "/registry", true));
    }
    let plain_http = settings.plain_http_registries.iter();
    arguments.extend(plain_http.flat_map(|registry| ["--plain-http-registry", registry]));
    let variable = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    };
    Container {
        name: PRUNER_CONTAINER.to_owned(),
        image: Some(settings.pruner_image.clone()),
        args: Some(arguments.into_iter().map(str::to_owned).collect()),
        // Threads that wait for each other must sleep: spinning burns a CPU limit away, and the other threads' time.
        env: Some(vec![variable("HOME", "/tmp"), variable("OMP_WAIT_POLICY", "passive")]),
        resources: prune.spec.job.resources.as_ref().map(resources),
        security_context: Some(container_security()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn volumes(metadata: &ObjectMeta, prune: &PruneSource) -> Vec<Volume> {
    let named = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
    let plan = ConfigMapVolumeSource {
        name: metadata.name.clone().unwrap_or_default(),
        ..ConfigMapVolumeSource::default()
    };
    let mut volumes = vec![
        Volume { config_map: Some(plan), ..named("plan") },
        files(&prune.spec.model.source, named("model")),
        files(&prune.spec.dataset.source, named("dataset")),
        Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..named("tmp") },
    ];
    if let Some(secret) = &prune.spec.publish.push_secret_name {
        let key = ".dockerconfigjson".to_owned();
        let source = SecretVolumeSource {
            secret_name: Some(secret.clone()),
            items: Some(vec![KeyToPath { key: key.clone(), path: key, ..KeyToPath::default() }]),
            ..SecretVolumeSource::default()
        };
        volumes.push(Volume { secret: Some(source), ..named("registry") });
    }
    volumes
}

fn files(source: &FileSource, volume: Volume) -> Volume {
    let image = source.image.as_ref().map(|image| ImageVolumeSource {
        reference: Some(image.reference.clone()),
        pull_policy: Some("IfNotPresent".to_owned()),
    });
    let claim = source.persistent_volume_claim.as_ref().map(|claim| PersistentVolumeClaimVolumeSource {
        claim_name: claim.claim_name.clone(),
        read_only: Some(true),
    });
    Volume { image, persistent_volume_claim: claim, ..volume }
}
