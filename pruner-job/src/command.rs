//! The command line: what each command takes. One module a command does the work.

use std::{
    num::NonZeroU16,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use dnnshifter_portfolio::{Fraction, VariantName};

use crate::{
    architecture::{Architecture, ImageShape, Width},
    failure::Failure,
};

pub(crate) mod compact;
pub(crate) mod describe;
pub(crate) mod model;
pub(crate) mod publish;
pub(crate) mod run;
pub(crate) mod verify;

/// Trains, prunes, verifies and publishes the variants of a neural network.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How log lines are written to standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// Exit codes by class of failure: those below 80 after `sysexits.h`.
const EXIT_CODES: &str = "Exit codes: 0 success; 1 the networks that verify compares differ; 2 wrong arguments; 65 a file is broken; \
66 an input file is missing; 69 the registry cannot be reached or failed; 70 libtorch or ONNX Runtime failed; 73 an output cannot be \
written; 77 the registry refuses access; 78 the plan cannot be used; 80 the model has operators, control flow or an operator set that \
cannot be worked on; 81 the model is in half precision or quantised; 82 the model's sizes are open; 83 the model's weights are not \
finite; 84 the model is no classifier; 85 the data set is broken or does not fit the model; 86 training did not come to what was \
asked for; 143 stopped by SIGTERM.";

/// Forms of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Execute a pruning plan: train, prune, verify and publish.
    Run(RunArguments),
    /// Write an untrained network as ONNX.
    Model(ModelArguments),
    /// Add a network to a folder of variants: measure it, and write its description.
    Describe(DescribeArguments),
    /// Publish a folder of variants as images and a portfolio, and print the portfolio's name with digest.
    Publish(PublishArguments),
    /// Make a masked network smaller, exactly: channels that its outputs do not depend on go.
    Compact(CompactArguments),
    /// Compare two networks by what they compute: the largest difference of their outputs on the same inputs.
    Verify(VerifyArguments),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The plan, JSON or YAML.
    pub(crate) plan: PathBuf,
    /// A docker config.json with credentials of the registries.
    #[arg(long)]
    pub(crate) registry_config: Option<PathBuf>,
    /// A registry (HOST:PORT) that speaks plain HTTP, as the plan's own may be said to; may be given several times.
    #[arg(long = "plain-http-registry", value_name = "REGISTRY")]
    pub(crate) plain_http_registries: Vec<String>,
    /// The file for the outcome or the reason of failure [default: /dev/termination-log, if it exists].
    #[arg(long)]
    pub(crate) termination_message: Option<PathBuf>,
    /// Write the variants and a report into this folder; nothing is published, unless --push says so.
    #[arg(long)]
    pub(crate) output: Option<PathBuf>,
    /// Publish the variants to the plan's repository [default: unless --output is given].
    #[arg(long)]
    pub(crate) push: bool,
    /// Keep finished steps in this folder [default: in the registry; with --output nowhere].
    #[arg(long)]
    pub(crate) checkpoints: Option<PathBuf>,
}

/// Arguments of `model`.
#[derive(Debug, Args)]
pub(crate) struct ModelArguments {
    /// The architecture.
    pub(crate) architecture: Architecture,
    /// Fraction of the published channel counts, such as 1/2 or 0.25.
    #[arg(long, default_value = "1")]
    pub(crate) width: Width,
    /// Channels, height and width of the input. Sizes that are no multiple of 32 are padded with zeros in the graph.
    #[arg(long, default_value = "1x28x28")]
    pub(crate) input: ImageShape,
    /// Number of classes.
    #[arg(long, default_value_t = 10)]
    pub(crate) classes: usize,
    /// Seed of the random weights.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The file to write.
    #[arg(long)]
    pub(crate) output: PathBuf,
}

/// Arguments of `describe`.
#[derive(Debug, Args)]
pub(crate) struct DescribeArguments {
    /// The ONNX file.
    pub(crate) model: PathBuf,
    /// The variant's name: at most 20 lower-case letters, digits and '-'.
    #[arg(long, value_parser = VariantName::parse)]
    pub(crate) name: VariantName,
    /// The variant's accuracy on a test set, from 0 to 1; it cannot be checked here.
    #[arg(long, value_parser = Fraction::parse)]
    pub(crate) accuracy: Fraction,
    /// The folder of variants; made if missing. A variant of the same name is replaced.
    #[arg(long)]
    pub(crate) output: PathBuf,
    /// The revision that the folder's variants belong to.
    #[arg(long, default_value = "1")]
    pub(crate) revision: String,
}

/// Arguments of `publish`.
#[derive(Debug, Args)]
pub(crate) struct PublishArguments {
    /// A folder of variants, as `describe` and `run --output` write it.
    pub(crate) folder: PathBuf,
    /// Repository to publish to, such as registry.example.com/team/name.
    #[arg(long)]
    pub(crate) repository: String,
    /// The runtime's image, whose layers each variant's image starts with.
    #[arg(long)]
    pub(crate) runtime_image: String,
    /// Speak plain HTTP to the repository's registry.
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Another registry (HOST:PORT) that speaks plain HTTP, such as the runtime image's; may be given several times.
    #[arg(long = "plain-http-registry", value_name = "REGISTRY")]
    pub(crate) plain_http_registries: Vec<String>,
    /// A docker config.json with credentials.
    #[arg(long)]
    pub(crate) registry_config: Option<PathBuf>,
}

/// Arguments of `compact`.
#[derive(Debug, Args)]
pub(crate) struct CompactArguments {
    /// The network, ONNX; weights in files beside it are read from its folder.
    pub(crate) input: PathBuf,
    /// The file to write, with all weights in it.
    pub(crate) output: PathBuf,
    /// Keep a multiple of so many channels in each layer, where it has them: some widths are computed faster.
    #[arg(long, default_value = "1", value_name = "N")]
    pub(crate) round_to: NonZeroU16,
    /// Write what was done, layer by layer, as JSON into this file.
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The network as it should be, ONNX.
    pub(crate) expected: PathBuf,
    /// The network that should compute the same, ONNX.
    pub(crate) found: PathBuf,
    /// Inputs to compare on: a .npz file with a float32 array for each input, by name [default: random ones, zeros, ones
    /// and impulses in the corners].
    #[arg(long)]
    pub(crate) inputs: Option<PathBuf>,
    /// Seed of the random inputs.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write what was found as JSON into this file.
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
}

/// Refuses a report that would stand where another file of the same command stands, or will.
fn check_report(report: Option<&PathBuf>, others: &[&PathBuf]) -> Result<(), Failure> {
    match report.filter(|report| others.iter().any(|other| place(other) == place(report))) {
        Some(path) => Err(Failure::SameFile { path: path.clone() }),
        None => Ok(()),
    }
}

/// The same for every way to write a path, also of a file that is not there yet.
fn place(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let in_folder = || Some(folder.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(in_folder).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_does_not_overwrite_a_network() {
        let folder = tempfile::tempdir().unwrap();
        let [input, output] = ["in.onnx", "out.onnx"].map(|name| folder.path().join(name));
        std::fs::write(&input, b"a network").unwrap();
        let check = |report: PathBuf| check_report(Some(&report), &[&input, &output]);
        check(folder.path().join("report.json")).unwrap();
        assert!(check_report(None, &[&input, &output]).is_ok());
        // The same file by another path, and one that is still to be written.
        for report in ["./in.onnx", "./out.onnx"].map(|path| folder.path().join(path)) {
            let refused = check(report).unwrap_err();
            assert!(refused.to_string().contains("give it another name"), "{refused}");
            assert_eq!(refused.class() as u8, 2);
        }
    }
}
