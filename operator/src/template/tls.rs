//! The certificates of a portfolio that is served by TLS: from its Secrets to the paths that the runtime is told. Pure.
//!
//! Whole folders are mounted, never single files (`subPath`): those would not follow a Secret that changes.

use dnnshifter_crds::model_portfolio::ServingTls;
use k8s_openapi::api::core::v1::{KeyToPath, PodSpec, Secret, SecretVolumeSource, Volume, VolumeMount};

/// The volume of the server's certificate.
const SERVER_VOLUME: &str = "tls-server";
/// The volume of the clients' authority.
const CLIENTS_VOLUME: &str = "tls-clients";
/// Each volume, and the portfolio's field that names its Secret.
const FIELDS: [(&str, &str); 2] =
    [(SERVER_VOLUME, "spec.serving.tls.secretName"), (CLIENTS_VOLUME, "spec.serving.tls.clientCaSecretName")];

/// A PEM file of the runtime.
pub(super) struct TlsFile {
    /// The environment variable that names it.
    pub(super) variable: &'static str,
    /// Where it is.
    pub(super) path: String,
}

/// A Secret's keys as a folder.
struct Folder<'a> {
    volume: &'static str,
    path: &'static str,
    secret: &'a str,
    /// Key and variable.
    keys: &'static [(&'static str, &'static str)],
}

fn folders(tls: &ServingTls) -> impl Iterator<Item = Folder<'_>> {
    let server = Folder {
        volume: SERVER_VOLUME,
        path: "/tls/server",
        secret: &tls.secret_name,
        keys: &[("tls.crt", "DNNSHIFTER_TLS_CERTIFICATE"), ("tls.key", "DNNSHIFTER_TLS_KEY")],
    };
    let clients = tls.client_ca_secret_name.as_deref().map(|secret| Folder {
        volume: CLIENTS_VOLUME,
        path: "/tls/clients",
        secret,
        keys: &[("ca.crt", "DNNSHIFTER_TLS_CLIENT_CA")],
    });
    std::iter::once(server).chain(clients)
}

/// A Secret that a pod's template mounts.
struct Mounted<'a> {
    secret: &'a str,
    /// The portfolio's field that named it.
    field: &'static str,
    keys: &'a [KeyToPath],
}

/// Those of the template that was applied: what the portfolio names now may only reach this node later.
fn mounted(pod: &PodSpec) -> impl Iterator<Item = Mounted<'_>> {
    pod.volumes.iter().flatten().filter_map(|volume| {
        let (_, field) = FIELDS.iter().find(|(name, _)| *name == volume.name)?;
        let source = volume.secret.as_ref()?;
        Some(Mounted {
            secret: source.secret_name.as_deref()?,
            field,
            keys: source.items.as_deref().unwrap_or_default(),
        })
    })
}

/// The Secrets with certificates that the pod mounts.
pub(crate) fn secret_names(pod: &PodSpec) -> impl Iterator<Item = &str> {
    mounted(pod).map(|mounted| mounted.secret)
}

/// Why no such pod can start with these Secrets, those of the names above that exist.
pub(crate) fn unusable_secret(pod: &PodSpec, secrets: &[Secret]) -> Option<String> {
    mounted(pod).find_map(|Mounted { secret: name, field, keys }| {
        let found = secrets.iter().find(|secret| secret.metadata.name.as_deref() == Some(name));
        let Some(secret) = found else {
            return Some(format!("{field} names secret {name}, which does not exist"));
        };
        let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
        let missing = keys.iter().find(|item| !has(&item.key))?;
        Some(format!("{field} names secret {name}, which has no key {}", missing.key))
    })
}

/// What the runtime is told.
pub(super) fn files(tls: &ServingTls) -> Vec<TlsFile> {
    let files = |folder: Folder<'_>| {
        folder
            .keys
            .iter()
            .map(move |(key, variable)| TlsFile { variable, path: format!("{}/{key}", folder.path) })
    };
    folders(tls).flat_map(files).collect()
}

pub(super) fn mounts(tls: &ServingTls) -> Vec<VolumeMount> {
    let mount = |folder: Folder<'_>| VolumeMount {
        name: folder.volume.to_owned(),
        mount_path: folder.path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    folders(tls).map(mount).collect()
}

/// Only the keys that are used: the certificate's Secret may hold more.
pub(super) fn volumes(tls: &ServingTls) -> Vec<Volume> {
    let volume = |folder: Folder<'_>| {
        let item = |(key, _): &(&str, &str)| KeyToPath {
            key: (*key).to_owned(),
            path: (*key).to_owned(),
            ..KeyToPath::default()
        };
        Volume {
            name: folder.volume.to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(folder.secret.to_owned()),
                items: Some(folder.keys.iter().map(item).collect()),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        }
    };
    folders(tls).map(volume).collect()
}
