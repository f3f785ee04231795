//! What serving adds to an inference: the latency of single requests, over that of bare ONNX Runtime.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Spread,
        client::Form,
        open_loop::{load, paced},
        server::PATIENCE,
        spread::quantile,
        variants::SMALLEST,
    },
    Stage,
};

/// One request each period: many times what the smallest variant takes, so that none waits for another.
const PERIOD: Duration = Duration::from_millis(2);
/// No request is late here.
const NO_OBJECTIVE: Duration = Duration::from_secs(5);

/// Median latencies in milliseconds, of a request for one 3x32x32 image to the smallest variant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyReport {
    /// Of bare ONNX Runtime, called at the same times, and asleep between them as a server is.
    pub bare_p50_ms: Spread,
    /// The same, but polling between them.
    pub polling_p50_ms: Spread,
    /// Of a server that answers at once, with no inference.
    pub echo_p50_ms: Spread,
    /// REST with binary tensors.
    pub raw: FormReport,
    /// gRPC.
    pub grpc: FormReport,
    /// REST with numbers as text.
    pub json: FormReport,
}

/// Of one form of requests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormReport {
    /// The median latency.
    pub p50_ms: Spread,
    /// The 99th percentile.
    pub p99_ms: Spread,
    /// What the median is more than that of bare ONNX Runtime, round by round.
    pub added_p50_ms: Spread,
}

#[derive(Default)]
struct Rounds {
    p50: Vec<f64>,
    p99: Vec<f64>,
    added: Vec<f64>,
}

/// Measures.
pub(in super::super) async fn measure(stage: &Stage<'_>) -> Result<LatencyReport> {
    let server = stage.serve(&["--variant", SMALLEST]).await?;
    server.wait_settled().await?;
    let count = (stage.extent.seconds / 3.0 / PERIOD.as_secs_f64()) as u32;
    let arrivals = paced(count, PERIOD);
    let forms = [Form::Raw, Form::Grpc, Form::Json].map(|form| server.client(form));
    let (mut bare, mut polling, mut echoes) = (Vec::new(), Vec::new(), Vec::new());
    let echo = stage.programs.echo().await?;
    let mut rounds: [Rounds; 3] = Default::default();
    for round in 1..=stage.extent.rounds {
        stage.round("latency of single requests", round);
        polling.push(bare_p50_ms(stage, count, &["--polling"])?);
        let alone = bare_p50_ms(stage, count, &[])?;
        bare.push(alone);
        echoes.push(load(&echo.client(), &arrivals, NO_OBJECTIVE).await.p50_ms);
        for (client, seen) in forms.iter().zip(&mut rounds) {
            let tally = load(client, &arrivals, NO_OBJECTIVE).await;
            anyhow::ensure!(tally.answered == tally.offered, "requests failed: {tally:?}");
            seen.p50.push(tally.p50_ms);
            seen.p99.push(tally.p99_ms);
            seen.added.push(tally.p50_ms - alone);
        }
    }
    let [raw, grpc, json] = rounds.map(Rounds::report);
    let (bare_p50_ms, polling_p50_ms) = (Spread::of(bare), Spread::of(polling));
    Ok(LatencyReport { bare_p50_ms, polling_p50_ms, echo_p50_ms: Spread::of(echoes), raw, grpc, json })
}

fn bare_p50_ms(stage: &Stage<'_>, count: u32, options: &[&str]) -> Result<f64> {
    let network = stage.models.join(SMALLEST).join("model.onnx");
    let pace = ["--count", &count.to_string(), "--period-us", &PERIOD.as_micros().to_string()];
    let mut arguments = vec![network.display().to_string()];
    arguments.extend(pace.iter().chain(options).map(|argument| (*argument).to_owned()));
    let seen = stage.programs.plain(&arguments, None, PATIENCE)?;
    Ok(quantile(&seen.inference_us, 0.5) as f64 / 1e3)
}

impl Rounds {
    fn report(self) -> FormReport {
        let Self { p50, p99, added } = self;
        FormReport { p50_ms: Spread::of(p50), p99_ms: Spread::of(p99), added_p50_ms: Spread::of(added) }
    }
}
