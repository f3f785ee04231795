//! More requests than can be answered: how many are answered in time all the same.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Spread,
        client::Form,
        open_loop::{capacity, load, poisson},
        variants::TWINS,
    },
    Stage,
};

/// Requests that take longer than this are late.
pub(in super::super) const OBJECTIVE: Duration = Duration::from_millis(20);
/// Overload, as a multiple of the capacity.
pub(in super::super) const OVERLOAD: f64 = 3.0;
/// Before it is measured, a load runs for so many seconds: it is about overload that lasts.
pub(in super::super) const SECONDS_BEFORE: f64 = 1.0;

/// Overload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverloadReport {
    /// The objective in milliseconds.
    pub objective_ms: f64,
    /// Answers per second when two clients ask as fast as they are answered.
    pub capacity: Spread,
    /// Requests per second that were sent.
    pub offered: Spread,
    /// Answers that came later than the objective, over all answers.
    pub late_ratio: Spread,
    /// Answers within the objective per second, over the capacity.
    pub goodput_ratio: Spread,
    /// 99th percentile of the latency of answered requests, in milliseconds.
    pub p99_ms: Spread,
    /// Requests that were neither answered nor shed.
    pub failed: u64,
}

/// Three times the capacity, on a server with an objective.
pub(in super::super) async fn measure(stage: &Stage<'_>) -> Result<OverloadReport> {
    let objective = OBJECTIVE.as_millis().to_string();
    let server = stage.serve(&["--variant", TWINS[0], "--latency-objective", &objective]).await?;
    server.wait_settled().await?;
    let client = server.client(Form::Raw);
    let (mut capacities, mut offered, mut late, mut goodput, mut p99, mut failed) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
    let seconds = stage.extent.seconds;
    for round in 1..=stage.extent.rounds {
        stage.round("overload", round);
        let capacity = capacity(&client, 2, seconds).await;
        load(&client, &poisson(capacity * OVERLOAD, SECONDS_BEFORE), OBJECTIVE).await;
        let tally = load(&client, &poisson(capacity * OVERLOAD, seconds), OBJECTIVE).await;
        goodput.push((tally.answered - tally.late) as f64 / seconds / capacity);
        late.push(tally.late as f64 / tally.answered.max(1) as f64);
        offered.push(tally.offered as f64 / seconds);
        p99.push(tally.p99_ms);
        failed += tally.failed;
        capacities.push(capacity);
    }
    Ok(OverloadReport {
        objective_ms: OBJECTIVE.as_secs_f64() * 1e3,
        capacity: Spread::of(capacities),
        offered: Spread::of(offered),
        late_ratio: Spread::of(late),
        goodput_ratio: Spread::of(goodput),
        p99_ms: Spread::of(p99),
        failed,
    })
}
