//! Watching one placement. Errors are waited out; what was seen last holds meanwhile.

use std::{pin::pin, time::Instant};

use dnnshifter_crds::VariantPlacement;
use futures::StreamExt;
use kube::{
    Api,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio_util::sync::CancellationToken;

use crate::chain::chain;

/// A watch is renewed after so many seconds: quiet connections die silently behind load balancers after four minutes.
pub(super) const WATCH_SECONDS: u32 = 180;

/// How it was learned what a placement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// By a list, which the API server reads from a quorum of etcd: it is so now, whatever was told before.
    List,
    /// By a watch.
    Watch,
}

/// Learns of the placement.
pub(super) trait Listener {
    /// It is, or has become, this; its event was decoded at `received`.
    async fn changed(&mut self, placement: VariantPlacement, source: Source, received: Instant);
}

/// Tells `listener` of every change of the placement `name`, until `stop`.
pub(super) async fn follow(
    api: Api<VariantPlacement>,
    name: &str,
    stop: CancellationToken,
    mut listener: impl Listener,
) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut reachable = true;
    while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
        let received = Instant::now();
        let answered = event.is_ok();
        match event {
            Ok(Event::InitApply(placement)) => listener.changed(placement, Source::List, received).await,
            Ok(Event::Apply(placement)) => listener.changed(placement, Source::Watch, received).await,
            Ok(Event::Delete(_)) => tracing::info!("the placement was deleted; its last variant serves on"),
            Ok(Event::Init | Event::InitDone) => (),
            Err(error) if reachable => {
                tracing::warn!(
                    error = chain(&error),
                    "the API server does not answer; the last placement holds"
                );
            }
            Err(error) => tracing::debug!(error = chain(&error), "the API server still does not answer"),
        }
        reachable = answered;
    }
}

#[cfg(test)]
mod tests;
