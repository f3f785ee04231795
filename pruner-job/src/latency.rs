//! Latencies that can be compared although the machine is shared: networks take turns, so that what disturbs one disturbs
//! all, and medians forget the rest. What is made of the numbers is for [`crate::structured`].

use std::time::Duration;

use crate::engine::{EngineError, Inference};

/// Runs before anything is timed: buffers are allocated and caches filled.
const WARM_UP: usize = 3;
/// Rounds in which every network takes its turn.
const ROUNDS: usize = 15;
/// Each turn lasts about so long; short against what disturbs a machine, long against the clock's resolution.
const TURN: Duration = Duration::from_millis(10);

/// Median latency of one input for each network, in microseconds, measured in turns.
pub(crate) fn measure(networks: &mut [Inference]) -> Result<Vec<u64>, EngineError> {
    let mut turns: Vec<Turn<'_>> = networks.iter_mut().map(Turn::warmed_up).collect::<Result<_, _>>()?;
    for _ in 0..ROUNDS {
        for turn in &mut turns {
            turn.take()?;
        }
    }
    Ok(turns.into_iter().map(Turn::median_us).collect())
}

struct Turn<'a> {
    network: &'a mut Inference,
    input: Vec<f32>,
    runs: usize,
    medians: Vec<Duration>,
}

impl<'a> Turn<'a> {
    fn warmed_up(network: &'a mut Inference) -> Result<Self, EngineError> {
        // The time of a dense network does not depend on the values, but denormal and zero inputs may be special.
        let input = vec![0.5; network.input_len()];
        let mut last = TURN;
        for _ in 0..WARM_UP {
            last = network.time(&input)?;
        }
        let runs = (TURN.as_nanos() / last.as_nanos().max(1)).clamp(1, 200) as usize;
        Ok(Self { network, input, runs, medians: Vec::new() })
    }

    fn take(&mut self) -> Result<(), EngineError> {
        let mut times = Vec::with_capacity(self.runs);
        for _ in 0..self.runs {
            times.push(self.network.time(&self.input)?);
        }
        self.medians.push(median(times));
        Ok(())
    }

    fn median_us(self) -> u64 {
        u64::try_from(median(self.medians).as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
    }
}

/// The lower median; zero if there is nothing.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_forgets_what_was_disturbed() {
        let times = [3, 900, 1, 2, 4].map(Duration::from_micros);
        assert_eq!(median(times.to_vec()), Duration::from_micros(3));
        assert_eq!(median(vec![]), Duration::ZERO);
    }
}
