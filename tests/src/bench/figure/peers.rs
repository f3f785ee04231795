//! The runtime and the servers that people use instead, in turns.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Spread,
        client::{Client, Form},
        open_loop::{capacity, load, paced, poisson},
        peers::Kind,
        server::Server,
        variants::{LARGEST, SMALLEST, TWINS},
    },
    Stage,
    overload::{OBJECTIVE, OVERLOAD, SECONDS_BEFORE},
};

/// Single requests: one each period, longer than the slowest of the servers takes.
const PERIOD: Duration = Duration::from_millis(5);
/// Variants that are loaded anew in a round.
const RELOADS: u32 = 3;

/// One server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerReport {
    /// What people call it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What was measured, or why nothing was.
    pub figures: Result<PeerFigures, String>,
}

/// Of one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerFigures {
    /// From the start of the process to the first answer, in milliseconds.
    pub first_answer_ms: Spread,
    /// Memory of all processes with six models, in MB.
    pub memory_mb: Spread,
    /// Median latency of single requests with binary tensors over REST, where it speaks that.
    pub raw_p50_ms: Option<Spread>,
    /// The same over gRPC.
    pub grpc_p50_ms: Option<Spread>,
    /// The same with numbers as text.
    pub json_p50_ms: Option<Spread>,
    /// Answers per second when two clients ask as fast as they are answered.
    pub capacity: Spread,
    /// At three times the capacity: answers within the objective per second, over the capacity.
    pub goodput_ratio: Spread,
    /// 99th percentile of the latency of answered requests then, in milliseconds.
    pub overload_p99_ms: Spread,
    /// From the request to load the largest model to its answer, in milliseconds, where clients may ask for that.
    pub load_ms: Option<Spread>,
}

/// Of one round.
#[derive(Default)]
struct Round {
    first_answer_ms: f64,
    memory_mb: f64,
    p50_ms: [Option<f64>; 3],
    capacity: f64,
    goodput: f64,
    overload_p99_ms: f64,
    load_ms: Option<f64>,
}

const FORMS: [Form; 3] = [Form::Raw, Form::Grpc, Form::Json];

/// The runtime first, then the peers in `environments`.
pub(in super::super) async fn measure(stage: &Stage<'_>, environments: &Path) -> Vec<PeerReport> {
    let mut ours: Vec<Result<Round>> = Vec::new();
    let versions = Kind::ALL.map(|kind| (kind, kind.version(environments)));
    let mut theirs: [Vec<Result<Round>>; 3] = Default::default();
    for round in 1..=stage.extent.rounds {
        stage.round("beside other servers", round);
        ours.push(our_round(stage).await);
        for ((kind, version), rounds) in versions.iter().zip(&mut theirs) {
            if version.is_ok() && rounds.iter().all(Result::is_ok) {
                rounds.push(their_round(stage, *kind, environments).await);
            }
        }
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut reports = vec![PeerReport { name: "DNNShifter".to_owned(), version, figures: sum(ours) }];
    for ((kind, version), rounds) in versions.into_iter().zip(theirs) {
        let name = kind.name().to_owned();
        reports.push(match version {
            Ok(version) => PeerReport { name, version, figures: sum(rounds) },
            Err(why) => PeerReport { name, version: String::new(), figures: Err(format!("{why:#}")) },
        });
    }
    reports
}

async fn our_round(stage: &Stage<'_>) -> Result<Round> {
    let objective = OBJECTIVE.as_millis().to_string();
    let server = stage.serve(&["--variant", SMALLEST, "--latency-objective", &objective]).await?;
    server.wait_settled().await?;
    let mut round = Round {
        first_answer_ms: server.first_answer_after.as_secs_f64() * 1e3,
        memory_mb: server.proportional_memory() as f64 / 1e6,
        ..Round::default()
    };
    for (form, seen) in FORMS.iter().zip(&mut round.p50_ms) {
        *seen = Some(single_p50_ms(stage, &server.client(*form)).await?);
    }
    server.swap_to(TWINS[0]).await?;
    round.overload(stage, &server.client(Form::Raw)).await;
    let mut longest = Duration::ZERO;
    for _ in 0..RELOADS {
        longest = longest.max(reload(&server).await?);
    }
    round.load_ms = Some(longest.as_secs_f64() * 1e3);
    Ok(round)
}

/// Until the answer to the request to load, as of the others.
async fn reload(server: &Server) -> Result<Duration> {
    server.swap_to(TWINS[0]).await?;
    server.unload(LARGEST).await?;
    let started = std::time::Instant::now();
    server.swap_to(LARGEST).await?;
    Ok(started.elapsed())
}

async fn their_round(stage: &Stage<'_>, kind: Kind, environments: &Path) -> Result<Round> {
    let peer = kind.serve(environments, stage.directory, &stage.models).await?;
    let mut round = Round {
        first_answer_ms: peer.first_answer_after.as_secs_f64() * 1e3,
        memory_mb: peer.memory() as f64 / 1e6,
        ..Round::default()
    };
    for (form, seen) in FORMS.iter().zip(&mut round.p50_ms) {
        if kind.speaks(*form) {
            *seen = Some(single_p50_ms(stage, &peer.client(SMALLEST, *form)).await?);
        }
    }
    round.overload(stage, &peer.client(TWINS[0], kind.cheapest())).await;
    if kind.loads() {
        let control = reqwest::Client::new();
        let mut longest = Duration::ZERO;
        for _ in 0..RELOADS {
            longest = longest.max(peer.reload(&control, LARGEST).await?);
        }
        round.load_ms = Some(longest.as_secs_f64() * 1e3);
    }
    Ok(round)
}

async fn single_p50_ms(stage: &Stage<'_>, client: &Arc<Client>) -> Result<f64> {
    let count = (stage.extent.seconds / 6.0 / PERIOD.as_secs_f64()) as u32;
    let tally = load(client, &paced(count, PERIOD), OBJECTIVE).await;
    ensure!(tally.answered == tally.offered, "single requests failed: {tally:?}");
    Ok(tally.p50_ms)
}

impl Round {
    async fn overload(&mut self, stage: &Stage<'_>, client: &Arc<Client>) {
        let seconds = stage.extent.seconds / 3.0;
        self.capacity = capacity(client, 2, seconds).await;
        let rate = self.capacity * OVERLOAD;
        load(client, &poisson(rate, SECONDS_BEFORE), OBJECTIVE).await;
        let tally = load(client, &poisson(rate, seconds), OBJECTIVE).await;
        self.goodput = (tally.answered - tally.late) as f64 / seconds / self.capacity.max(1.0);
        self.overload_p99_ms = tally.p99_ms;
    }
}

/// One error is all that is said of a server whose round failed.
fn sum(rounds: Vec<Result<Round>>) -> Result<PeerFigures, String> {
    let rounds: Vec<_> = rounds.into_iter().collect::<Result<_>>().map_err(|error| format!("{error:#}"))?;
    let spread = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of));
    let optional = |of: fn(&Round) -> Option<f64>| {
        let values: Vec<_> = rounds.iter().filter_map(of).collect();
        (!values.is_empty()).then(|| Spread::of(values))
    };
    Ok(PeerFigures {
        first_answer_ms: spread(|round| round.first_answer_ms),
        memory_mb: spread(|round| round.memory_mb),
        raw_p50_ms: optional(|round| round.p50_ms[0]),
        grpc_p50_ms: optional(|round| round.p50_ms[1]),
        json_p50_ms: optional(|round| round.p50_ms[2]),
        capacity: spread(|round| round.capacity),
        goodput_ratio: spread(|round| round.goodput),
        overload_p99_ms: spread(|round| round.overload_p99_ms),
        load_ms: optional(|round| round.load_ms),
    })
}
