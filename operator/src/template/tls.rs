//! The certificates of a portfolio that is served by TLS: from its Secrets to the paths that the runtime is told. Pure.
//!
//! Whole folders are mounted, never single files (`subPath`): those would not follow a Secret that changes.

use dnnshifter_crds::model_portfolio::ServingTls;
use k8s_openapi::api::core::v1::{KeyToPath, Secret, SecretVolumeSource, Volume, VolumeMount};

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
    /// The portfolio's field that names the Secret.
    field: &'static str,
    secret: &'a str,
    /// Key and variable.
    keys: &'static [(&'static str, &'static str)],
}

fn folders(tls: &ServingTls) -> impl Iterator<Item = Folder<'_>> {
    let server = Folder {
        volume: "tls-server",
        path: "/tls/server",
        field: "spec.serving.tls.secretName",
        secret: &tls.secret_name,
        keys: &[("tls.crt", "DNNSHIFTER_TLS_CERTIFICATE"), ("tls.key", "DNNSHIFTER_TLS_KEY")],
    };
    let clients = tls.client_ca_secret_name.as_deref().map(|secret| Folder {
        volume: "tls-clients",
        path: "/tls/clients",
        field: "spec.serving.tls.clientCaSecretName",
        secret,
        keys: &[("ca.crt", "DNNSHIFTER_TLS_CLIENT_CA")],
    });
    std::iter::once(server).chain(clients)
}

/// The Secrets that are mounted.
pub(crate) fn secret_names(tls: &ServingTls) -> impl Iterator<Item = &str> {
    folders(tls).map(|folder| folder.secret)
}

/// Why no pod can start with these Secrets, those of the names above that exist.
pub(crate) fn unusable_secret(tls: &ServingTls, secrets: &[Secret]) -> Option<String> {
    folders(tls).find_map(|Folder { field, secret: name, keys, .. }| {
        let found = secrets.iter().find(|secret| secret.metadata.name.as_deref() == Some(name));
        let Some(secret) = found else {
            return Some(format!("{field} names secret {name}, which does not exist"));
        };
        let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
        let (missing, _) = keys.iter().find(|(key, _)| !has(key))?;
        Some(format!("{field} names secret {name}, which has no key {missing}"))
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
