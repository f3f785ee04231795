//! The servers that people use instead, started as their documentation says, on the same files and the same core.

use std::{
    fs,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{
    client::{Client, Form},
    cores, memory,
    server::free_address,
    variants::SMALLEST,
};
use crate::load::Outcome;

/// Six models are loaded within this time, whatever the server.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two attempts at the first answer.
const LOOK: Duration = Duration::from_millis(2);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `FastAPI` on uvicorn.
    Plain,
    /// Seldon's.
    MlServer,
    /// NVIDIA's, in the form that Python's package index has.
    Triton,
}

/// A peer that serves all models; it is ended with this.
pub(super) struct Peer {
    kind: Kind,
    process: Child,
    rest: SocketAddr,
    grpc: SocketAddr,
    /// From its start to its first answer.
    pub(super) first_answer_after: Duration,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::MlServer, Self::Triton, Self::Plain];

    /// What people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "FastAPI",
            Self::MlServer => "MLServer",
            Self::Triton => "Triton (PyTriton)",
        }
    }

    /// Its environment's folder, and the package whose version counts.
    fn environment(self) -> (&'static str, &'static str) {
        match self {
            Self::Plain => ("plain", "fastapi"),
            Self::MlServer => ("mlserver", "mlserver"),
            Self::Triton => ("triton", "nvidia-pytriton"),
        }
    }

    fn script(self) -> (&'static str, &'static str) {
        match self {
            Self::Plain => ("plain.py", include_str!("peers/plain.py")),
            Self::MlServer => ("mlserver_onnx.py", include_str!("peers/mlserver_onnx.py")),
            Self::Triton => ("triton_onnx.py", include_str!("peers/triton_onnx.py")),
        }
    }

    /// The forms of requests that it reads.
    pub(super) fn speaks(self, form: Form) -> bool {
        match (self, form) {
            (_, Form::Json)
            | (Self::Plain | Self::Triton, Form::Raw)
            | (Self::MlServer | Self::Triton, Form::Grpc) => true,
            (Self::MlServer, Form::Raw) | (Self::Plain, Form::Grpc) => false,
        }
    }

    /// The form that costs it the least.
    pub(super) fn cheapest(self) -> Form {
        match self {
            Self::Plain | Self::Triton => Form::Raw,
            Self::MlServer => Form::Grpc,
        }
    }

    /// Whether clients may have it load and unload models.
    pub(super) fn loads(self) -> bool {
        match self {
            Self::MlServer => true,
            Self::Plain | Self::Triton => false,
        }
    }

    /// The version of what is installed in the environments below `environments`.
    pub(super) fn version(self, environments: &Path) -> Result<String> {
        let (folder, package) = self.environment();
        let python = environments.join(folder).join("bin/python");
        let asked = format!("import importlib.metadata as it; print(it.version('{package}'))");
        let said = Command::new(&python).args(["-c", &asked]).output();
        let said = said.with_context(|| format!("failed to start {}", python.display()))?;
        ensure!(said.status.success(), "{package} is not installed: `make peers` installs it");
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    }

    /// Starts it on all `models`, with its log and its script in `directory`, and waits for its first answer.
    pub(super) async fn serve(self, environments: &Path, directory: &Path, models: &Path) -> Result<Peer> {
        let (folder, _) = self.environment();
        let (name, text) = self.script();
        fs::write(directory.join(name), text)?;
        let (rest, grpc) = (free_address()?, free_address()?);
        let log = directory.join(format!("{folder}.log"));
        let mut command = Command::new(environments.join(folder).join("bin/python"));
        command
            .arg(directory.join(name))
            .arg(models)
            .args([rest.port(), grpc.port()].map(|port| port.to_string()));
        command.current_dir(directory).process_group(0).stdin(Stdio::null());
        let file = fs::File::create(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let started = Instant::now();
        let process = cores::spawn(&mut command)?;
        let mut peer = Peer { kind: self, process, rest, grpc, first_answer_after: Duration::ZERO };
        peer.wait_answer(started + PATIENCE, &log).await?;
        peer.first_answer_after = started.elapsed();
        Ok(peer)
    }
}

impl Peer {
    async fn wait_answer(&mut self, deadline: Instant, log: &Path) -> Result<()> {
        let client = self.client(SMALLEST, self.kind.cheapest());
        while !matches!(client.ask().await, Ok(Outcome::Answered)) {
            let ended = self.process.try_wait()?;
            let said = || fs::read_to_string(log).unwrap_or_default();
            ensure!(
                ended.is_none() && Instant::now() < deadline,
                "{} does not answer:\n{}",
                self.kind.name(),
                said()
            );
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// A client of one of its models.
    pub(super) fn client(&self, model: &str, form: Form) -> Arc<Client> {
        let address = if form == Form::Grpc { self.grpc } else { self.rest };
        Client::new(address, model, form)
    }

    /// Memory of all its processes, in bytes.
    pub(super) fn memory(&self) -> u64 {
        let group = self.process.id();
        processes().into_iter().filter(|(_, of)| *of == group).map(|(id, _)| memory::proportional(id)).sum()
    }

    /// Unloads a model and loads it again, and says how long the loading took.
    pub(super) async fn reload(&self, control: &reqwest::Client, model: &str) -> Result<Duration> {
        let url = |verb: &str| format!("http://{}/v2/repository/models/{model}/{verb}", self.rest);
        control.post(url("unload")).send().await?.error_for_status()?;
        let started = Instant::now();
        control.post(url("load")).send().await?.error_for_status()?;
        Ok(started.elapsed())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already; of its processes the group is all that is known.
        if let Some(group) = Pid::from_raw(self.process.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.wait();
    }
}

/// All processes, with their groups.
fn processes() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stat = |path: PathBuf| {
        let id = path.file_name()?.to_str()?.parse::<u32>().ok()?;
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let (_, after) = stat.rsplit_once(") ")?;
        Some((id, after.split(' ').nth(2)?.parse().ok()?))
    };
    entries.filter_map(|entry| stat(entry.path())).collect()
}
