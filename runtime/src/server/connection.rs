//! One connection: how long it may be idle, and how it ends. What it asks for is the router's, what it is encrypted with
//! [`tls`](super::tls)'s.
//!
//! HTTP/1.1 and HTTP/2 (which gRPC needs) share one port: the first bytes tell which it is.

use std::{net::IpAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use http::{Extensions, Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    front::{Front, Guard},
    tls::Peer,
};
use crate::lane::fairness::Client;

/// A connection without a request is closed after this time: as long as reverse proxies wait (75 s is nginx's default), so that
/// clients that keep connections are used to it. It is also the longest time for the headers of a request.
const LONGEST_IDLE: Duration = Duration::from_secs(75);

/// Hands are shaken within this time: three packets each way over a poor link, or an attacker.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(10);

/// Requests in flight get so long once the server stops; connections that are still open then are closed.
pub(super) const LONGEST_FAREWELL: Duration = Duration::from_secs(10);

/// A connection that makes room, or was idle too long, gets so long to say so.
const SHORT_FAREWELL: Duration = Duration::from_secs(1);

/// Larger headers are refused (431 over HTTP/1.1); bodies are read in pieces of this size.
const LARGEST_HEADER_BYTES: usize = 64 << 10;

/// Requests at a time on one connection of HTTP/2.
const MOST_STREAMS: u32 = 64;

/// What a peer may send ahead of being read: on one stream of HTTP/2, and on all of a connection.
const STREAM_WINDOW_BYTES: u32 = 512 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Connections of HTTP/2 are asked so often whether somebody is there: a peer that lost power never says so.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The address that a request's connection comes from.
#[derive(Clone, Copy)]
pub(super) struct Caller(IpAddr);

impl Caller {
    /// At this address.
    pub(super) fn at(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// Who sent a request with these extensions.
    pub(super) fn of(extensions: &Extensions) -> Client {
        extensions.get().map(|Self(address)| *address)
    }
}

/// What is known of a connection outside its task.
pub(super) struct Connection {
    caller: Caller,
    activity: Mutex<Activity>,
    /// Says that it is to make room.
    pub(super) end: CancellationToken,
}

#[derive(Clone, Copy)]
struct Activity {
    requests: usize,
    /// When there was a request last.
    last: Instant,
}

impl Connection {
    /// From now on, without a request so far.
    pub(super) fn begun(caller: Caller) -> Self {
        let activity = Activity { requests: 0, last: Instant::now() };
        Self { caller, activity: Mutex::new(activity), end: CancellationToken::new() }
    }

    /// Since when it has no request; `None` while it has one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let Activity { requests, last } = *self.activity.lock();
        (requests == 0).then_some(last)
    }

    /// Shakes hands, if that is asked for, and answers what comes.
    pub(super) async fn attend(self: Arc<Self>, stream: TcpStream, front: Front, stop: CancellationToken) {
        let Front { router, guard } = front;
        let Some(Guard { tls, for_the_unknown }) = guard else {
            return self.converse(stream, router, stop).await;
        };
        let shaken = tokio::select! {
            shaken = timeout(LONGEST_HANDSHAKE, tls.accept(stream)) => shaken,
            () = stop.cancelled() => return,
            () = self.end.cancelled() => return,
        };
        match shaken {
            Ok(Ok((stream, Peer::Known))) => self.converse(stream, router, stop).await,
            Ok(Ok((stream, Peer::Unknown))) => self.converse(stream, for_the_unknown, stop).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    /// Answers what comes, until the peer, this server, or its time ends it.
    async fn converse<S>(self: Arc<Self>, stream: S, router: Router, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let builder = builder();
        let answer = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(self.caller);
            let at_work = AtWork::begin(Arc::clone(&self));
            let answering = router.clone().oneshot(request);
            async move {
                let response = answering.await;
                drop(at_work);
                response
            }
        });
        let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), answer));
        let farewell = tokio::select! {
            ended = serving.as_mut() => return log(ended),
            () = stop.cancelled() => LONGEST_FAREWELL,
            () = self.end.cancelled() => SHORT_FAREWELL,
            () = self.idle_too_long() => SHORT_FAREWELL,
        };
        serving.as_mut().graceful_shutdown();
        if self.end.is_cancelled() {
            // Somebody waits for its room: it says goodbye, and is not waited for, unless a request has just come.
            match timeout(Duration::ZERO, serving.as_mut()).await {
                Ok(ended) => return log(ended),
                Err(_) if self.idle_since().is_some() => return,
                Err(_) => (),
            }
        }
        if let Ok(ended) = timeout(farewell, serving).await {
            log(ended);
        }
    }

    async fn idle_too_long(&self) {
        loop {
            let idle = self.idle_since().map_or(Duration::ZERO, |since| since.elapsed());
            let rest = LONGEST_IDLE.saturating_sub(idle);
            if rest.is_zero() {
                return;
            }
            sleep(rest).await;
        }
    }
}

/// A request of the connection is being answered, until this is dropped.
struct AtWork(Arc<Connection>);

impl AtWork {
    fn begin(connection: Arc<Connection>) -> Self {
        connection.activity.lock().requests += 1;
        Self(connection)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut activity = self.0.activity.lock();
        activity.requests = activity.requests.saturating_sub(1);
        activity.last = Instant::now();
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(LARGEST_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(LARGEST_HEADER_BYTES as u32)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

/// A peer that goes away in the middle is nothing that anybody here could mend.
fn log(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
