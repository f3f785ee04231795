//! When requests leave, at a rate that follows a schedule: as a Poisson process, reproducible by seed, or evenly.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde::{Deserialize, Serialize};

/// A piece of a schedule: for so many seconds the rate goes in a straight line from one value to the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Piece {
    /// How long, in seconds.
    pub seconds: f64,
    /// Requests per second at its start.
    pub from: f64,
    /// Requests per second at its end.
    pub to: f64,
}

/// A load over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The pieces, in order.
    pub pieces: Vec<Piece>,
}

impl Schedule {
    /// Parses `30s@60,45s@300,20s@60-200`: 30 seconds at 60 per second, 45 at 300, then 20 rising from 60 to 200.
    pub fn parse(text: &str) -> Result<Self> {
        let pieces = text.split(',').map(parse_piece).collect::<Result<Vec<_>>>()?;
        Ok(Self { pieces })
    }

    /// The whole length.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.pieces.iter().map(|piece| piece.seconds).sum())
    }

    /// Requests per second at `at`; 0 after the end.
    pub fn rate(&self, at: Duration) -> f64 {
        let mut start = 0.0;
        for piece in &self.pieces {
            let into = at.as_secs_f64() - start;
            if into < piece.seconds {
                return piece.from + (piece.to - piece.from) * into / piece.seconds;
            }
            start += piece.seconds;
        }
        0.0
    }

    /// The moments at which the rate jumps, by more than a fifth of the larger rate.
    pub fn steps(&self) -> Vec<Duration> {
        let mut start = 0.0;
        let mut steps = Vec::new();
        for pair in self.pieces.windows(2) {
            let [before, after] = pair else { continue };
            start += before.seconds;
            if (after.from - before.to).abs() > 0.2 * after.from.max(before.to) {
                steps.push(Duration::from_secs_f64(start));
            }
        }
        steps
    }

    /// Arrival times as even as the rate allows, from half an interval after the start.
    pub fn even_arrivals(&self) -> Vec<Duration> {
        let mut arrivals = Vec::new();
        let (mut start, mut due) = (0.0, 0.5);
        for piece in &self.pieces {
            let slope = (piece.to - piece.from) / piece.seconds;
            // The moment at which so many requests of this piece have left: the root of from * t + slope * t^2 / 2 = due.
            let moment = |due: f64| {
                2.0 * due / (piece.from + (piece.from * piece.from + 2.0 * slope * due).max(0.0).sqrt())
            };
            let requests = piece.seconds * f64::midpoint(piece.from, piece.to);
            while due < requests {
                arrivals.push(Duration::from_secs_f64(start + moment(due)));
                due += 1.0;
            }
            due -= requests;
            start += piece.seconds;
        }
        arrivals
    }

    /// The arrival times of a Poisson process of this rate (thinning: Lewis and Shedler, 1979).
    pub fn arrivals(&self, seed: u64) -> Vec<Duration> {
        let mut random = SmallRng::seed_from_u64(seed);
        let peak = self.pieces.iter().map(|piece| piece.from.max(piece.to)).fold(0.0, f64::max);
        let mut arrivals = Vec::new();
        let mut at = 0.0;
        if peak <= 0.0 {
            return arrivals;
        }
        loop {
            at -= (1.0 - random.random::<f64>()).ln() / peak;
            let moment = Duration::from_secs_f64(at);
            if moment >= self.duration() {
                return arrivals;
            }
            if random.random::<f64>() * peak < self.rate(moment) {
                arrivals.push(moment);
            }
        }
    }
}

impl fmt::Display for Schedule {
    /// As [`Schedule::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, piece) in self.pieces.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}s@{}-{}", piece.seconds, piece.from, piece.to)?;
        }
        Ok(())
    }
}

fn parse_piece(text: &str) -> Result<Piece> {
    let wrong = || format!("\"{text}\" is not a piece of a schedule: write 30s@60 or 20s@60-200");
    let (seconds, rates) = text.split_once("s@").with_context(wrong)?;
    let (from, to) = rates.split_once('-').unwrap_or((rates, rates));
    let number = |text: &str| text.trim().parse::<f64>().with_context(wrong);
    let piece = Piece { seconds: number(seconds)?, from: number(from)?, to: number(to)? };
    ensure!(piece.seconds > 0.0 && piece.from >= 0.0 && piece.to >= 0.0, wrong());
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_and_its_rate_followed() {
        let schedule = Schedule::parse("10s@60,10s@300,20s@100-200").unwrap();
        let rate = |seconds| schedule.rate(Duration::from_secs(seconds));
        assert_eq!(
            (rate(0), rate(9), rate(10), rate(20), rate(30), rate(40)),
            (60.0, 60.0, 300.0, 100.0, 150.0, 0.0)
        );
        assert_eq!(schedule.steps(), [Duration::from_secs(10), Duration::from_secs(20)]);
        assert!(
            Schedule::parse("10@60").is_err()
                && Schedule::parse("0s@60").is_err()
                && Schedule::parse("1s@-5").is_err()
        );
    }

    #[test]
    fn even_arrivals_are_as_far_apart_as_the_rate_says() {
        let seconds = |text: &str| -> Vec<f64> {
            Schedule::parse(text).unwrap().even_arrivals().iter().map(Duration::as_secs_f64).collect()
        };
        assert_eq!(seconds("1s@2,1s@4"), [0.25, 0.75, 1.125, 1.375, 1.625, 1.875]);
        assert_eq!(seconds("1s@0,1s@1"), [1.5]);
        let rising = seconds("10s@0-20");
        assert_eq!(rising.len(), 100);
        assert!(rising.windows(3).all(|at| at[2] - at[1] < at[1] - at[0]), "{rising:?}");
    }

    #[test]
    fn arrivals_follow_the_rate_and_the_seed() {
        let schedule = Schedule::parse("100s@50,100s@200").unwrap();
        let arrivals = schedule.arrivals(7);
        let early = arrivals.iter().filter(|at| at.as_secs() < 100).count() as f64;
        let late = arrivals.len() as f64 - early;
        // Five standard deviations of a Poisson count.
        assert!((early - 5_000.0).abs() < 5.0 * 5_000_f64.sqrt(), "{early}");
        assert!((late - 20_000.0).abs() < 5.0 * 20_000_f64.sqrt(), "{late}");
        assert_eq!(arrivals, schedule.arrivals(7));
        assert_ne!(arrivals, schedule.arrivals(8));
    }
}
