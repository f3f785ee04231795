//! Latencies that can be compared although the machine is shared: processor time of one thread instead of the clock's, networks
//! take turns, so that what disturbs one disturbs all, and medians forget the rest. What is made of the numbers is for
//! [`crate::structured`] and [`crate::selection`].

use std::time::Duration;

use crate::engine::{EngineError, Inference};

/// Runs before anything is timed: buffers are allocated and caches filled.
const WARM_UP: usize = 3;

/// How long networks are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds in which every network takes its turn.
    pub(crate) rounds: usize,
    /// Each turn lasts about so long; short against what disturbs a machine, long against the clock's resolution.
    pub(crate) turn: Duration,
}

impl Effort {
    /// For decisions.
    pub(crate) const THOROUGH: Self = Self { rounds: 25, turn: Duration::from_millis(6) };
}

/// Median latency of one input for each network, in microseconds.
pub(crate) fn measure(networks: &mut [Inference]) -> Result<Vec<u64>, EngineError> {
    let times = in_turns(networks.iter_mut(), Effort::THOROUGH)?;
    Ok(times.into_iter().map(|times| median(times).as_nanos().div_ceil(1000) as u64).collect())
}

/// How many times faster `after` is than `before`: the median of the ratios of turns that followed each other.
pub(crate) fn ratio(
    before: &mut Inference,
    after: &mut Inference,
    effort: Effort,
) -> Result<f64, EngineError> {
    let times = in_turns([before, after], effort)?;
    let [before, after] = times.as_slice() else { return Ok(1.0) };
    let nanoseconds = |time: &Duration| time.as_nanos().max(1) as f64;
    let mut ratios: Vec<f64> =
        before.iter().zip(after).map(|(b, a)| nanoseconds(b) / nanoseconds(a)).collect();
    ratios.sort_by(f64::total_cmp);
    Ok(ratios.get(ratios.len() / 2).copied().unwrap_or(1.0))
}

/// For each network the median times of its turns.
fn in_turns<'a>(
    networks: impl IntoIterator<Item = &'a mut Inference>,
    effort: Effort,
) -> Result<Vec<Vec<Duration>>, EngineError> {
    let warmed_up = |network| Player::warmed_up(network, effort.turn);
    let mut players: Vec<Player<'_>> = networks.into_iter().map(warmed_up).collect::<Result<_, _>>()?;
    for _ in 0..effort.rounds {
        for player in &mut players {
            player.take_turn()?;
        }
    }
    Ok(players.into_iter().map(|player| player.medians).collect())
}

struct Player<'a> {
    network: &'a mut Inference,
    input: Vec<f32>,
    runs: usize,
    medians: Vec<Duration>,
}

impl<'a> Player<'a> {
    fn warmed_up(network: &'a mut Inference, turn: Duration) -> Result<Self, EngineError> {
        // The time of a dense network does not depend on the values, but denormal and zero inputs may be special.
        let input = vec![0.5; network.input_len()];
        let mut last = turn;
        for _ in 0..WARM_UP {
            last = network.processor_time(&input)?;
        }
        let runs = (turn.as_nanos() / last.as_nanos().max(1)).clamp(1, 200) as usize;
        Ok(Self { network, input, runs, medians: Vec::new() })
    }

    fn take_turn(&mut self) -> Result<(), EngineError> {
        let mut times = Vec::with_capacity(self.runs);
        for _ in 0..self.runs {
            times.push(self.network.processor_time(&self.input)?);
        }
        self.medians.push(median(times));
        Ok(())
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
