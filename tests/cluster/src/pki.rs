//! Certificates of the cluster's members, and the client configurations that use them.
//!
//! They live as long as the cluster and are worth nothing elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{CommandError, run};
use crate::layout::{HUB_ADDRESS, Layout};

/// How long a certificate is valid: longer than any test cluster lives.
const DAYS: &str = "30";

/// Who a certificate is for.
pub(crate) struct Identity<'a> {
    /// Its file name, and that of its client configuration.
    pub(crate) file: &'a str,
    /// Who Kubernetes takes it for: common name and, optionally, group.
    pub(crate) subject: &'a str,
    /// Names and addresses at which it serves; empty for clients.
    pub(crate) serves: &'a str,
}

/// Why a certificate or client configuration is missing.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("failed to make the certificate of {name}")]
    Sign { name: String, source: CommandError },
    #[error("failed to write {path}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// Makes the cluster's certificate authority and the key that signs service account tokens.
pub(crate) fn create_authority(layout: &Layout) -> Result<(), PkiError> {
    let pki = layout.pki();
    let failed = |source| PkiError::Sign { name: "the authority".to_owned(), source };
    run(request(&pki, "ca").args(["-subj", "/CN=dnnshifter-cluster"])).map_err(failed)?;
    let key = pki.join("sa.key");
    let mut command = Command::new("openssl");
    // The old form of a key: the API server finds no public key in the new one.
    command.args(["ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out"]).arg(key);
    run(&mut command).map(|_| ()).map_err(failed)
}

/// Signs a certificate, and writes the client configuration that uses it.
pub(crate) fn issue(layout: &Layout, identity: &Identity<'_>) -> Result<(), PkiError> {
    let pki = layout.pki();
    let mut command = request(&pki, identity.file);
    command
        .args(["-subj", identity.subject, "-addext", "extendedKeyUsage=clientAuth,serverAuth"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-CA")
        .arg(pki.join("ca.crt"))
        .arg("-CAkey")
        .arg(pki.join("ca.key"));
    if !identity.serves.is_empty() {
        command.args(["-addext", &format!("subjectAltName={}", identity.serves)]);
    }
    run(&mut command).map_err(|source| PkiError::Sign { name: identity.file.to_owned(), source })?;
    let path = layout.kubeconfig(identity.file);
    std::fs::write(&path, kubeconfig(&pki, identity.file)).map_err(|source| PkiError::Write { path, source })
}

fn request(pki: &Path, name: &str) -> Command {
    let mut command = Command::new("openssl");
    command
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            DAYS,
        ])
        .arg("-keyout")
        .arg(pki.join(format!("{name}.key")))
        .arg("-out")
        .arg(pki.join(format!("{name}.crt")));
    command
}

fn kubeconfig(pki: &Path, name: &str) -> String {
    let pki = pki.display();
    format!(
        "apiVersion: v1
kind: Config
current-context: cluster
clusters:
- name: cluster
  cluster: {{server: 'https://{HUB_ADDRESS}:6443', certificate-authority: {pki}/ca.crt}}
users:
- name: {name}
  user: {{client-certificate: {pki}/{name}.crt, client-key: {pki}/{name}.key}}
contexts:
- name: cluster
  context: {{cluster: cluster, user: {name}}}
"
    )
}
