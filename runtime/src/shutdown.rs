//! The end: a signal, then a time in which everything is served but readiness says no, then the rest is finished.

use std::{io, sync::atomic::Ordering, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::server::Service;

/// Waits for SIGTERM or SIGINT: the first process of a container is ended by neither, unless it asks for them.
pub(crate) async fn signalled() -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    Ok(())
}

/// Waits for SIGTERM or SIGINT, lets `service` drain for `drain`, and cancels `stop`. Clients are sent elsewhere while they are
/// still served, so that none meets a closed door. SIGINT, which a person sends, does not wait.
pub(crate) async fn drain_on_signal(
    service: &Service,
    drain: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let drain = tokio::select! {
        _ = terminate.recv() => drain,
        _ = interrupt.recv() => Duration::ZERO,
    };
    tracing::info!(seconds = drain.as_secs(), "shutting down: draining");
    service.draining.store(true, Ordering::Release);
    tokio::select! {
        () = tokio::time::sleep(drain) => (),
        _ = interrupt.recv() => (),
    }
    stop.cancel();
    Ok(())
}
