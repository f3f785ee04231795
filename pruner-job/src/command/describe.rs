//! `describe`: a network becomes a variant of a folder without training, for variants that were made elsewhere.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    command::DescribeArguments,
    describe::{Describer, Facts},
    engine::Engine,
    external,
    failure::{Failure, read_file},
    latency,
    variant::{PORTFOLIO_FILE, Variant, read_folder, write_folder},
};

/// Random inputs on which ONNX Runtime and libtorch are compared.
const INPUTS: usize = 16;

pub(crate) fn execute(arguments: &DescribeArguments) -> Result<(), Failure> {
    let name = || arguments.model.display().to_string();
    let network = external::import(read_file(&arguments.model)?.into(), &arguments.model)
        .map_err(|source| Failure::Model { name: name(), source })?;
    let engine = Engine::load()?;
    let inference = engine.open(&network.write(), network.input())?;
    let size = inference.input_len();
    let facts = Facts {
        name: arguments.name.clone(),
        revision: arguments.revision.clone(),
        accuracy: arguments.accuracy,
        latency_us: latency::measure(&mut [inference])?.first().copied().unwrap_or(0),
    };
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let inputs: Vec<f32> = (0..INPUTS * size).map(|_| random.random_range(-1.0..1.0)).collect();
    let variant = Describer { engine: &engine, inputs: &inputs }.describe(&network, &network, facts)?;
    tracing::info!(
        variant = %variant.description.name,
        latency_us = variant.latency_us,
        macs = variant.description.macs,
        parameters = variant.description.parameters,
        maximum_difference = variant.maximum_difference,
        "variant described"
    );
    let mut variants = if arguments.output.join(PORTFOLIO_FILE).exists() {
        read_folder(&arguments.output)?.1
    } else {
        Vec::new()
    };
    variants.retain(|other: &Variant| other.description.name != arguments.name);
    variants.push(variant);
    for variant in &mut variants {
        variant.description.revision.clone_from(&arguments.revision);
    }
    write_folder(&arguments.output, &arguments.revision, &variants)?;
    Ok(())
}
