//! Asks Prometheus for the load. I/O; every call has a deadline.

use std::{collections::BTreeMap, time::Duration};

use dnnshifter_crds::model_portfolio::Prometheus;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use reqwest::{Certificate, Response, Url, header::InvalidHeaderValue};
use tokio::time::{Instant, timeout};

use super::{
    samples::{self, Answer, AnswerError},
    step_deadline,
};

/// Changed Secrets are noticed within so long.
const CREDENTIALS_PERIOD: Duration = Duration::from_mins(1);
/// The longest answer that is read: some ten thousand nodes.
const LONGEST_ANSWER: usize = 4 << 20;
const TOKEN_KEY: &str = "token";
const CA_KEY: &str = "ca.crt";

/// Why the load is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(
        "no Prometheus is known: set spec.switching.prometheus.url, or install the operator with prometheus.url"
    )]
    NoUrl,
    #[error("\"{url}\" is not a URL: {reason}")]
    Url { url: String, reason: String },
    #[error("failed to read secret {name}")]
    Secret {
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error("failed to read the secrets for Prometheus within {} seconds", deadline.as_secs())]
    SecretDeadline { deadline: Duration },
    #[error("secret {name} has no key {key}")]
    SecretKey { name: String, key: &'static str },
    #[error("key {TOKEN_KEY} of secret {name} is not a bearer token")]
    Token {
        name: String,
        #[source]
        source: InvalidHeaderValue,
    },
    #[error("failed to set up TLS for Prometheus")]
    Tls(#[source] reqwest::Error),
    #[error("failed to ask Prometheus")]
    Request(#[source] reqwest::Error),
    #[error("the answer of Prometheus is longer than {} MiB: is this URL a Prometheus?", LONGEST_ANSWER >> 20)]
    TooLong,
    #[error("failed to read the answer of Prometheus as JSON: is this URL a Prometheus?")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// A portfolio's Prometheus, with its credentials as they were last read.
#[derive(Default)]
pub(crate) struct LoadSource {
    connection: Option<(Prometheus, Instant, reqwest::Client)>,
}

/// Whose load, from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) portfolio: &'a str,
    pub(crate) prometheus: &'a Prometheus,
    pub(crate) default_url: Option<&'a str>,
}

impl LoadSource {
    /// Items per second by node, of the nodes whose load is known and fresh.
    pub(crate) async fn loads(
        &mut self,
        client: &Client,
        question: Question<'_>,
    ) -> Result<BTreeMap<String, f64>, LoadError> {
        let prometheus = question.prometheus;
        let url = prometheus.url.as_deref().or(question.default_url).ok_or(LoadError::NoUrl)?;
        let url = query_url(url, &samples::query(question.namespace, question.portfolio))?;
        let http = self.connection(client, question).await?;
        // From connecting to the last byte.
        let request = http.get(url).timeout(step_deadline(prometheus)).send();
        // Prometheus answers refused queries with 4xx and a JSON body that says why; 5xx may be anyone's.
        let response = request.await.map_err(request_error)?;
        let response = if response.status().is_server_error() || response.status().as_u16() == 401 {
            response.error_for_status().map_err(request_error)?
        } else {
            response
        };
        let answer: Answer = serde_json::from_slice(&body(response).await?)?;
        let maximum_age = f64::from(prometheus.maximum_sample_age_seconds);
        Ok(samples::loads(answer, &prometheus.node_label, maximum_age)?)
    }

    async fn connection(
        &mut self,
        client: &Client,
        question: Question<'_>,
    ) -> Result<reqwest::Client, LoadError> {
        let prometheus = question.prometheus;
        if let Some((of, since, http)) = &self.connection
            && of == prometheus
            && since.elapsed() < CREDENTIALS_PERIOD
        {
            return Ok(http.clone());
        }
        let deadline = step_deadline(prometheus);
        let http = timeout(deadline, connect(client, question))
            .await
            .map_err(|_| LoadError::SecretDeadline { deadline })??;
        self.connection = Some((prometheus.clone(), Instant::now(), http.clone()));
        Ok(http)
    }
}

/// The whole body, unless it is too long.
async fn body(mut response: Response) -> Result<Vec<u8>, LoadError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(request_error)? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(LoadError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn query_url(base: &str, query: &str) -> Result<Url, LoadError> {
    let text = format!("{}/api/v1/query", base.trim_end_matches('/'));
    let mut url = Url::parse(&text)
        .map_err(|error| LoadError::Url { url: base.to_owned(), reason: error.to_string() })?;
    url.query_pairs_mut().append_pair("query", query);
    Ok(url)
}

/// Without the URL: the query in it is long, and says nothing about the failure.
fn request_error(error: reqwest::Error) -> LoadError {
    LoadError::Request(error.without_url())
}

async fn connect(client: &Client, question: Question<'_>) -> Result<reqwest::Client, LoadError> {
    let secrets = Api::<Secret>::namespaced(client.clone(), question.namespace);
    let mut builder = reqwest::Client::builder().user_agent("dnnshifter-operator");
    if let Some(name) = &question.prometheus.ca_secret_name {
        let pem = read(&secrets, name, CA_KEY).await?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(LoadError::Tls)?;
        builder = builder.tls_certs_only(certificates);
    }
    if let Some(name) = &question.prometheus.authorization_secret_name {
        let token = read(&secrets, name, TOKEN_KEY).await?;
        let text = String::from_utf8_lossy(&token);
        let value = format!("Bearer {}", text.trim());
        let mut value: reqwest::header::HeaderValue =
            value.parse().map_err(|source| LoadError::Token { name: name.clone(), source })?;
        value.set_sensitive(true);
        builder = builder.default_headers([(reqwest::header::AUTHORIZATION, value)].into_iter().collect());
    }
    builder.build().map_err(LoadError::Tls)
}

async fn read(secrets: &Api<Secret>, name: &str, key: &'static str) -> Result<Vec<u8>, LoadError> {
    let secret =
        secrets.get(name).await.map_err(|source| LoadError::Secret { name: name.to_owned(), source })?;
    let value = secret.data.and_then(|mut data| data.remove(key));
    value.map(|value| value.0).ok_or_else(|| LoadError::SecretKey { name: name.to_owned(), key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_without_end_is_refused() {
        let answered = async |bytes: usize| body(http::Response::new(vec![b' '; bytes]).into()).await;
        assert_eq!(answered(LONGEST_ANSWER).await.unwrap().len(), LONGEST_ANSWER);
        let error = answered(LONGEST_ANSWER + 1).await.unwrap_err();
        assert!(error.to_string().contains("longer than 4 MiB"), "{error}");
    }
}
