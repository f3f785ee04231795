//! The end: a signal, then a time in which everything is served but readiness says no, then the rest is finished.

use std::{io, sync::atomic::Ordering, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::server::Service;

/// What ends the process: the first one of a container is ended by neither signal, unless it asks for them.
struct Signals {
    terminate: Signal,
    /// What a person sends.
    interrupt: Signal,
}

/// Which signal came.
enum Cause {
    Terminate,
    Interrupt,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    async fn next(&mut self) -> Cause {
        tokio::select! {
            _ = self.terminate.recv() => Cause::Terminate,
            _ = self.interrupt.recv() => Cause::Interrupt,
        }
    }
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn signalled() -> io::Result<()> {
    Signals::listen()?.next().await;
    Ok(())
}

/// Waits for SIGTERM or SIGINT, lets `service` drain for `drain`, and cancels `stop`. Clients are sent elsewhere while they are
/// still served, so that none meets a closed door. SIGINT, which a person sends, does not wait.
pub(crate) async fn drain_on_signal(
    service: &Service,
    drain: Duration,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut signals = Signals::listen()?;
    let drain = match signals.next().await {
        Cause::Terminate => drain,
        Cause::Interrupt => Duration::ZERO,
    };
    tracing::info!(seconds = drain.as_secs(), "shutting down: draining");
    service.draining.store(true, Ordering::Release);
    tokio::select! {
        () = tokio::time::sleep(drain) => (),
        _ = signals.interrupt.recv() => (),
    }
    stop.cancel();
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;
    use crate::{server::Chooser, testing};

    /// What becomes of a service with these signals, in turn: whether it drains after the first, and how long it took until the end.
    async fn ended_after(drain: Duration, signals: &[Signal]) -> (bool, Duration) {
        let service = testing::service(Chooser::Clients, vec![testing::resident("a", 1.0)]);
        let (stop, began) = (CancellationToken::new(), tokio::time::Instant::now());
        let sending = async {
            for signal in signals {
                kill_process(getpid(), *signal).unwrap();
                while service.ready() {
                    tokio::task::yield_now().await;
                }
            }
            let drains = !stop.is_cancelled();
            // While somebody is busy, the clock of the test stands still: the drain cannot end by itself.
            while signals.len() > 1 && !stop.is_cancelled() {
                tokio::task::yield_now().await;
            }
            drains
        };
        let (drained, drains) = tokio::join!(drain_on_signal(&service, drain, stop.clone()), sending);
        drained.unwrap();
        assert!(stop.is_cancelled() && !service.ready() && service.alive());
        (drains, began.elapsed())
    }

    /// One test, since signals reach the whole process. The clock is that of the test: a drain takes no time.
    #[tokio::test(start_paused = true)]
    async fn a_signal_drains_first_and_whoever_is_impatient_sends_another() {
        let minute = Duration::from_mins(1);
        assert_eq!(ended_after(minute, &[Signal::TERM]).await, (true, minute));
        let (_, elapsed) = ended_after(minute, &[Signal::INT]).await;
        assert!(elapsed < minute, "{elapsed:?}");
        let (_, elapsed) = ended_after(minute, &[Signal::TERM, Signal::INT]).await;
        assert!(elapsed < minute, "{elapsed:?}");
    }
}
