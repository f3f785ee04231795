//! Finds a registry's user and password in a Secret of type `kubernetes.io/dockerconfigjson`. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde::Deserialize;

const KEY: &str = ".dockerconfigjson";

/// Why a Secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("it has no key {KEY}")]
    NoKey,
    #[error("its {KEY} is not the JSON that docker login writes")]
    Json(#[from] serde_json::Error),
    #[error("the entry of {registry} has neither user and password, nor an auth of both")]
    Auth { registry: String },
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    /// `user:password` in base64, which is how Kubernetes' `ByteString` is written as well.
    auth: Option<ByteString>,
    username: Option<String>,
    password: Option<String>,
}

/// User and password for the registry (`HOST` or `HOST:PORT`), if the Secret knows it.
pub(crate) fn find(secret: &Secret, registry: &str) -> Result<Option<(String, String)>, CredentialsError> {
    let data = secret.data.as_ref().and_then(|data| data.get(KEY)).ok_or(CredentialsError::NoKey)?;
    let config: DockerConfig = serde_json::from_slice(&data.0)?;
    let entry = config.auths.into_iter().find(|(name, _)| host(name) == registry);
    let Some((_, entry)) = entry else { return Ok(None) };
    if let (Some(username), Some(password)) = (entry.username, entry.password) {
        return Ok(Some((username, password)));
    }
    let refused = || CredentialsError::Auth { registry: registry.to_owned() };
    let auth = String::from_utf8(entry.auth.ok_or_else(refused)?.0).map_err(|_| refused())?;
    let (username, password) = auth.split_once(':').ok_or_else(refused)?;
    Ok(Some((username.to_owned(), password.to_owned())))
}

/// `docker login` writes `https://index.docker.io/v1/` as well as plain hosts.
fn host(name: &str) -> &str {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    name.split('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(json: &str) -> Secret {
        Secret {
            data: Some([(KEY.to_owned(), ByteString(json.as_bytes().to_vec()))].into()),
            ..Secret::default()
        }
    }

    #[test]
    fn both_forms_of_credentials_are_found_by_host() {
        let both = secret(
            r#"{"auths": {"https://a.test:5000/v1/": {"auth": "dXNlcjpwYXNzOndvcmQ="}, "b.test": {"username": "u", "password": "p"}}}"#,
        );
        assert_eq!(find(&both, "a.test:5000").unwrap(), Some(("user".to_owned(), "pass:word".to_owned())));
        assert_eq!(find(&both, "b.test").unwrap(), Some(("u".to_owned(), "p".to_owned())));
        assert_eq!(find(&both, "c.test").unwrap(), None);
    }

    #[test]
    fn a_secret_of_another_kind_is_refused() {
        assert!(matches!(find(&Secret::default(), "a"), Err(CredentialsError::NoKey)));
        assert!(matches!(find(&secret("{"), "a"), Err(CredentialsError::Json(_))));
    }
}
