//! `model`: an untrained network as an ONNX file.

use crate::{
    architecture::Blueprint,
    command::ModelArguments,
    failure::{Failure, write_file},
};

pub(crate) fn execute(arguments: &ModelArguments) -> Result<(), Failure> {
    let ModelArguments { architecture, width, input, classes, seed, ref output } = *arguments;
    let network = Blueprint { architecture, width, input, classes, seed }.build()?;
    write_file(output, &network.write())
}
