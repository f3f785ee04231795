//! Leader election on a Lease: one of several replicas works at a time.
//!
//! Expiry is counted on our own monotonic clock from when we last saw the record change, never by another host's time; every
//! write carries the `resourceVersion` of what was read, so two candidates that see the same expired Lease cannot both win; who
//! cannot renew in time has lost, before another may take over. [`election`] decides; the rest here is I/O.

mod election;

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::telemetry::chain;
use election::{Election, Step};

/// How long a leader that is not heard of keeps the Lease.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How often the leader renews.
const RENEW_PERIOD: Duration = Duration::from_secs(5);
/// The leader that has not renewed for so long stops: well before another may take the Lease.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often a candidate looks.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// One call to the API server; two fit in the renew deadline.
const CALL_DEADLINE: Duration = Duration::from_secs(4);

/// This replica's part in the election.
pub(crate) struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
}

/// Why this replica does not lead any more.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipLost {
    /// The Lease names another replica.
    #[error("failed to keep the lease: {holder} holds it now")]
    Taken {
        /// The other replica.
        holder: String,
    },
    /// The API server could not be reached for too long.
    #[error("failed to renew the lease for {seconds} seconds")]
    Expired {
        /// For how long.
        seconds: u64,
    },
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("failed to reach the API server within {} seconds", CALL_DEADLINE.as_secs())]
    Deadline,
    #[error("failed to read or write the lease")]
    Api(#[from] kube::Error),
}

impl Candidate {
    /// `client` should not retry by itself: a late answer is worth nothing here.
    pub(crate) fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self { leases: Api::namespaced(client, namespace), name: name.to_owned(), identity }
    }

    /// Waits until this replica leads. Cancel-safe.
    pub(crate) async fn acquire(&self) -> Lease {
        let mut election = Election::new(self.identity.clone());
        let mut ticks = interval(RETRY_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.campaign(&mut election).await {
                Ok(Some(lease)) => {
                    info!(lease = self.name, identity = self.identity, "leading");
                    return lease;
                }
                Ok(None) => {}
                Err(error) => {
                    warn!(error = chain(&error), "failed to take part in the election, will try again");
                }
            }
        }
    }

    /// Renews until that fails for too long.
    pub(crate) async fn hold(&self, mut lease: Lease) -> LeadershipLost {
        let mut renewed = Instant::now();
        let mut ticks = interval(RENEW_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = tokio::time::sleep_until(renewed + RENEW_DEADLINE) => {
                    return LeadershipLost::Expired { seconds: RENEW_DEADLINE.as_secs() };
                }
            }
            let asked = Instant::now();
            match self.renew(&lease).await {
                Ok(Ok(renewal)) => (lease, renewed) = (renewal, asked),
                Ok(Err(lost)) => return lost,
                Err(error) => warn!(error = chain(&error), "failed to renew the lease, will try again"),
            }
            if asked.duration_since(renewed) >= RENEW_DEADLINE {
                return LeadershipLost::Expired { seconds: RENEW_DEADLINE.as_secs() };
            }
        }
    }

    /// Gives the Lease back, so that another replica need not wait for its expiry.
    pub(crate) async fn release(&self) {
        let released = async {
            let Some(mut lease) = self.read().await? else { return Ok(()) };
            if holder(&lease) == Some(&self.identity) {
                if let Some(spec) = &mut lease.spec {
                    spec.holder_identity = None;
                }
                self.write(&lease).await?;
            }
            Ok::<_, CallError>(())
        };
        match released.await {
            Ok(()) => info!(lease = self.name, "released the lease"),
            Err(error) => warn!(error = chain(&error), "failed to release the lease: it will expire"),
        }
    }

    async fn campaign(&self, election: &mut Election) -> Result<Option<Lease>, CallError> {
        let Some(lease) = self.read().await? else {
            let lease = self.claim(Lease::default());
            return unless_conflict(call(self.leases.create(&PostParams::default(), &lease)).await);
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        match election.observe(holder(&lease), &version, LEASE_DURATION, Instant::now()) {
            Step::Wait => Ok(None),
            Step::Take => unless_conflict(self.write(&self.claim(lease)).await),
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<Result<Lease, LeadershipLost>, CallError> {
        let written = unless_conflict(self.write(&self.claim(lease.clone())).await)?;
        if let Some(lease) = written {
            return Ok(Ok(lease));
        }
        // Somebody wrote it meanwhile: perhaps only a label.
        let Some(current) = self.read().await? else {
            return Ok(Err(LeadershipLost::Taken { holder: "nobody".to_owned() }));
        };
        match holder(&current) {
            Some(holder) if *holder == self.identity => Ok(Ok(self.write(&self.claim(current)).await?)),
            other => Ok(Err(LeadershipLost::Taken {
                holder: other.cloned().unwrap_or_else(|| "nobody".to_owned()),
            })),
        }
    }

    /// The record as it should be while we lead; times are for people.
    fn claim(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = lease.spec.take().unwrap_or_default();
        let ours = old.holder_identity.as_ref() == Some(&self.identity);
        let transitions = old.lease_transitions.unwrap_or(0);
        lease.metadata = ObjectMeta { name: Some(self.name.clone()), managed_fields: None, ..lease.metadata };
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            acquire_time: if ours { old.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if ours { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        });
        lease
    }

    async fn read(&self) -> Result<Option<Lease>, CallError> {
        call(self.leases.get_opt(&self.name)).await
    }

    async fn write(&self, lease: &Lease) -> Result<Lease, CallError> {
        call(self.leases.replace(&self.name, &PostParams::default(), lease)).await
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    Ok(timeout(CALL_DEADLINE, request).await.map_err(|_| CallError::Deadline)??)
}

fn unless_conflict(result: Result<Lease, CallError>) -> Result<Option<Lease>, CallError> {
    match result {
        Ok(lease) => Ok(Some(lease)),
        Err(CallError::Api(kube::Error::Api(status))) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
