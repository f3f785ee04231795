//! The runtime's containers: their environment, mounts and probes are the contract between operator and runtime.

use dnnshifter_portfolio::description::MODEL_FOLDER;
use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector,
        Probe, ResourceRequirements, SecurityContext, VolumeMount,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{RUNTIME_PORT, RUNTIME_PORT_NAME, Site, Template, tls};
use dnnshifter_crds::device_class::PodResources;

/// Where the runtime finds the variants, each in a folder of its name.
const VARIANTS_PATH: &str = "/variants";
/// Where the runtime keeps what must survive a restart of its container.
const STORE_PATH: &str = "/store";
pub(super) const STORE_VOLUME: &str = "store";

pub(super) fn variant_volume(index: usize) -> String {
    format!("variant-{index}")
}

pub(super) fn runtime(template: &Template<'_>, site: Site<'_>, hash: &str) -> Container {
    Container {
        name: "runtime".to_owned(),
        image: Some(template.runtime_image.to_owned()),
        args: Some(vec!["node".to_owned()]),
        env: Some(environment(template, site, hash)),
        ports: Some(vec![ContainerPort {
            name: Some(RUNTIME_PORT_NAME.to_owned()),
            container_port: RUNTIME_PORT,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: template.class.resources.as_ref().map(resources),
        security_context: Some(container_security()),
        volume_mounts: Some(mounts(template)),
        // The first start profiles every variant: slow nodes get five minutes. Then two missed answers take it out of service.
        startup_probe: Some(probe(template, "/readyz", 1, 300)),
        readiness_probe: Some(probe(template, "/readyz", 5, 2)),
        liveness_probe: Some(probe(template, "/livez", 10, 3)),
        ..Container::default()
    }
}

/// Optimises the variants for the node's processor before anything serves, with the same limits: beside requests it would take the
/// CPU time and the memory that they need. Where it has done so before, it ends at once. What fails there fails nothing here: the
/// runtime does it then.
pub(super) fn preparation(template: &Template<'_>) -> Container {
    Container {
        name: "prepare".to_owned(),
        image: Some(template.runtime_image.to_owned()),
        args: Some(vec!["prepare".to_owned()]),
        env: Some(folders()),
        resources: template.class.resources.as_ref().map(resources),
        security_context: Some(container_security()),
        // No certificates: it speaks with nobody.
        volume_mounts: Some(folder_mounts(template)),
        ..Container::default()
    }
}

fn environment(template: &Template<'_>, site: Site<'_>, hash: &str) -> Vec<EnvVar> {
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    };
    let mut environment = vec![
        value("DNNSHIFTER_PORTFOLIO", template.portfolio),
        value("DNNSHIFTER_NAMESPACE", template.namespace),
        value("DNNSHIFTER_PLACEMENT", site.placement),
        field("DNNSHIFTER_NODE_NAME", "spec.nodeName"),
        field("DNNSHIFTER_POD_UID", "metadata.uid"),
    ];
    environment.extend(folders());
    environment.extend([
        value("DNNSHIFTER_LISTEN", &format!("0.0.0.0:{RUNTIME_PORT}")),
        value("DNNSHIFTER_TEMPLATE_HASH", hash),
    ]);
    environment.extend(
        template.serving.tls.iter().flat_map(tls::files).map(|file| value(file.variable, &file.path)),
    );
    environment
}

fn folders() -> Vec<EnvVar> {
    vec![value("DNNSHIFTER_MODELS", VARIANTS_PATH), value("DNNSHIFTER_STORE", STORE_PATH)]
}

fn value(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn mounts(template: &Template<'_>) -> Vec<VolumeMount> {
    folder_mounts(template).into_iter().chain(template.serving.tls.iter().flat_map(tls::mounts)).collect()
}

fn folder_mounts(template: &Template<'_>) -> Vec<VolumeMount> {
    let store = VolumeMount {
        name: STORE_VOLUME.to_owned(),
        mount_path: STORE_PATH.to_owned(),
        ..VolumeMount::default()
    };
    let variants = template.variants.iter().enumerate().map(|(index, variant)| VolumeMount {
        name: variant_volume(index),
        mount_path: format!("{VARIANTS_PATH}/{}", variant.name),
        sub_path: Some(MODEL_FOLDER.to_owned()),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    std::iter::once(store).chain(variants).collect()
}

pub(crate) fn resources(resources: &PodResources) -> ResourceRequirements {
    ResourceRequirements {
        requests: Some(resources.requests.clone()).filter(|requests| !requests.is_empty()),
        limits: Some(resources.limits.clone()).filter(|limits| !limits.is_empty()),
        claims: None,
    }
}

/// Pod Security `restricted`, container's part, and a root file system that nobody writes.
pub(crate) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

fn probe(template: &Template<'_>, path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            scheme: template.serving.tls.as_ref().map(|_| "HTTPS".to_owned()),
            port: IntOrString::String(RUNTIME_PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}
