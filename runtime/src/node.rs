//! `node`: one portfolio on one node, as its `VariantPlacement` says.
//!
//! Three tasks beside the server: one follows the placement ([`watch`]), one steps down by itself under load ([`reflex`]), one keeps
//! the placement's status true ([`report`]). What a placement asks for ([`wanted`]) and what its status should be ([`status`]) are pure
//! functions. The API server ([`api`]) may be away, or silent, at any time, also at the start: then the placement that was remembered
//! ([`store`]) holds, or else the least accurate variant serves.
//! While a rollout replaces this pod, the placement is meant for the next one already: then this pod keeps its variants.

mod api;
mod reflex;
mod report;
mod status;
mod store;
mod wanted;
mod watch;

use std::{path::Path, sync::Arc, time::Instant};

use dnnshifter_crds::VariantPlacement;
use dnnshifter_portfolio::Policy;
use tokio::sync::watch as channel;

use self::{reflex::Reflex, report::Reporter, store::Store, wanted::Directive, watch::Source};
use crate::{
    Error,
    assembly::{Assembly, Plan, Threads},
    cli::NodeArguments,
    metrics::Identity,
    server::{Chooser, Service},
    variant,
};

/// Serves until a signal comes.
pub(crate) async fn serve(arguments: NodeArguments) -> Result<(), Error> {
    let api = api::placements(&arguments.namespace).await?;
    let store = Store::new(arguments.store.clone(), arguments.placement.clone());
    let assembly = Assembly::start(plan(&arguments)).await?;
    let service = Arc::clone(&assembly.service);
    let template_hash = arguments.template_hash.clone();
    let (seen, latest) = channel::channel(None);
    let (policies, policy) = channel::channel(None);
    let follower = Follower {
        service: Arc::clone(&service),
        seen,
        policies,
        store,
        template_hash: template_hash.clone(),
    };
    follower.start_alone(&arguments.models).await;
    let stop = assembly.stop.clone();
    let reflex = Reflex::new(Arc::clone(&service), assembly.host.clone()).keep_within(policy, stop.clone());
    let following = watch::follow(api.clone(), &arguments.placement, stop.clone(), follower);
    let reporter = Reporter {
        api,
        placement: arguments.placement.clone(),
        pod_uid: arguments.pod_uid.clone(),
        template_hash,
        service,
        host: assembly.host.clone(),
        pauses: report::pauses(),
    };
    let reporting = reporter.keep_reported(latest, stop);
    let (served, (), (), ()) = tokio::join!(assembly.run(), following, reflex, reporting);
    served
}

fn plan(arguments: &NodeArguments) -> Plan {
    Plan {
        model: arguments.portfolio.clone(),
        chooser: Chooser::Placement,
        identity: Identity {
            portfolio: arguments.portfolio.clone(),
            namespace: arguments.namespace.clone(),
            node: arguments.node_name.clone(),
        },
        threads: Threads::OfSharedNode,
        models: arguments.models.clone(),
        store: arguments.store.clone(),
        recall: true,
        listen: arguments.listen,
        tls: arguments.tls.clone().files(),
        drain: arguments.drain.duration(),
    }
}

/// Follows the placement: obeys it, remembers it, and shows it to the reporter.
struct Follower {
    service: Arc<Service>,
    seen: channel::Sender<Option<Arc<VariantPlacement>>>,
    policies: channel::Sender<Option<Policy>>,
    store: Store,
    template_hash: Option<String>,
}

impl Follower {
    /// Serves before the API server has said anything.
    async fn start_alone(&self, models: &Path) {
        let remembered = self.store.load().await;
        let own = self.template_hash.as_deref();
        if let Some(placement) = remembered.filter(|it| wanted::is_meant_for(&it.spec, own)) {
            tracing::info!("the placement that was remembered holds until the API server answers");
            self.obey(&placement, Instant::now());
            return;
        }
        match variant::found_in(models) {
            Ok(order) => self.service.switch.direct(&order, None, Instant::now()),
            Err(error) => tracing::warn!(error = crate::chain::chain(&error), "no variants are mounted"),
        }
    }

    /// Does what a placement asks for, as far as it is meant for this pod's template.
    fn obey(&self, placement: &VariantPlacement, received: Instant) {
        let spec = &placement.spec;
        let switch = &self.service.switch;
        let Directive { order, wanted, latency, policy } =
            if wanted::is_meant_for(spec, self.template_hash.as_deref()) {
                wanted::directive(spec)
            } else {
                let standing = switch.standing();
                wanted::directive_of_another_template(spec, standing.order, standing.wanted)
            };
        switch.direct(&order, wanted, received);
        self.service.lane.keep_within(Some(latency));
        self.policies.send_replace(policy);
    }
}

impl watch::Listener for Follower {
    async fn changed(&mut self, placement: VariantPlacement, source: Source, received: Instant) {
        let before = self.seen.borrow().clone();
        // A list is never behind what was told before, unless etcd was restored: then generations begin again where the backup ended.
        if source == Source::Watch
            && before.as_deref().is_some_and(|before| wanted::is_older(&placement, before))
        {
            return;
        }
        let spec_changed = before.is_none_or(|before| before.spec != placement.spec);
        if spec_changed {
            self.obey(&placement, received);
        }
        let placement = Arc::new(placement);
        self.seen.send_replace(Some(Arc::clone(&placement)));
        if spec_changed && wanted::is_meant_for(&placement.spec, self.template_hash.as_deref()) {
            self.store.save(&placement).await;
        }
    }
}

#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
