//! What load each node gets, made of what its largest variant can bear, so that the demo means the same on any machine.

use crate::load::{Piece, Schedule};

/// Calm: what the largest variant bears with room to spare.
const CALM: f64 = 0.4;
/// Peak: more than it can do at all, even where a node that was busy when it measured thinks too little of itself; but what
/// comes before a node has stepped down, and is lost, grows with it.
const PEAK: f64 = 1.3;
/// Busy: between the two.
const BUSY: f64 = 0.7;

const FIRST_CALM_SECONDS: f64 = 20.0;
const PEAK_SECONDS: f64 = 35.0;
const CALM_SECONDS: f64 = 45.0;
const RAMP_SECONDS: f64 = 15.0;

/// The load of the node at `index` of `nodes`, whose largest variant can serve `capacity` requests per second. The nodes' peaks
/// follow each other: they share one machine, whose cores the peaks of all together would exceed.
pub fn schedule(index: usize, nodes: usize, capacity: f64) -> Schedule {
    let before = PEAK_SECONDS * index as f64;
    let after = PEAK_SECONDS * nodes.saturating_sub(index + 1) as f64;
    let flat = |seconds: f64, level: f64| Piece { seconds, from: level * capacity, to: level * capacity };
    let pieces = vec![
        flat(FIRST_CALM_SECONDS + before, CALM),
        flat(PEAK_SECONDS, PEAK),
        flat(CALM_SECONDS + after, CALM),
        Piece { seconds: RAMP_SECONDS, from: CALM * capacity, to: BUSY * capacity },
        Piece { seconds: RAMP_SECONDS, from: BUSY * capacity, to: CALM * capacity },
    ];
    Schedule { pieces }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nodes_run_equally_long_and_their_peaks_do_not_meet() {
        let schedules: Vec<_> = (0..3).map(|index| schedule(index, 3, 100.0)).collect();
        for second in 0..schedules[0].duration().as_secs() {
            let at = std::time::Duration::from_secs(second);
            let peaks = schedules.iter().filter(|schedule| schedule.rate(at) > 90.0).count();
            assert!(peaks <= 1, "{peaks} peaks at {second} s");
        }
        assert!(schedules.iter().all(|schedule| schedule.duration() == schedules[0].duration()));
        assert!(schedules.iter().all(|schedule| schedule.steps().len() == 2));
    }
}
