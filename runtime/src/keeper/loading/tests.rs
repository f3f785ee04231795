//! What becomes of variants that are loaded: from real files, in a keeper whose thread does not run.

mod room;
mod stored;

use std::{fs, path::Path, sync::Arc};

use super::*;
use crate::{
    cgroup::{Cgroup, Limits},
    engine::Engine,
    keeper::{Host, Notes, attempts::Attempts},
    lane::Lane,
    metrics::{Identity, Metrics},
    switch::{Switch, choice::Presence},
    testing::{name, names, wanted},
};
use dnnshifter_portfolio::VariantDescription;

/// A keeper of variants on `engine`, the most accurate first, within a limit.
fn keeper(engine: Arc<dyn Engine>, models: &Path, order: &[&str], memory_bytes: Option<u64>) -> Keeper {
    let metrics = Metrics::new(&Identity::default()).unwrap();
    let switch = Arc::new(Switch::new(Arc::clone(&metrics)));
    switch.direct(&names(order), order.first().map(|first| wanted(first)), Instant::now());
    let lane = Arc::new(Lane::start(Arc::clone(&switch), Duration::ZERO).unwrap());
    let limits = Limits { memory_bytes, ..Limits::default() };
    Keeper {
        engine,
        threads: 1,
        models: models.to_owned(),
        switch,
        lane,
        cgroup: Cgroup::of_this_process(models),
        host: Host { limits, base_memory_bytes: 0 },
        protocol_cost: Box::new(|_| None),
        attempts: Attempts::default(),
        metrics,
        notes: Notes::default(),
    }
}

fn write(models: &Path, description: &VariantDescription, network: &[u8]) {
    let folder = models.join(description.name.as_str());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("variant.json"), serde_json::to_string(description).unwrap()).unwrap();
    fs::write(folder.join("model.onnx"), network).unwrap();
}

impl Keeper {
    fn presence(&self, variant: &str) -> Presence {
        self.switch.standing().presence(&name(variant))
    }

    /// Why a variant was refused.
    fn why(&self, variant: &str) -> String {
        match self.switch.standing().slots.get(&name(variant)) {
            Some(Slot::Refused(why)) => why.clone(),
            _ => panic!("{variant} was not refused"),
        }
    }
}
