//! Sending: one task a request, at its intended time, over kept-alive connections.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::{sync::mpsc, task::JoinSet, time::sleep_until};

use super::record::{Outcome, Record, unix_us};
use crate::images::LabelledImages;

/// A request without an answer for so long has failed.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What is asked, and where.
pub struct Target {
    /// `http://host:port` of an Open Inference Protocol server.
    pub url: String,
    /// The model's name.
    pub model: String,
    /// Name and shape of its input, the batch dimension excluded.
    pub input: (String, Vec<u64>),
    /// What is sent.
    pub images: LabelledImages,
}

impl Target {
    fn header(&self) -> String {
        let shape: Vec<_> = std::iter::once(1).chain(self.input.1.iter().copied()).collect();
        let size = self.images.image_len * 4;
        serde_json::json!({"inputs": [{"name": self.input.0, "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": size}}]})
            .to_string()
    }
}

/// Sends a request at each of `arrivals` (since now) and gives each one's record to `records` as it ends. Returns when all have ended.
pub async fn run(
    target: Target,
    arrivals: &[Duration],
    records: mpsc::UnboundedSender<Record>,
) -> Result<()> {
    let client = reqwest::Client::builder()
        .timeout(LONGEST_WAIT)
        .tcp_nodelay(true)
        .build()
        .context("failed to build the client")?;
    let header: Arc<str> = target.header().into();
    let url: Arc<str> = format!("{}/v2/models/{}/infer", target.url, target.model).into();
    let start = tokio::time::Instant::now();
    let mut tasks = JoinSet::new();
    for (index, intended) in arrivals.iter().copied().enumerate() {
        let (image, label) = target.images.get(index);
        sleep_until(start + intended).await;
        while tasks.try_join_next().is_some() {}
        let (client, url, header, records) = (client.clone(), url.clone(), header.clone(), records.clone());
        let meant = (start + intended).into_std();
        tasks.spawn(async move {
            let answer = ask(&client, &url, &header, image).await;
            // The receiver is gone only when the whole run is.
            let _ = records.send(record(intended, meant.elapsed(), answer, label));
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

enum Answer {
    Class { class: usize, variant: String },
    Shed,
}

#[derive(Deserialize)]
struct Response {
    model_version: Option<String>,
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    data: Vec<f32>,
}

async fn ask(client: &reqwest::Client, url: &str, header: &str, image: Vec<u8>) -> Result<Answer> {
    let mut body = Vec::with_capacity(header.len() + image.len());
    body.extend_from_slice(header.as_bytes());
    body.extend_from_slice(&image);
    let request = client.post(url).header("inference-header-content-length", header.len()).body(body);
    let response =
        request.send().await.map_err(|error| anyhow::anyhow!(error.without_url()).context("no answer"))?;
    if response.status() == reqwest::StatusCode::TOO_MANY_REQUESTS {
        return Ok(Answer::Shed);
    }
    let status = response.status();
    let text = response.text().await.context("the answer broke off")?;
    anyhow::ensure!(status.is_success(), "{status}: {text}");
    let answer: Response = serde_json::from_str(&text).context("the answer is not of the protocol")?;
    let scores = answer.outputs.first().map(|output| output.data.as_slice()).unwrap_or_default();
    let best = scores.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    let (class, _) = best.context("the answer has no output")?;
    Ok(Answer::Class { class, variant: answer.model_version.unwrap_or_default() })
}

fn record(intended: Duration, latency: Duration, answer: Result<Answer>, label: u8) -> Record {
    let (outcome, variant, correct, error) = match answer {
        Ok(Answer::Class { class, variant }) => {
            (Outcome::Answered, Some(variant), class == usize::from(label), None)
        }
        Ok(Answer::Shed) => (Outcome::Shed, None, false, None),
        Err(error) => (Outcome::Failed, None, false, Some(format!("{error:#}"))),
    };
    Record { intended, latency, ended_unix_us: unix_us(), outcome, variant, correct, error }
}

/// Waits until the server says that it is ready, for at most `patience`.
pub async fn wait_ready(url: &str, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    let client = reqwest::Client::new();
    loop {
        let answer = client.get(format!("{url}/v2/health/ready")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{url} was not ready within {} s", patience.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
