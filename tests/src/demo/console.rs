//! What the person at the terminal sees: steps with the time that they took, and a live table.

use std::{
    fmt::Display,
    io::{IsTerminal, Write, stdout},
    time::Instant,
};

/// Prints a line.
pub fn say(text: impl Display) {
    // A closed terminal is no reason to stop measuring.
    let _ = writeln!(stdout().lock(), "{text}");
}

/// Prints what begins, and returns what prints how long it took.
pub fn step(title: impl Display) -> Step {
    say(format_args!("==> {title}"));
    Step { start: Instant::now() }
}

/// A step under way.
pub struct Step {
    start: Instant,
}

impl Step {
    /// Ends the step.
    pub fn done(self, result: impl Display) {
        say(format_args!("    {result} ({:.1} s)", self.start.elapsed().as_secs_f64()));
    }
}

/// A table that is drawn again in place on a terminal, and every tenth time in a log.
pub struct LiveTable {
    drawn_lines: usize,
    draws: usize,
    terminal: bool,
}

impl Default for LiveTable {
    fn default() -> Self {
        Self { drawn_lines: 0, draws: 0, terminal: stdout().is_terminal() }
    }
}

impl LiveTable {
    /// Draws the rows, each of as many cells as the first.
    pub fn draw(&mut self, rows: &[Vec<String>]) {
        self.draws += 1;
        if !self.terminal && self.draws % 10 != 1 {
            return;
        }
        let text = aligned(rows);
        let mut out = stdout().lock();
        if self.terminal && self.drawn_lines > 0 {
            // Cursor up over what was drawn before, then clear to the end of the screen.
            let _ = write!(out, "\x1b[{}A\x1b[J", self.drawn_lines);
        }
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
        self.drawn_lines = rows.len();
    }
}

/// The rows with their columns aligned to the right, the first to the left.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(
            |(i, (cell, width))| if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") },
        );
        format!("    {}", cells.collect::<Vec<_>>().join("  "))
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::aligned;

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            aligned(&[row(["node", "load"]), row(["edge-1", "5"])]),
            "    node    load\n    edge-1     5"
        );
    }
}
