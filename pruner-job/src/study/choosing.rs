//! The last step: all networks are measured in turns, variants are chosen, each of them is tested once, and the file that will
//! serve is proved to compute what was trained.

use bytes::Bytes;
use dnnshifter_network::{
    Network,
    compact::{Options, Report, compact},
    network::InvalidModel,
};
use dnnshifter_portfolio::plan::PruningMethod;

use super::{
    Study, StudyError, Trained, accuracy,
    choice::{Choice, Chosen, Measured},
};
use crate::{
    describe::{Describer, Facts},
    latency,
    selection::{Candidate, Wanted, choose, names},
    structured::least_ratio,
    variant::Variant,
};

/// Validation images on which ONNX Runtime and the trained network are compared.
const PROOF_IMAGES: usize = 200;
/// A level that is not this much faster than its neighbour takes a node's memory for nothing.
const LEAST_RATIO_OF_LEVELS: f64 = 1.1;

/// The network without what is dead in it; it computes the same.
fn compacted(network: &Network) -> Result<Network, InvalidModel> {
    let mut model = network.model().clone();
    let Report { before, after, .. } = compact(&mut model, Options { round_to: 1 })?;
    tracing::info!(
        parameters_before = before.parameters,
        parameters_after = after.parameters,
        macs_before = before.macs,
        macs_after = after.macs,
        "dead channels removed"
    );
    Network::from_model(model)
}

impl Study {
    /// The choice among `networks`, and the files of the variants in its order.
    pub(crate) fn choose(&self, networks: &[Trained]) -> Result<(Choice, Vec<Bytes>), StudyError> {
        let served = networks.iter().map(|trained| self.served(trained)).collect::<Result<Vec<_>, _>>()?;
        let mut opened = Vec::new();
        for network in &served {
            opened.push(self.engine.open(&network.write(), network.input())?);
        }
        let latencies = latency::measure(&mut opened)?;
        let both = networks.iter().zip(&served);
        let measured = both
            .zip(&latencies)
            .map(|((trained, served), &latency_us)| Measured::of(trained, served, latency_us))
            .collect::<Result<Vec<_>, _>>()?;
        let candidates: Vec<Candidate> = measured.iter().map(Measured::candidate).collect();
        let chosen = choose(&candidates, self.wanted());
        for (position, candidate) in candidates.iter().enumerate() {
            let Candidate { accuracy, latency_us, memory_bytes } = candidate;
            let becomes_variant = chosen.contains(&position);
            tracing::info!(position, validation_accuracy = %accuracy, latency_us, memory_bytes, becomes_variant, "network measured");
        }
        if chosen.is_empty() {
            let best = candidates.iter().map(|candidate| candidate.accuracy).max().unwrap_or_default();
            return Err(StudyError::NotAccurate { wanted: self.plan.minimum_accuracy, best });
        }
        let variants = self.variants(networks, &served, &measured, &chosen)?;
        let models = variants.iter().map(|(_, model)| model.clone()).collect();
        let chosen = variants.into_iter().map(|(chosen, _)| chosen).collect();
        Ok((Choice { chosen, measured }, models))
    }

    /// The network that serves what was trained: masked weights are gone where they can be.
    fn served(&self, trained: &Trained) -> Result<Network, StudyError> {
        match &self.plan.method {
            PruningMethod::Structured(_) => Ok(trained.network.clone()),
            PruningMethod::IterativeMagnitude(_) => {
                compacted(&trained.network).map_err(StudyError::Compaction)
            }
        }
    }

    fn variants(
        &self,
        networks: &[Trained],
        served: &[Network],
        measured: &[Measured],
        chosen: &[usize],
    ) -> Result<Vec<(Chosen, Bytes)>, StudyError> {
        let macs: Vec<u64> = measured.iter().map(|measured| measured.macs).collect();
        let chosen_macs: Vec<u64> =
            chosen.iter().filter_map(|&position| macs.get(position).copied()).collect();
        let names = names(&chosen_macs, macs.first().copied().unwrap_or(0))?;
        let (test, validation) = (self.samples(&self.dataset.test)?, self.samples(&self.dataset.validation)?);
        let inputs = validation.inputs(PROOF_IMAGES)?;
        let describer = Describer { engine: &self.engine, inputs: &inputs };
        let mut variants = Vec::new();
        for (&position, name) in chosen.iter().zip(names) {
            let (Some(trained), Some(served), Some(measured)) =
                (networks.get(position), served.get(position), measured.get(position))
            else {
                continue;
            };
            let accuracy = accuracy(&trained.network, &test)?;
            let latency_us = measured.latency_us;
            let facts = Facts { name, revision: self.plan.revision.clone(), accuracy, latency_us };
            let variant = describer.describe(&trained.network, served, facts)?;
            let Variant { description, latency_us, maximum_difference, model } = variant;
            tracing::info!(variant = %description.name, test_accuracy = %accuracy, latency_us, maximum_difference, "variant proved");
            variants.push((Chosen { position, description, latency_us, maximum_difference }, model));
        }
        Ok(variants)
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            minimum_accuracy: self.plan.minimum_accuracy,
            maximum_variants: usize::from(self.plan.maximum_variants),
            least_ratio: match &self.plan.method {
                PruningMethod::Structured(method) => least_ratio(method),
                PruningMethod::IterativeMagnitude(_) => LEAST_RATIO_OF_LEVELS,
            },
        }
    }
}
