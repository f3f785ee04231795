//! `verify`: two networks are compared on the same inputs, and what was found goes to standard output and into a report.

use std::io::Write;

use crate::{
    command::{VerifyArguments, check_report},
    engine::Engine,
    failure::{Failure, write_json},
    verify::{Source, VerifyError, compare},
};

pub(crate) fn execute(arguments: &VerifyArguments) -> Result<(), Failure> {
    let read: Vec<_> = [&arguments.expected, &arguments.found].into_iter().chain(&arguments.inputs).collect();
    check_report(arguments.report.as_ref(), &read)?;
    let source = match &arguments.inputs {
        Some(path) => Source::Npz(path),
        None => Source::Random { seed: arguments.seed },
    };
    for path in read {
        if !path.exists() {
            return Err(VerifyError::Missing { path: path.clone() }.into());
        }
    }
    let comparison = compare(&Engine::load()?, [&arguments.expected, &arguments.found], &source)?;
    if let Some(path) = &arguments.report {
        write_json(path, &comparison)?;
    }
    writeln!(std::io::stdout(), "{comparison}").map_err(Failure::Print)?;
    if comparison.equal { Ok(()) } else { Err(VerifyError::Different(comparison).into()) }
}
