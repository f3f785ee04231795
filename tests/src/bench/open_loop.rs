//! Loads: requests leave when they are meant to, whether or not earlier ones were answered, and latency counts from that time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::{JoinSet, yield_now};

use super::client::Client;
use crate::load::{Outcome, Piece, Record, Schedule, Tally, unix_us};

/// A Poisson load of `rate` requests a second, always the same.
pub(super) fn poisson(rate: f64, seconds: f64) -> Vec<Duration> {
    another_poisson(rate, seconds, 1)
}

/// Another one for each `seed`.
pub(super) fn another_poisson(rate: f64, seconds: f64, seed: u64) -> Vec<Duration> {
    Schedule { pieces: vec![Piece { seconds, from: rate, to: rate }] }.arrivals(seed)
}

/// `count` requests, one each `period`.
pub(super) fn paced(count: u32, period: Duration) -> Vec<Duration> {
    (1..=count).map(|index| period * index).collect()
}

/// Sends a request at each of `arrivals`, and waits until all have ended. Answers later than `objective` are late.
pub(super) async fn load(client: &Arc<Client>, arrivals: &[Duration], objective: Duration) -> Tally {
    Tally::of(&records(client, arrivals).await, objective)
}

/// The same, request by request.
pub(super) async fn records(client: &Arc<Client>, arrivals: &[Duration]) -> Vec<Record> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    let mut records = Vec::with_capacity(arrivals.len());
    for intended in arrivals.iter().copied() {
        // Polling, as timers wake a millisecond late.
        while start.elapsed() < intended {
            while let Some(ended) = tasks.try_join_next() {
                records.extend(ended);
            }
            yield_now().await;
        }
        let client = Arc::clone(client);
        tasks.spawn(async move {
            let answer = client.ask().await;
            record(intended, start.elapsed().saturating_sub(intended), answer)
        });
    }
    while !tasks.is_empty() {
        while let Some(ended) = tasks.try_join_next() {
            records.extend(ended);
        }
        yield_now().await;
    }
    records
}

/// Answers a second when `clients` clients ask, each as soon as it is answered.
pub(super) async fn capacity(client: &Arc<Client>, clients: usize, seconds: f64) -> f64 {
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let client = Arc::clone(client);
        tasks.spawn(async move {
            let mut answered = 0_u64;
            while Instant::now() < deadline {
                // A server with an objective may refuse one of them.
                answered += u64::from(matches!(client.ask().await, Ok(Outcome::Answered)));
            }
            answered
        });
    }
    let mut answered = 0;
    while let Some(ended) = tasks.join_next().await {
        answered += ended.unwrap_or_default();
    }
    answered as f64 / seconds
}

fn record(intended: Duration, latency: Duration, answer: Result<Outcome>) -> Record {
    let (outcome, error) = match answer {
        Ok(outcome) => (outcome, None),
        Err(error) => (Outcome::Failed, Some(format!("{error:#}"))),
    };
    Record { intended, latency, ended_unix_us: unix_us(), outcome, variant: None, correct: false, error }
}
