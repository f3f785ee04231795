//! The programs that are measured, and a runtime that serves.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{
    Memory,
    sessions::Seen,
    variants::{INPUT_NAME, INPUT_SHAPE, VARIANTS},
};
use crate::{
    images::LabelledImages,
    load::{Target, wait_ready},
};

/// The model's name.
const MODEL: &str = "bench";
/// Six variants are optimised and measured within this time, even on a slow machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks at a state that is to come.
const LOOK: Duration = Duration::from_millis(20);

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// This program.
    pub bench: PathBuf,
    /// `dnnshifter-runtime`.
    pub runtime: PathBuf,
    /// `dnnshifter-pruner-job`.
    pub pruner_job: PathBuf,
    /// The library of ONNX Runtime.
    pub onnxruntime: PathBuf,
}

/// A runtime that serves; it is ended when this is dropped.
pub(super) struct Server {
    process: Child,
    url: String,
    client: reqwest::Client,
    /// From its start to the first answer of readiness.
    pub(super) ready_after: Duration,
}

/// What `/swaps` says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Swaps {
    pub(super) count: u64,
    pub(super) durations_microseconds: Vec<u64>,
}

/// A line of the repository's index.
#[derive(Debug, Deserialize)]
struct IndexEntry {
    state: String,
}

impl Programs {
    /// The programs beside this one, and the library of ONNX Runtime.
    pub fn beside(bench: &Path, onnxruntime: &Path) -> Result<Self> {
        let onnxruntime = onnxruntime
            .canonicalize()
            .with_context(|| format!("failed to find {}", onnxruntime.display()))?;
        let beside = |name: &str| {
            let path = bench.with_file_name(name);
            ensure!(path.exists(), "failed to find {}: build it first", path.display());
            Ok(path)
        };
        Ok(Self {
            runtime: beside("dnnshifter-runtime")?,
            pruner_job: beside("dnnshifter-pruner-job")?,
            bench: bench.to_owned(),
            onnxruntime,
        })
    }

    /// Opens all `networks` as plain sessions in a process of its own.
    pub(super) fn plain_sessions(&self, networks: &[PathBuf]) -> Result<Seen> {
        let mut command = Command::new(&self.bench);
        command.arg("sessions").args(networks).env("ORT_DYLIB_PATH", &self.onnxruntime);
        let ended = command.output().context("failed to start the plain sessions")?;
        ensure!(ended.status.success(), "plain sessions: {}", String::from_utf8_lossy(&ended.stderr));
        serde_json::from_slice(&ended.stdout).context("the plain sessions said something else than JSON")
    }

    /// Starts a runtime on the variants in `directory`/models, with its store and its log beside them, and waits until it is ready.
    pub(super) async fn serve(&self, directory: &Path, options: &[&str]) -> Result<Server> {
        let url = format!("127.0.0.1:{}", free_port()?);
        let log = File::create(directory.join("runtime.log"))?;
        let started = Instant::now();
        let mut command = Command::new(&self.runtime);
        command.arg("serve").arg(directory.join("models")).args(["--name", MODEL, "--listen", &url]);
        command.args(["--drain-seconds", "0", "--store"]).arg(directory.join("store")).args(options);
        let process = command
            .env("ORT_DYLIB_PATH", &self.onnxruntime)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("failed to start dnnshifter-runtime")?;
        let mut server = Server {
            process,
            url: format!("http://{url}"),
            client: reqwest::Client::builder().tcp_nodelay(true).build()?,
            ready_after: Duration::ZERO,
        };
        wait_ready(&server.url, PATIENCE).await?;
        server.ready_after = started.elapsed();
        Ok(server)
    }
}

impl Server {
    /// Waits until all variants are loaded.
    pub(super) async fn wait_loaded(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let url = format!("{}/v2/repository/index", self.url);
            let index = self.client.post(url).send().await?.error_for_status()?.text().await?;
            let index: Vec<IndexEntry> = serde_json::from_str(&index)?;
            if index.len() == VARIANTS.len() && index.iter().all(|entry| entry.state == "READY") {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "not all variants were loaded within {} s: {index:?}",
                PATIENCE.as_secs()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Has `variant` serve.
    pub(super) async fn swap_to(&self, variant: &str) -> Result<()> {
        let url = format!("{}/v2/repository/models/{MODEL}/load", self.url);
        let request = serde_json::json!({"parameters": {"version": variant}});
        let answer = self.client.post(url).json(&request).send().await?;
        ensure!(answer.status().is_success(), "the swap to {variant} was refused: {}", answer.text().await?);
        Ok(())
    }

    /// The swaps so far.
    pub(super) async fn swaps(&self) -> Result<Swaps> {
        let text =
            self.client.get(format!("{}/swaps", self.url)).send().await?.error_for_status()?.text().await?;
        serde_json::from_str(&text).context("/swaps said something else")
    }

    /// Resident memory.
    pub(super) fn memory(&self) -> Result<Memory> {
        Memory::of(self.process.id())
    }

    /// What the load generator asks: a blank image.
    pub(super) fn target(&self) -> Target {
        let images = LabelledImages::blank(INPUT_SHAPE.iter().product::<u64>() as usize);
        let input = (INPUT_NAME.to_owned(), INPUT_SHAPE.to_vec());
        Target { url: self.url.clone(), model: MODEL.to_owned(), input, images }
    }

    /// Asks for `time`, each request as soon as the one before is answered; how many were answered.
    pub(super) async fn ask_for(&self, time: Duration) -> Result<u64> {
        let values = vec![0_u8; INPUT_SHAPE.iter().product::<u64>() as usize * 4];
        let shape: Vec<_> = std::iter::once(1).chain(INPUT_SHAPE).collect();
        let parameters = serde_json::json!({"binary_data_size": values.len()});
        let input = serde_json::json!({"name": INPUT_NAME, "shape": shape, "datatype": "FP32", "parameters": parameters});
        let header = serde_json::json!({"inputs": [input]}).to_string();
        let body = [header.as_bytes(), &values].concat();
        let url = format!("{}/v2/models/{MODEL}/infer", self.url);
        let deadline = Instant::now() + time;
        let mut answered = 0;
        while Instant::now() < deadline {
            let request = self.client.post(&url).header("inference-header-content-length", header.len());
            let answer = request.body(body.clone()).send().await?;
            // A server with an objective may refuse one of two.
            answered += u64::from(answer.status().is_success());
            answer.bytes().await?;
        }
        Ok(answered)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
