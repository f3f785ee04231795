//! What we compare with: plain ONNX Runtime sessions with its own defaults, all in one process, each on the shipped file.

use std::{
    num::NonZeroU64,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use ort::{
    environment::Environment,
    session::{Session, builder::GraphOptimizationLevel},
    value::{TensorRef, ValueType},
};
use serde::{Deserialize, Serialize};

use super::Memory;

/// Every value of the input.
pub(super) const VALUE: f32 = 0.5;

/// What was seen of some networks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Of the process, while all sessions are open and have computed once.
    pub memory: Memory,
    /// The networks, in order.
    pub networks: Vec<SeenNetwork>,
    /// The times of the inferences that were asked for, in microseconds, in ascending order.
    pub inference_us: Vec<u64>,
}

/// A network's tensors, and the output for an input of which every value is 0.5.
#[derive(Debug, Serialize, Deserialize)]
pub struct SeenNetwork {
    /// Name and shape of its input, the batch dimension excluded.
    pub input: (String, Vec<u64>),
    /// The name of its output.
    pub output_name: String,
    /// The output of one item.
    pub output: Vec<f32>,
}

/// Inferences to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// How many, on each network in turn.
    pub count: u32,
    /// So many on one network before the next.
    pub in_a_row: u32,
    /// One begins each period, unless the one before takes longer. They are timed from when they were meant to begin.
    pub period: Duration,
    /// Whether it polls until then, which keeps the processor awake, instead of sleeping.
    pub polling: bool,
}

/// Opens all `networks`, computes once with each, looks, and computes at a `pace`.
pub fn look(networks: &[PathBuf], pace: Pace) -> Result<Seen> {
    let environment = ort::init().with_name("sessions").with_telemetry(false).build()?;
    let mut open = Vec::new();
    let mut seen = Vec::new();
    for network in networks {
        let mut session = session(&environment, network)
            .with_context(|| format!("failed to open {}", network.display()))?;
        seen.push(describe(&mut session)?);
        open.push(session);
    }
    let memory = Memory::of(process::id())?;
    let inference_us = time(&mut open, &seen, pace)?;
    Ok(Seen { memory, networks: seen, inference_us })
}

fn session(environment: &Environment, network: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .commit_from_file(network)
}

fn describe(session: &mut Session) -> Result<SeenNetwork> {
    let input = session.inputs().first().context("the network has no input")?;
    let ValueType::Tensor { shape, .. } = input.dtype() else { anyhow::bail!("the input is no tensor") };
    let item: Vec<u64> = shape.iter().skip(1).map(|side| u64::try_from(*side)).collect::<Result<_, _>>()?;
    let input = (input.name().to_owned(), item);
    let output_name = session.outputs().first().context("the network has no output")?.name().to_owned();
    let mut seen = SeenNetwork { input, output_name, output: Vec::new() };
    seen.output = compute(session, &seen)?;
    Ok(seen)
}

fn compute(session: &mut Session, network: &SeenNetwork) -> Result<Vec<f32>> {
    let SeenNetwork { input: (name, item), output_name, .. } = network;
    let values = vec![VALUE; item.iter().product::<u64>() as usize];
    let shape: Vec<i64> = std::iter::once(1).chain(item.iter().map(|side| *side as i64)).collect();
    let tensor = TensorRef::from_array_view((shape, values.as_slice()))?;
    let outputs = session.run(ort::inputs![name.as_str() => tensor])?;
    let output = outputs.get(output_name.as_str()).context("the output is missing")?;
    Ok(output.try_extract_tensor::<f32>()?.1.to_vec())
}

fn time(sessions: &mut [Session], seen: &[SeenNetwork], pace: Pace) -> Result<Vec<u64>> {
    ensure!(!sessions.is_empty(), "name a network");
    // Timers of threads are late by 50 us otherwise.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let start = Instant::now();
    let mut times = Vec::new();
    for index in 0..pace.count {
        let intended = pace.period * (index + 1);
        if !pace.polling {
            thread::sleep(intended.saturating_sub(start.elapsed()));
        }
        while start.elapsed() < intended {
            std::hint::spin_loop();
        }
        let turn = (index / pace.in_a_row.max(1)) as usize % sessions.len();
        let (session, seen) = sessions.get_mut(turn).zip(seen.get(turn)).context("no such session")?;
        compute(session, seen)?;
        times.push(start.elapsed().saturating_sub(intended).as_micros() as u64);
    }
    times.sort_unstable();
    Ok(times)
}
