//! Running programs to their end, with errors that say which command failed and what it said.
//!
//! For programs that stay, see `process`.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Why a program's work is not done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("failed to start `{command}`: is its package installed? (`make deps`)")]
    Start { command: String, source: std::io::Error },
    #[error("failed to speak with `{command}`")]
    Pipe { command: String, source: std::io::Error },
    #[error("`{command}` failed ({status}): {said}")]
    Failed { command: String, status: std::process::ExitStatus, said: String },
}

/// As much of a failed program's words as a person can use.
const LONGEST_MESSAGE: usize = 4000;

/// Runs a program and returns what it wrote to standard output.
pub(crate) fn run(command: &mut Command) -> Result<String, CommandError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| CommandError::Start { command: words(command), source })?;
    finish(command, &output)
}

/// Runs a program that reads `input`.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<String, CommandError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| CommandError::Start { command: words(command), source })?;
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes()));
    let output =
        child.wait_with_output().map_err(|source| CommandError::Pipe { command: words(command), source })?;
    let said = finish(command, &output)?;
    written.map_err(|source| CommandError::Pipe { command: words(command), source })?;
    Ok(said)
}

fn finish(command: &Command, output: &Output) -> Result<String, CommandError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let all = if errors.trim().is_empty() { String::from_utf8_lossy(&output.stdout) } else { errors };
    Err(CommandError::Failed { command: words(command), status: output.status, said: tail(all.trim()) })
}

/// The end of a text, where programs say what went wrong.
pub(crate) fn tail(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(LONGEST_MESSAGE);
    text.chars().skip(skipped).collect()
}

/// A command as one would type it, for messages.
pub(crate) fn words(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    std::iter::once(command.get_program().to_string_lossy()).chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_the_program_said() {
        let message =
            run(Command::new("sh").args(["-c", "echo gone wrong >&2; exit 3"])).unwrap_err().to_string();
        assert!(message.contains("gone wrong") && message.contains('3'), "{message}");
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(run_with_input(&mut Command::new("cat"), "hello").unwrap(), "hello");
    }

    #[test]
    fn a_missing_program_is_named() {
        let message = run(&mut Command::new("no-such-program-here")).unwrap_err().to_string();
        assert!(message.contains("no-such-program-here") && message.contains("make deps"), "{message}");
    }
}
