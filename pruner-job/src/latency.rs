//! Latencies that can be compared although the machine is shared: processor time of one thread instead of the clock's, networks
//! take turns, so that what disturbs one disturbs all, and medians forget the rest. What is made of the numbers is for
//! [`crate::structured`] and [`crate::selection`].

use std::time::Duration;

use crate::engine::{EngineError, Inference};

/// Runs before anything is timed: buffers are allocated and caches filled.
const WARM_UP: usize = 3;
/// Runs at the start of a turn that do not count: as many as fit into [`SETTLING`], at least one and at most this. The caches hold what
/// the network before left there. One of 8 MB next to one of 15 MB took 1.65 ms at first and 1.2 ms from its eighth run on.
const SETTLING_RUNS: usize = 8;
/// Eight runs of that network, so that large ones, whose runs fill the caches anew, do not settle for long.
const SETTLING: Duration = Duration::from_millis(12);
/// Runs of a turn that count, at most: of a network of 30 microseconds as many as take the longest turn.
const MOST_COUNTED: usize = 200;

/// How long networks are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds in which every network takes its turn.
    pub(crate) rounds: usize,
    /// What counts of a turn lasts about so long; short against what disturbs a machine, long against the clock's resolution.
    pub(crate) turn: Duration,
}

/// For what is published, and what decides which networks become variants.
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
    runs: Runs,
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
        Ok(Self { network, input, runs: Runs::of(last, turn), medians: Vec::new() })
    }

    fn take_turn(&mut self) -> Result<(), EngineError> {
        let Self { network, input, runs, medians } = self;
        medians.push(runs.median(|| network.processor_time(input))?);
        Ok(())
    }
}

/// The runs of a turn.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Runs {
    settling: usize,
    counted: usize,
}

impl Runs {
    /// Those of a network that runs for so long, in such a turn.
    fn of(run: Duration, turn: Duration) -> Self {
        let fit_into = |time: Duration| (time.as_nanos() / run.as_nanos().max(1)) as usize;
        Self {
            settling: fit_into(SETTLING).clamp(1, SETTLING_RUNS),
            counted: fit_into(turn).clamp(1, MOST_COUNTED),
        }
    }

    /// The median of the runs that count; `run` runs once, and says how long that took.
    fn median<E>(self, mut run: impl FnMut() -> Result<Duration, E>) -> Result<Duration, E> {
        for _ in 0..self.settling {
            run()?;
        }
        let times = (0..self.counted).map(|_| run()).collect::<Result<_, E>>()?;
        Ok(median(times))
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
    fn runs_that_find_the_caches_of_another_network_do_not_count() {
        let mut times = [9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1].map(Duration::from_millis).into_iter();
        let runs = Runs::of(Duration::from_millis(1), Duration::from_millis(3));
        assert_eq!(runs, Runs { settling: 8, counted: 3 });
        assert_eq!(runs.median(|| times.next().ok_or(())), Ok(Duration::from_millis(1)));
        let slow = Runs::of(Duration::from_millis(50), Duration::from_millis(3));
        assert_eq!(slow, Runs { settling: 1, counted: 1 });
    }

    #[test]
    fn the_median_forgets_what_was_disturbed() {
        let times = [3, 900, 1, 2, 4].map(Duration::from_micros);
        assert_eq!(median(times.to_vec()), Duration::from_micros(3));
        assert_eq!(median(vec![]), Duration::ZERO);
    }
}
