//! Latencies that can be compared although the machine is shared: processor time of one thread instead of the clock's, networks
//! take turns, so that what disturbs one disturbs all, and medians forget the rest. What is made of the numbers is for
//! [`crate::structured`] and [`crate::selection`].

use std::time::Duration;

use crate::engine::{EngineError, Inference};

/// Runs before anything is timed: buffers are allocated and caches filled.
const WARM_UP: usize = 3;
/// Runs of a turn that do not count, or fewer that take [`SETTLING`]: the caches hold what the networks before left there. A network of
/// 8 MB next to one of 15 MB took 1.65 ms at first and 1.2 ms from its eighth run on; what is larger than the caches gains nothing.
const SETTLING_RUNS: u128 = 8;
const SETTLING: Duration = Duration::from_millis(12);

/// How long networks are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds in which every network takes its turn.
    pub(crate) rounds: usize,
    /// Each turn lasts about so long; short against what disturbs a machine, long against the clock's resolution.
    pub(crate) turn: Duration,
}

/// For what is published.
const THOROUGH: Effort = Effort { rounds: 25, turn: Duration::from_millis(6) };

/// Median latency of one input for each network, in microseconds.
pub(crate) fn measure(networks: &mut [Inference]) -> Result<Vec<u64>, EngineError> {
    let times = in_turns(networks.iter_mut(), THOROUGH)?;
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
    settling: usize,
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
        let fit_into = |time: Duration| time.as_nanos() / last.as_nanos().max(1);
        let settling = fit_into(SETTLING).clamp(1, SETTLING_RUNS) as usize;
        let runs = fit_into(turn).clamp(1, 200) as usize;
        Ok(Self { network, input, settling, runs, medians: Vec::new() })
    }

    fn take_turn(&mut self) -> Result<(), EngineError> {
        for _ in 0..self.settling {
            self.network.processor_time(&self.input)?;
        }
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
