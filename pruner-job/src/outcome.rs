//! The Job's last word: its outcome, or why it failed, where Kubernetes looks for it (the container's termination message,
//! kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dnnshifter_portfolio::manifest::LONGEST_TERMINATION_MESSAGE;

/// Where Kubernetes reads it unless told otherwise.
const DEFAULT_PATH: &str = "/dev/termination-log";

/// The file for the last word: as given, else Kubernetes' own if it is there.
pub(crate) fn termination_file(given: Option<&Path>) -> Option<PathBuf> {
    let default = Path::new(DEFAULT_PATH);
    given.or_else(|| default.exists().then_some(default)).map(Path::to_owned)
}

/// Writes `text`, cut to what Kubernetes keeps.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, cut(text))
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_TERMINATION_MESSAGE)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"ä".repeat(3000)).len(), LONGEST_TERMINATION_MESSAGE);
        assert_eq!(cut(&format!("a{}", "ä".repeat(3000))).len(), LONGEST_TERMINATION_MESSAGE - 1);
    }
}
