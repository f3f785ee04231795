//! Asks Prometheus for the load. I/O; every call has a deadline. [`credentials`] says with what it is asked.

mod credentials;

use std::{collections::BTreeMap, time::Duration};

use credentials::CredentialsError;
use dnnshifter_crds::model_portfolio::Prometheus;
use kube::{Api, Client};
use reqwest::{Response, StatusCode, Url};
use tokio::time::{Instant, timeout};

use super::{
    samples::{self, Answer, AnswerError},
    step_deadline,
};

/// Changed Secrets are noticed within so long.
const CREDENTIALS_PERIOD: Duration = Duration::from_mins(1);
/// The longest answer that is read: some ten thousand nodes.
const LONGEST_ANSWER: usize = 4 << 20;

/// Why the load is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(
        "no Prometheus is known: set spec.switching.prometheus.url, or install the operator with prometheus.url"
    )]
    NoUrl,
    #[error("\"{url}\" is not a URL: {reason}")]
    Url { url: String, reason: String },
    #[error("failed to read the secrets for Prometheus within {} seconds", deadline.as_secs())]
    SecretDeadline { deadline: Duration },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("failed to ask Prometheus")]
    Request(#[source] reqwest::Error),
    #[error(
        "Prometheus refuses us ({status}): name a Secret with a token that it takes in spec.switching.prometheus.authorizationSecretName"
    )]
    Unauthorized { status: StatusCode },
    #[error(
        "Prometheus answers with a redirection ({status}), which is not followed: name the address that it leads to"
    )]
    Redirected { status: StatusCode },
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
        let base = prometheus.url.as_deref().or(question.default_url).ok_or(LoadError::NoUrl)?;
        let url = query_url(base, &samples::query(question.namespace, question.portfolio))?;
        let http = self.connection(client, question, base).await?;
        // From connecting to the last byte.
        let request = http.get(url).timeout(step_deadline(prometheus)).send();
        let response = answered(request.await.map_err(request_error)?)?;
        let answer: Answer = serde_json::from_slice(&body(response).await?)?;
        let maximum_age = f64::from(prometheus.maximum_sample_age_seconds);
        Ok(samples::loads(answer, &prometheus.node_label, maximum_age)?)
    }

    async fn connection(
        &mut self,
        client: &Client,
        question: Question<'_>,
        url: &str,
    ) -> Result<reqwest::Client, LoadError> {
        let prometheus = question.prometheus;
        if let Some((of, since, http)) = &self.connection
            && of == prometheus
            && since.elapsed() < CREDENTIALS_PERIOD
        {
            return Ok(http.clone());
        }
        let deadline = step_deadline(prometheus);
        let secrets = Api::namespaced(client.clone(), question.namespace);
        let http = timeout(deadline, credentials::client(&secrets, prometheus, url))
            .await
            .map_err(|_| LoadError::SecretDeadline { deadline })??;
        self.connection = Some((prometheus.clone(), Instant::now(), http.clone()));
        Ok(http)
    }
}

/// The answer, if it is one of Prometheus: it refuses a query with 400 or 422 and a JSON body that says why; all else may be
/// anybody's (prometheus.io/docs/prometheus/latest/querying/api, "Format overview").
fn answered(response: Response) -> Result<Response, LoadError> {
    match response.status() {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Ok(response),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(LoadError::Unauthorized { status })
        }
        status if status.is_redirection() => Err(LoadError::Redirected { status }),
        _ => response.error_for_status().map_err(request_error),
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

#[cfg(test)]
mod tests;
