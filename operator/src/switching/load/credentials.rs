//! With what Prometheus is asked: a bearer token, and the certificates to trust, both from Secrets of the portfolio's namespace.
//!
//! Who writes a portfolio chooses where a token goes, and which; that must not amount to a right to read Secrets. So a token goes
//! only to the address that its Secret itself allows by an annotation, and the token of a `ServiceAccount` goes nowhere.

use dnnshifter_crds::{model_portfolio::Prometheus, names::PROMETHEUS_URL_ANNOTATION};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use reqwest::{
    Certificate, Url,
    header::{AUTHORIZATION, HeaderValue, InvalidHeaderValue},
    redirect::Policy,
};

const TOKEN_KEY: &str = "token";
const CA_KEY: &str = "ca.crt";
const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";

/// Why Prometheus cannot be asked with what the Secrets hold.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("failed to read secret {name}")]
    Secret {
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error("secret {name} has no key {key}")]
    Key { name: String, key: &'static str },
    #[error(
        "secret {name} holds the token of a ServiceAccount (its type is {SERVICE_ACCOUNT_TOKEN}), which is sent to nobody: put a token that only Prometheus takes into a Secret of type Opaque"
    )]
    ServiceAccountToken { name: String },
    #[error(
        "secret {name} does not allow that its token is sent to {url}: who may write the secret allows it with `kubectl annotate --overwrite secret {name} {PROMETHEUS_URL_ANNOTATION}={url}`"
    )]
    NotAllowed { name: String, url: String },
    #[error("key {TOKEN_KEY} of secret {name} is not a bearer token")]
    Token {
        name: String,
        #[source]
        source: InvalidHeaderValue,
    },
    #[error("key {CA_KEY} of secret {name} holds no certificates in PEM")]
    Certificates {
        name: String,
        #[source]
        source: Option<reqwest::Error>,
    },
    #[error("failed to set up TLS for Prometheus")]
    Tls(#[source] reqwest::Error),
}

/// A client that asks the Prometheus at `url` as the portfolio says. It follows no redirection: the token is for that address.
pub(super) async fn client(
    secrets: &Api<Secret>,
    prometheus: &Prometheus,
    url: &str,
) -> Result<reqwest::Client, CredentialsError> {
    let mut builder = reqwest::Client::builder().user_agent("dnnshifter-operator").redirect(Policy::none());
    if let Some(name) = &prometheus.ca_secret_name {
        let certificates = certificates(name, &read(secrets, name).await?)?;
        builder = builder.tls_certs_only(certificates);
    }
    if let Some(name) = &prometheus.authorization_secret_name {
        let value = authorization(name, &read(secrets, name).await?, url)?;
        builder = builder.default_headers([(AUTHORIZATION, value)].into_iter().collect());
    }
    builder.build().map_err(CredentialsError::Tls)
}

async fn read(secrets: &Api<Secret>, name: &str) -> Result<Secret, CredentialsError> {
    secrets.get(name).await.map_err(|source| CredentialsError::Secret { name: name.to_owned(), source })
}

fn certificates(name: &str, secret: &Secret) -> Result<Vec<Certificate>, CredentialsError> {
    let unusable = |source| CredentialsError::Certificates { name: name.to_owned(), source };
    let certificates = Certificate::from_pem_bundle(value(name, secret, CA_KEY)?)
        .map_err(|source| unusable(Some(source)))?;
    // A text without any is no error to the parser, but would trust nobody.
    if certificates.is_empty() { Err(unusable(None)) } else { Ok(certificates) }
}

fn authorization(name: &str, secret: &Secret, url: &str) -> Result<HeaderValue, CredentialsError> {
    if secret.type_.as_deref() == Some(SERVICE_ACCOUNT_TOKEN) {
        return Err(CredentialsError::ServiceAccountToken { name: name.to_owned() });
    }
    let allowed = secret.annotations().get(PROMETHEUS_URL_ANNOTATION);
    if !allowed.is_some_and(|allowed| is_same_address(allowed, url)) {
        return Err(CredentialsError::NotAllowed { name: name.to_owned(), url: url.to_owned() });
    }
    let token = String::from_utf8_lossy(value(name, secret, TOKEN_KEY)?);
    let mut value: HeaderValue = format!("Bearer {}", token.trim())
        .parse()
        .map_err(|source| CredentialsError::Token { name: name.to_owned(), source })?;
    value.set_sensitive(true);
    Ok(value)
}

fn value<'a>(name: &str, secret: &'a Secret, key: &'static str) -> Result<&'a [u8], CredentialsError> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value.map(|value| value.0.as_slice()).ok_or_else(|| CredentialsError::Key { name: name.to_owned(), key })
}

/// However they are written: with the scheme's own port or without, with a last slash or without.
fn is_same_address(one: &str, other: &str) -> bool {
    let parsed = |text: &str| Url::parse(text.trim_end_matches('/')).ok();
    parsed(one).is_some_and(|one| Some(one) == parsed(other))
}

#[cfg(test)]
mod tests {
    use dnnshifter_crds::yaml::from_yaml_documents;

    use super::*;

    const URL: &str = "https://prometheus.test";

    /// A Secret with the key `token`.
    fn secret(type_: &str, allowed: Option<&str>) -> Secret {
        let annotations =
            allowed.map_or_else(String::new, |url| format!("{PROMETHEUS_URL_ANNOTATION}: '{url}'"));
        let yaml = format!(
            "{{metadata: {{name: s, annotations: {{{annotations}}}}}, type: {type_}, data: {{token: dDBrZW4K}}}}"
        );
        from_yaml_documents(&yaml).unwrap().remove(0)
    }

    #[test]
    fn a_token_goes_only_where_its_secret_allows() {
        for allowed in [URL, "https://prometheus.test/", "https://prometheus.test:443"] {
            let value = authorization("s", &secret("Opaque", Some(allowed)), URL).unwrap();
            assert_eq!(value, "Bearer t0ken", "{allowed}");
        }
        for allowed in [
            None,
            Some(""),
            Some("true"),
            Some("http://prometheus.test"),
            Some("https://prometheus.test.evil"),
        ] {
            let error = authorization("s", &secret("Opaque", allowed), URL).unwrap_err();
            assert!(matches!(error, CredentialsError::NotAllowed { .. }), "{allowed:?}: {error}");
        }
    }

    #[test]
    fn a_refusal_says_who_can_mend_it_and_how() {
        let error = authorization("s", &secret("Opaque", None), URL).unwrap_err().to_string();
        assert!(
            error.contains(
                "`kubectl annotate --overwrite secret s dnnshifter.io/prometheus-url=https://prometheus.test`"
            ),
            "{error}"
        );
    }

    #[test]
    fn the_token_of_a_service_account_goes_nowhere() {
        let error = authorization("s", &secret(SERVICE_ACCOUNT_TOKEN, Some(URL)), URL).unwrap_err();
        assert!(matches!(error, CredentialsError::ServiceAccountToken { .. }), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = certificates("s", &secret("Opaque", None)).unwrap_err();
        assert_eq!(error.to_string(), "secret s has no key ca.crt");
        let garbage: Secret =
            from_yaml_documents("{metadata: {name: s}, data: {ca.crt: bm8gUEVN}}").unwrap().remove(0);
        let error = certificates("s", &garbage).unwrap_err();
        assert_eq!(error.to_string(), "key ca.crt of secret s holds no certificates in PEM");
    }
}
