//! What we compare with: plain ONNX Runtime sessions with its own defaults, all in one process, each on the shipped file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
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

/// Opens all `networks`, computes once with each, and looks.
pub fn look(networks: &[PathBuf]) -> Result<Seen> {
    let environment = ort::init().with_name("sessions").with_telemetry(false).build()?;
    let mut open = Vec::new();
    let mut seen = Vec::new();
    for network in networks {
        let mut session = session(&environment, network)
            .with_context(|| format!("failed to open {}", network.display()))?;
        seen.push(compute(&mut session)?);
        open.push(session);
    }
    Ok(Seen { memory: Memory::of(std::process::id())?, networks: seen })
}

fn session(environment: &Environment, network: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .commit_from_file(network)
}

fn compute(session: &mut Session) -> Result<SeenNetwork> {
    let input = session.inputs().first().context("the network has no input")?;
    let ValueType::Tensor { shape, .. } = input.dtype() else { anyhow::bail!("the input is no tensor") };
    let item: Vec<u64> = shape.iter().skip(1).map(|side| u64::try_from(*side)).collect::<Result<_, _>>()?;
    let input = (input.name().to_owned(), item);
    let output_name = session.outputs().first().context("the network has no output")?.name().to_owned();
    let values = vec![VALUE; input.1.iter().product::<u64>() as usize];
    let shape: Vec<i64> = std::iter::once(1).chain(input.1.iter().map(|side| *side as i64)).collect();
    let tensor = TensorRef::from_array_view((shape, values.as_slice()))?;
    let outputs = session.run(ort::inputs![input.0.as_str() => tensor])?;
    let output = outputs.get(output_name.as_str()).context("the output is missing")?;
    let output = output.try_extract_tensor::<f32>()?.1.to_vec();
    Ok(SeenNetwork { input, output_name, output })
}
