//! The variants that are served: VGG-16 of six sizes with random weights, in the form that a pruning Job publishes them in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use dnnshifter_portfolio::{
    Fraction, VariantDescription, VariantName,
    description::{
        CheckVector, DESCRIPTION_FILE, DESCRIPTION_VERSION, Datatype, MODEL_FILE, TensorDescription,
    },
};

use super::{
    Programs,
    server::PATIENCE,
    sessions::{SeenNetwork, VALUE},
};

/// Name, part of the published widths, and seed. The twins are alike but for their weights: a swap between them changes nothing
/// but the pointer, so that the times of requests before and after can be compared.
pub(super) const VARIANTS: [(&str, &str, u32); 6] = [
    ("whole", "1", 1),
    ("three-quarters", "3/4", 1),
    ("half", "1/2", 1),
    ("half-twin", "1/2", 2),
    ("quarter", "1/4", 1),
    ("eighth", "1/8", 1),
];

/// The largest: 59 MB.
pub(super) const LARGEST: &str = "whole";
/// The one that serves under a quota: under half a CPU it must take much less than a period.
pub(super) const MODEST: &str = "quarter";
/// The smallest.
pub(super) const SMALLEST: &str = "eighth";

/// The two that are swapped.
pub(super) const TWINS: [&str; 2] = ["half", "half-twin"];

/// The input: a small colour image.
const INPUT: &str = "3x32x32";
/// Its shape, without the batch dimension.
pub(super) const INPUT_SHAPE: [u64; 3] = [3, 32, 32];
/// Its name, which dnnshifter-pruner-job gives it.
pub(super) const INPUT_NAME: &str = "input";

/// Writes the variants' folders to `directory`, and gives their networks.
pub(super) fn make(programs: &Programs, directory: &Path) -> Result<Vec<PathBuf>> {
    let mut networks = Vec::new();
    for (name, width, seed) in VARIANTS {
        let folder = directory.join(name);
        fs::create_dir_all(&folder)?;
        let network = folder.join(MODEL_FILE);
        let mut command = Command::new(&programs.pruner_job);
        command.args([
            "model",
            "vgg16",
            "--input",
            INPUT,
            "--width",
            width,
            "--seed",
            &seed.to_string(),
            "--output",
        ]);
        let made = command.arg(&network).output().context("failed to start dnnshifter-pruner-job")?;
        ensure!(made.status.success(), "failed to make {name}: {}", String::from_utf8_lossy(&made.stderr));
        networks.push(network);
    }
    let paths: Vec<_> = networks.iter().map(|network| network.display().to_string()).collect();
    let seen = programs.plain(&paths, None, PATIENCE)?;
    for ((name, ..), (network, seen)) in VARIANTS.iter().zip(networks.iter().zip(seen.networks)) {
        let description = describe(name, fs::metadata(network)?.len(), seen)?;
        fs::write(directory.join(name).join(DESCRIPTION_FILE), serde_json::to_vec(&description)?)?;
    }
    Ok(networks)
}

/// Nothing is known of accuracy; the work is given as the file's size, by which variants are ordered here.
fn describe(name: &str, bytes: u64, seen: SeenNetwork) -> Result<VariantDescription> {
    let SeenNetwork { input: (input_name, shape), output_name, output } = seen;
    let input = vec![VALUE; shape.iter().product::<u64>() as usize];
    Ok(VariantDescription {
        version: DESCRIPTION_VERSION.to_owned(),
        name: VariantName::parse(name)?,
        revision: "bench".to_owned(),
        accuracy: Fraction::parse("0.1")?,
        parameters: bytes / 4,
        bytes,
        macs: bytes,
        input: TensorDescription { name: input_name, shape, datatype: Datatype::Fp32 },
        output: TensorDescription {
            name: output_name,
            shape: vec![output.len() as u64],
            datatype: Datatype::Fp32,
        },
        check: CheckVector { input: input.into(), output: output.into() },
    })
}
