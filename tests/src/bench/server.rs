//! The programs that are measured, and a runtime that serves.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{
    Memory,
    client::{Client, Form},
    cores,
    group::Group,
    sessions::Seen,
    variants::VARIANTS,
};
use crate::load::Outcome;

/// The model's name.
pub(super) const MODEL: &str = "bench";
/// Six variants are optimised and measured within this time, even on a slow machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks at a state that is to come.
const LOOK: Duration = Duration::from_millis(20);
/// The same for the first answer, which is timed.
const SHORT_LOOK: Duration = Duration::from_millis(1);

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

/// How a runtime is started.
#[derive(Clone, Copy)]
pub(super) struct Start<'a> {
    /// Holds a folder for each variant.
    pub(super) models: &'a Path,
    /// Options of `serve`.
    pub(super) options: &'a [&'a str],
    /// Where it is confined.
    pub(super) group: Option<&'a Group>,
}

/// A runtime that serves; it is ended when this is dropped.
pub(super) struct Server {
    process: Child,
    address: SocketAddr,
    log: PathBuf,
    control: reqwest::Client,
    /// From its start to its first answer to an inference request.
    pub(super) first_answer_after: Duration,
}

/// A server that answers at once; it is ended when this is dropped.
pub(super) struct Echo {
    process: Child,
    client: Arc<Client>,
}

impl Echo {
    /// A client that asks it.
    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What `/swaps` says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Swaps {
    pub(super) count: u64,
    pub(super) count_after_loading: u64,
    pub(super) durations_microseconds: Vec<u64>,
    pub(super) last: Option<Swap>,
}

/// A swap.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Swap {
    pub(super) microseconds: u64,
}

/// A line of the repository's index.
#[derive(Deserialize)]
struct IndexEntry {
    state: String,
    reason: String,
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

    /// Has this program do something with plain sessions, in a process of its own on the server's core. With too little memory for its
    /// pages an inference takes minutes: it is given up after `patience`.
    pub(super) fn plain(
        &self,
        arguments: &[String],
        group: Option<&Group>,
        patience: Duration,
    ) -> Result<Seen> {
        let mut command = confined(&self.bench, group);
        command.arg("sessions").args(arguments).env("ORT_DYLIB_PATH", &self.onnxruntime);
        let ended = cores::output(&mut command, patience).context("plain sessions")?;
        ensure!(ended.status.success(), "plain sessions: {}", String::from_utf8_lossy(&ended.stderr));
        serde_json::from_slice(&ended.stdout).context("the plain sessions said something else than JSON")
    }

    /// Starts an echo on the server's core.
    pub(super) async fn echo(&self) -> Result<Echo> {
        let address = free_address()?;
        let mut command = Command::new(&self.bench);
        command.arg("echo").arg(address.to_string());
        let echo =
            Echo { process: cores::spawn(&mut command)?, client: Client::new(address, MODEL, Form::Raw) };
        let deadline = Instant::now() + PATIENCE;
        while !matches!(echo.client.ask().await, Ok(Outcome::Answered)) {
            ensure!(Instant::now() < deadline, "the echo did not answer in time");
            tokio::time::sleep(SHORT_LOOK).await;
        }
        Ok(echo)
    }

    /// Starts a runtime, with its store and its log in `directory`, and waits for its first answer.
    pub(super) async fn serve(&self, directory: &Path, start: Start<'_>) -> Result<Server> {
        let address = free_address()?;
        let log = directory.join("runtime.log");
        let mut command = confined(&self.runtime, start.group);
        command.arg("serve").arg(start.models).args(["--name", MODEL, "--listen", &address.to_string()]);
        command.args(["--drain-seconds", "0", "--store"]).arg(directory.join("store")).args(start.options);
        command.env("ORT_DYLIB_PATH", &self.onnxruntime).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let started = Instant::now();
        let mut server = Server {
            process: cores::spawn(&mut command)?,
            address,
            log,
            control: reqwest::Client::builder().tcp_nodelay(true).build()?,
            first_answer_after: Duration::ZERO,
        };
        server.wait_answer(started + PATIENCE).await?;
        server.first_answer_after = started.elapsed();
        Ok(server)
    }
}

impl Server {
    async fn wait_answer(&mut self, deadline: Instant) -> Result<()> {
        let client = self.client(Form::Raw);
        while !matches!(client.ask().await, Ok(Outcome::Answered)) {
            let log = || fs::read_to_string(&self.log).unwrap_or_default();
            let ended = self.process.try_wait()?;
            ensure!(ended.is_none(), "dnnshifter-runtime has ended:\n{}", log());
            ensure!(Instant::now() < deadline, "dnnshifter-runtime did not answer in time:\n{}", log());
            tokio::time::sleep(SHORT_LOOK).await;
        }
        Ok(())
    }

    /// A client that asks it for inferences.
    pub(super) fn client(&self, form: Form) -> Arc<Client> {
        Client::new(self.address, MODEL, form)
    }

    /// Waits until all variants are loaded and measured, and what starting needed was given back: until then the runtime has work of its own.
    pub(super) async fn wait_settled(&self) -> Result<()> {
        self.wait_loaded().await?;
        let count = self.variants().await?.len();
        self.wait_logged("profiling: measured ", count).await?;
        self.wait_logged("gave back pages", 1).await
    }

    async fn wait_logged(&self, what: &str, times: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(&self.log)?;
            if log.lines().filter(|line| line.contains(what)).count() >= times {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "\"{what}\" was not logged {times} times in time:\n{log}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until all variants are loaded.
    pub(super) async fn wait_loaded(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let index = self.variants().await?;
            if index.iter().all(|entry| entry.state == "READY") {
                return Ok(());
            }
            let states: Vec<_> =
                index.iter().map(|entry| format!("{} {}", entry.state, entry.reason)).collect();
            ensure!(
                Instant::now() < deadline && index.iter().all(|entry| entry.state != "UNAVAILABLE"),
                "not all variants were loaded: {}",
                states.join(", ")
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many of the variants are not loaded.
    pub(super) async fn absent(&self) -> Result<usize> {
        Ok(self.variants().await?.iter().filter(|entry| entry.state != "READY").count())
    }

    async fn variants(&self) -> Result<Vec<IndexEntry>> {
        let url = format!("http://{}/v2/repository/index", self.address);
        let index = self.control.post(url).send().await?.error_for_status()?.text().await?;
        let index: Vec<IndexEntry> = serde_json::from_str(&index)?;
        ensure!(!index.is_empty() && index.len() <= VARIANTS.len(), "the index has {} variants", index.len());
        Ok(index)
    }

    /// Has `variant` serve.
    pub(super) async fn swap_to(&self, variant: &str) -> Result<()> {
        self.repository(variant, "load").await
    }

    /// Gives up `variant`, which must not serve.
    pub(super) async fn unload(&self, variant: &str) -> Result<()> {
        self.repository(variant, "unload").await
    }

    async fn repository(&self, variant: &str, verb: &str) -> Result<()> {
        let url = format!("http://{}/v2/repository/models/{MODEL}/{verb}", self.address);
        let request = serde_json::json!({"parameters": {"version": variant}});
        let answer = self.control.post(url).json(&request).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{verb} of {variant}: {status}: {text}");
        Ok(())
    }

    /// The swaps so far.
    pub(super) async fn swaps(&self) -> Result<Swaps> {
        let url = format!("http://{}/swaps", self.address);
        let text = self.control.get(url).send().await?.error_for_status()?.text().await?;
        serde_json::from_str(&text).context("/swaps said something else")
    }

    /// Resident memory.
    pub(super) fn memory(&self) -> Result<Memory> {
        Memory::of(self.process.id())
    }

    /// The same in bytes, of which shared pages count in parts.
    pub(super) fn proportional_memory(&self) -> u64 {
        super::memory::proportional(self.process.id())
    }

    /// CPU time that was used so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        super::memory::cpu(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn confined(program: &Path, group: Option<&Group>) -> Command {
    group.map_or_else(|| Command::new(program), |group| group.command(program))
}

pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
