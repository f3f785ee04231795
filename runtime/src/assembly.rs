//! How the parts are put together: the same for a laptop and for a node.

mod threads;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::sync::CancellationToken;

pub(crate) use self::threads::Threads;
use crate::{
    Error,
    cgroup::{self, Cgroup},
    engine::OnnxRuntime,
    keeper::{
        Host, Keeper, Notes,
        attempts::Attempts,
        kept::{Basis, KeptProfiles},
        memory::{ProcessMemory, reserved_for_requests},
    },
    lane::{Lane, shortcut},
    metrics::{Identity, Metrics},
    processor,
    server::{self, Chooser, Front, Intake, Service, Tls, TlsFiles},
    shutdown,
    switch::Switch,
};

/// What the two ways to serve differ in.
pub(crate) struct Plan {
    /// The model's name.
    pub(crate) model: String,
    /// Who chooses the variant.
    pub(crate) chooser: Chooser,
    /// Whose load is reported.
    pub(crate) identity: Identity,
    /// What inferences are computed with.
    pub(crate) threads: Threads,
    /// Holds a folder for each variant.
    pub(crate) models: PathBuf,
    /// Holds what outlives the process, if there is such a directory.
    pub(crate) store: Option<PathBuf>,
    /// Whether what an earlier process measured holds until it is measured again.
    pub(crate) recall: bool,
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// What to encrypt with, if that is wanted.
    pub(crate) tls: Option<TlsFiles>,
    /// How long to drain.
    pub(crate) drain: Duration,
}

/// A runtime whose threads run, and which listens already, but does not answer yet.
pub(crate) struct Assembly {
    /// Everything that requests need.
    pub(crate) service: Arc<Service>,
    /// The node's limits.
    pub(crate) host: Host,
    /// Where it listens, with the port that was found free where none was named.
    pub(crate) address: SocketAddr,
    /// Cancelled when everything is to end.
    pub(crate) stop: CancellationToken,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    drain: Duration,
    attempts: Attempts,
}

impl Assembly {
    /// Starts the engine, the lane and the keeper, and binds the address.
    pub(crate) async fn start(plan: Plan) -> Result<Self, Error> {
        let Plan { model, chooser, identity, threads, models, store, recall, listen, tls, drain } = plan;
        let tls = match tls {
            Some(files) => Some(Arc::new(Tls::load(files).await?)),
            None => None,
        };
        let listener =
            TcpListener::bind(listen).await.map_err(|source| Error::Listen { address: listen, source })?;
        let address = listener.local_addr().unwrap_or(listen);
        let cgroup = Cgroup::of_this_process("/".as_ref());
        let limits = cgroup.limits();
        let threads = threads.count(limits.quota.map(cgroup::share));
        let engine = OnnxRuntime::start(threads)?;
        let engine = match &store {
            Some(store) => engine.keeping_in(store),
            None => engine,
        };
        let machine = processor::machine(threads, engine.release());
        let basis = Basis { key: OnnxRuntime::machine_key(), machine: machine.clone(), quota: limits.quota };
        let kept = store.as_deref().filter(|_| recall).map(|store| KeptProfiles::read(store, basis));
        let attempts = Attempts::kept_in(store.as_deref());
        let host = Host { limits, base_memory_bytes: ProcessMemory::now().resident(), machine };
        tracing::info!(threads, quota = ?limits.quota, memory_bytes = ?limits.memory_bytes, base_memory_bytes = host.base_memory_bytes, "the engine runs");
        let metrics = Metrics::new(&identity)?;
        metrics.runs_on(engine.release());
        metrics.runs_under(Cgroup::of_this_process("/".as_ref()));
        let switch = Arc::new(Switch::new(Arc::clone(&metrics)));
        let lane = Lane::start(Arc::clone(&switch), shortcut::LONGEST).map_err(Error::Thread)?;
        let lane = Arc::new(lane);
        let held_bytes = reserved_for_requests(limits.memory_bytes);
        let intake = Intake::holding(usize::try_from(held_bytes).unwrap_or(usize::MAX));
        let parts = (Arc::clone(&switch), Arc::clone(&lane), intake);
        let service = Service::new(model, chooser, parts, Arc::clone(&metrics));
        let (tokio, stop) = (Handle::current(), CancellationToken::new());
        let of_cost = tokio.clone();
        let protocol_cost = Box::new(move |like: &_| server::cost::measure(&of_cost, like));
        let engine = Arc::new(engine);
        let keeper = Keeper {
            engine,
            threads,
            models,
            switch,
            lane,
            cgroup,
            host: host.clone(),
            protocol_cost,
            attempts: attempts.clone(),
            kept: kept.unwrap_or_default(),
            metrics,
            notes: Notes::default(),
        };
        let keeper = keeper.start(tokio, stop.clone()).map_err(Error::Thread)?;
        // Nobody waits for it: it may be loading a network, and ends with the process.
        service.keeper.get_or_init(|| keeper);
        Ok(Self { service, host, address, stop, listener, tls, drain, attempts })
    }

    /// Ends everything without having answered.
    pub(crate) fn end(self) {
        self.stop.cancel();
        self.attempts.end();
    }

    /// Answers until a signal comes, drains, and ends everything.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let Self { service, stop, listener, tls, drain, attempts, .. } = self;
        if let Ok(address) = listener.local_addr() {
            // Which port it is where none was named.
            tracing::info!(%address, "listening");
        }
        let router = server::router(Arc::clone(&service));
        let front = match &tls {
            Some(tls) => {
                let unknown = server::router_for_the_unknown(Arc::clone(&service));
                Front::guarded(router, Arc::clone(tls), unknown)
            }
            None => Front::plain(router),
        };
        let keeping_fresh = async {
            if let Some(tls) = &tls {
                stop.run_until_cancelled(tls.keep_fresh(&service.metrics)).await;
            }
        };
        let serving = server::serve(listener, front, stop.clone());
        let draining = shutdown::drain_on_signal(&service, drain, stop.clone());
        let (served, drained, ()) = tokio::join!(serving, draining, keeping_fresh);
        attempts.end();
        served.and(drained).map_err(Error::Serve)
    }
}
