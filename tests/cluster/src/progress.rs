//! One line a step, with the time that it took, on standard error: results of commands stay alone on standard output.

use std::io::Write;
use std::time::{Duration, Instant};

/// A step under way.
pub(crate) struct Step {
    what: String,
    since: Instant,
}

impl Step {
    /// Says what begins.
    pub(crate) fn begin(what: impl Into<String>) -> Self {
        let what = what.into();
        say(&format!("{what} ..."));
        Self { what, since: Instant::now() }
    }

    /// Says how far a long step is.
    pub(crate) fn note(&self, how_far: &str) {
        say(&format!("{}: {how_far}, {}", self.what, seconds(self.since.elapsed())));
    }

    /// Says that it is done.
    pub(crate) fn done(self) {
        say(&format!("{}: done in {}", self.what, seconds(self.since.elapsed())));
    }
}

/// Says one line.
pub(crate) fn say(line: &str) {
    // Nobody to read it is no reason to fail.
    let _ = writeln!(std::io::stderr(), "cluster: {line}");
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        whole => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(seconds(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }
}
