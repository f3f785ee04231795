//! Which variant each node runs, over time, as its placement's status tells.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use tokio::task::JoinHandle;

use super::kubernetes::Portfolio;
use crate::load::unix_us;

/// A switch that a node made.
#[derive(Clone, Debug)]
pub struct Switch {
    /// The node.
    pub node: String,
    /// When it was seen, in microseconds of Unix time.
    pub at_unix_us: u64,
    /// Whether the new variant is more accurate.
    pub up: bool,
    /// The new variant.
    pub to: String,
}

/// The switches seen so far, and each node's present variant.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Every switch, in order.
    pub switches: Vec<Switch>,
    /// The variant of each node.
    pub active: BTreeMap<String, String>,
}

/// A watch that runs until it is dropped.
pub struct SwitchWatch {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// How often the placements are read: much finer than the switching interval, so that no switch is missed.
const READ_EVERY: Duration = Duration::from_millis(200);

impl SwitchWatch {
    /// Begins to watch.
    pub fn begin(portfolio: Portfolio) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                // A read that fails shows nothing new; the next one follows.
                if let Ok(active) = read(&portfolio).await {
                    note(&mut shared.lock().unwrap_or_else(PoisonError::into_inner), active, unix_us());
                }
                tokio::time::sleep(READ_EVERY).await;
            }
        });
        Self { seen, task }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for SwitchWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Node, active variant, and the rank of each variant there (0 is the most accurate).
type Active = Vec<(String, String, BTreeMap<String, usize>)>;

async fn read(portfolio: &Portfolio) -> Result<Active> {
    let placements = portfolio.placements().await?;
    let active = placements.into_iter().filter_map(|placement| {
        let name = placement.status?.active_variant_name?;
        let ranks = placement
            .spec
            .variants
            .into_iter()
            .enumerate()
            .map(|(rank, variant)| (variant.name, rank))
            .collect();
        Some((placement.spec.node_name, name, ranks))
    });
    Ok(active.collect())
}

fn note(seen: &mut Seen, active: Active, at_unix_us: u64) {
    for (node, to, ranks) in active {
        let from = seen.active.insert(node.clone(), to.clone());
        if let Some(from) = from.filter(|from| *from != to) {
            let up = ranks.get(&to) < ranks.get(&from);
            seen.switches.push(Switch { node, at_unix_us, up, to });
        }
    }
}
