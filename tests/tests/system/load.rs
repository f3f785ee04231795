//! Load from a node's own clients: the load generator in a thread of this process that has the node's network.

use std::{
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use dnnshifter_crds::VariantPlacement;
use dnnshifter_portfolio::{Fraction, latency::predict};
use dnnshifter_tests::{
    images::LabelledImages,
    load::{Outcome, Piece, Record, Schedule, Tally, Target, run, wait_ready},
};
use tokio::sync::{mpsc, oneshot};

use super::scene::Scene;

/// Longer than any scenario.
const LONGEST_LOAD_SECONDS: f64 = 600.0;
/// A request that is younger than this when the load ends may go unanswered: it is cut off with the load.
const GRACE: Duration = Duration::from_secs(3);
const OBJECTIVE: Duration = Duration::from_millis(50);

/// A load that goes on until it is ended, or its schedule is.
pub struct Load {
    arrivals: Vec<Duration>,
    end: oneshot::Sender<()>,
    thread: JoinHandle<Result<Sent>>,
}

/// What was sent until the load ended.
struct Sent {
    records: Vec<Record>,
    lasted: Duration,
}

impl Load {
    /// Begins to send `rate` requests a second to the portfolio `model` at `url`, from the node's own network, once it answers.
    pub fn begin(scene: &Scene, node: &str, url: &str, model: &str, rate: f64) -> Result<Self> {
        Self::begin_for(
            scene,
            node,
            url,
            model,
            Piece { seconds: LONGEST_LOAD_SECONDS, from: rate, to: rate },
        )
    }

    fn begin_for(scene: &Scene, node: &str, url: &str, model: &str, piece: Piece) -> Result<Self> {
        let arrivals = Schedule { pieces: vec![piece] }.arrivals(1);
        let (end, ended) = oneshot::channel();
        let target = Target {
            url: url.to_owned(),
            model: model.to_owned(),
            input: ("input".to_owned(), vec![1, 28, 28]),
            images: LabelledImages::blank(28 * 28),
        };
        let (cluster, place, mine) =
            (&scene.world.cluster, scene.world.cluster.place(node)?, arrivals.clone());
        let thread = std::thread::spawn(move || {
            cluster.enter(&place)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(send(target, &mine, ended))
        });
        Ok(Self { arrivals, end, thread })
    }

    /// Ends the load. Fails if a request failed or was never answered; one that was shed was answered.
    pub fn end(self) -> Result<Tally> {
        // Whoever has ended by itself has an error to tell.
        let _ = self.end.send(());
        let sent = self.thread.join().map_err(|_| anyhow!("the load generator panicked"))??;
        judge(&self.arrivals, &sent)
    }

    /// Waits until the schedule has ended, and judges as [`Load::end`] does.
    fn finish(self) -> Result<Tally> {
        let sent = self.thread.join().map_err(|_| anyhow!("the load generator panicked"))??;
        judge(&self.arrivals, &sent)
    }
}

/// Sends so many requests a second for so long: what has happened meanwhile can then be judged.
pub fn burst(scene: &Scene, node: &str, url: &str, model: &str, rate: f64, seconds: f64) -> Result<Tally> {
    Load::begin_for(scene, node, url, model, Piece { seconds, from: rate, to: rate })?.finish()
}

fn judge(arrivals: &[Duration], sent: &Sent) -> Result<Tally> {
    let tally = Tally::of(&sent.records, OBJECTIVE);
    let failure = sent.records.iter().find(|record| record.outcome == Outcome::Failed);
    ensure!(
        failure.is_none(),
        "{} of {} requests failed, the first after {:?}: {}",
        tally.failed,
        tally.offered,
        failure.map(|record| record.intended).unwrap_or_default(),
        failure.and_then(|record| record.error.as_deref()).unwrap_or_default()
    );
    let due = sent.lasted.saturating_sub(GRACE);
    let expected = arrivals.iter().filter(|at| **at < due).count();
    let ended = sent.records.iter().filter(|record| record.intended < due).count();
    ensure!(ended >= expected, "of {expected} requests only {ended} were answered");
    ensure!(tally.answered > 0, "not one request was answered in {:?}", sent.lasted);
    Ok(tally)
}

async fn send(target: Target, arrivals: &[Duration], ended: oneshot::Receiver<()>) -> Result<Sent> {
    wait_ready(&target.url, Duration::from_secs(30)).await?;
    let begun = Instant::now();
    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::select! {
        sent = run(target, arrivals, sender) => sent?,
        _ = ended => {}
    }
    let mut records = Vec::new();
    while let Ok(record) = receiver.try_recv() {
        records.push(record);
    }
    Ok(Sent { records, lasted: begun.elapsed() })
}

/// A load, in requests a second, that the most accurate variant of a node cannot bear and the least accurate can, by what the
/// node measured of them.
pub fn too_much_for_the_largest(placement: &VariantPlacement) -> Result<f64> {
    let profile = placement.status.clone().unwrap_or_default().node_profile()?;
    let named = |index: usize| {
        let variant = placement.spec.variants.get(index);
        variant.and_then(|placed| profile.variants.iter().find(|one| one.name.as_str() == placed.name))
    };
    let last = placement.spec.variants.len().saturating_sub(1);
    let (largest, smallest) = named(0).zip(named(last)).context("the node has not measured its variants")?;
    let quantile = Fraction::nearest(0.99);
    let bears = |variant, rate| predict(variant, rate, profile.quota, quantile).within(OBJECTIVE);
    let limit = (1..400).map(|step| 1.03_f64.powi(step)).find(|rate| !bears(largest, *rate));
    // A little beyond, so that what is measured of a Poisson load is beyond as well.
    let rate = limit.context("the largest variant bears any load")? * 1.25;
    ensure!(
        bears(smallest, rate),
        "the node's variants are too alike: none bears {rate:.0} requests a second"
    );
    Ok(rate)
}
