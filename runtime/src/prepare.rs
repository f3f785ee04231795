//! `prepare`: optimises the variants of a directory for this machine, into a store, and ends: the work of a pod's init container.
//!
//! Optimising takes CPU time and memory that requests need, so that it is done before there are any. It never keeps a pod from
//! starting: what fails here is left to the process that serves, which tries again, and reports it. Each attempt is marked as
//! those of that process are ([`attempts`](crate::keeper::attempts)): a network that ends this one is passed over the next time.

use std::{
    path::PathBuf,
    thread,
    time::{Instant, SystemTime},
};

use dnnshifter_portfolio::VariantName;
use tokio::sync::oneshot;

use crate::{
    Error,
    cgroup::Cgroup,
    chain::chain,
    cli::PrepareArguments,
    engine::{Engine, OnnxRuntime, OptimisedError},
    keeper::{
        attempts::Attempts,
        memory::{Budget, ProcessMemory},
    },
    shutdown,
    variant::{self, VariantError},
};

/// What is prepared, and with what.
struct Preparation {
    models: PathBuf,
    engine: OnnxRuntime,
    attempts: Attempts,
    budget: Budget,
}

/// Why a variant was not prepared.
#[derive(Debug, thiserror::Error)]
enum PrepareError {
    /// It cannot be used, or there is no room for optimising it.
    #[error(transparent)]
    Variant(#[from] VariantError),
    /// It cannot be optimised.
    #[error(transparent)]
    Optimised(#[from] OptimisedError),
}

/// Prepares all variants, until a signal comes.
pub(crate) async fn prepare(arguments: PrepareArguments) -> Result<(), Error> {
    let PrepareArguments { models, store } = arguments;
    let attempts = Attempts::kept_in(Some(&store));
    // The work is that of other processes, one thread each.
    let engine = OnnxRuntime::start(1)?.keeping_in(&store);
    let budget = Budget::without_requests(Cgroup::of_this_process("/".as_ref()).limits().memory_bytes);
    let preparation = Preparation { models, engine, attempts: attempts.clone(), budget };
    // Nothing is sent: it closes when the thread ends, however it does.
    let (working, ended) = oneshot::channel::<()>();
    // Not one that the process waits for at its end: a signal ends it at once.
    let work = move || {
        preparation.prepare_all();
        drop(working);
    };
    thread::Builder::new().name("prepare".to_owned()).spawn(work).map_err(Error::Thread)?;
    tokio::select! {
        _ = ended => (),
        signalled = shutdown::signalled() => {
            attempts.end();
            signalled.map_err(Error::Serve)?;
        }
    }
    Ok(())
}

impl Preparation {
    /// The smallest first: it is what serves first.
    fn prepare_all(&self) {
        let order = match variant::found_in(&self.models) {
            Ok(order) => order,
            Err(error) => return tracing::warn!(error = chain(&error), "there are no variants to prepare"),
        };
        let started = Instant::now();
        for name in order.iter().rev() {
            if let Err(error) = self.prepare_one(name) {
                tracing::warn!(variant = %name, error = chain(&error), "failed to prepare a variant: it is left for later");
            }
        }
        tracing::info!(
            variants = order.len(),
            milliseconds = started.elapsed().as_millis() as u64,
            "prepared"
        );
    }

    fn prepare_one(&self, name: &VariantName) -> Result<(), PrepareError> {
        let folder = variant::read(&self.models, name)?;
        if self.engine.was_optimised(folder.network()) {
            return Ok(());
        }
        let needed_bytes = self.engine.peak_bytes(folder.network(), folder.file_bytes());
        self.budget.admit(ProcessMemory::now().resident(), needed_bytes)?;
        let started = Instant::now();
        let attempt = self.attempts.begin(name, SystemTime::now())?;
        let outcome = self.engine.optimise_ahead(folder.network());
        attempt.survived();
        outcome?;
        tracing::info!(variant = %name, milliseconds = started.elapsed().as_millis() as u64, "optimised");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
