//! `node`: one portfolio on one node, as its `VariantPlacement` says.
//!
//! Two tasks beside the server: one follows the placement ([`watch`]), one keeps its status true ([`report`]). What a placement
//! asks for ([`wanted`]) and what its status should be ([`status`]) are pure functions. The API server may be away at any time,
//! also at the start: then the placement that was remembered ([`store`]) holds, or else the least accurate variant serves.
//! While a rollout replaces this pod, the placement is meant for the next one already: then this pod keeps its variants.

mod report;
mod status;
mod store;
mod wanted;
mod watch;

use std::{path::Path, sync::Arc, time::Instant};

use dnnshifter_crds::VariantPlacement;
use kube::{Api, Client, Config};
use tokio::sync::watch as channel;

use self::{report::Reporter, store::Store, wanted::Directive};
use crate::{
    Error,
    assembly::{Assembly, Plan},
    cli::NodeArguments,
    metrics::Identity,
    server::{Chooser, Service},
    variant,
};

/// Serves until a signal comes.
pub(crate) async fn serve(arguments: NodeArguments) -> Result<(), Error> {
    let api = placements(&arguments.namespace).await?;
    let store = Store::new(arguments.store.clone(), arguments.placement.clone());
    let assembly = Assembly::start(plan(&arguments)).await?;
    let service = Arc::clone(&assembly.service);
    let template_hash = arguments.template_hash.clone();
    start_alone(&service, &store, template_hash.as_deref(), &arguments.models).await;

    let (seen, latest) = channel::channel(None);
    let stop = assembly.stop.clone();
    let follower =
        Follower { service: Arc::clone(&service), seen, store, template_hash: template_hash.clone() };
    let following = watch::follow(api.clone(), &arguments.placement, stop.clone(), follower);
    let reporter = Reporter {
        api,
        placement: arguments.placement.clone(),
        pod_uid: arguments.pod_uid.clone(),
        template_hash,
        service,
        host: assembly.host,
    };
    let reporting = reporter.keep_reported(latest, stop);
    let (served, (), ()) = tokio::join!(assembly.run(), following, reporting);
    served
}

async fn placements(namespace: &str) -> Result<Api<VariantPlacement>, Error> {
    let config = Config::infer().await.map_err(|source| Error::KubernetesConfiguration(Box::new(source)))?;
    let client = Client::try_from(config).map_err(|source| Error::Kubernetes(Box::new(source)))?;
    Ok(Api::namespaced(client, namespace))
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
        models: arguments.models.clone(),
        store: arguments.store.clone(),
        listen: arguments.listen,
        tls: arguments.tls.clone().files(),
        drain: arguments.drain.duration(),
    }
}

/// Serves before the API server has said anything.
async fn start_alone(service: &Service, store: &Store, template_hash: Option<&str>, models: &Path) {
    let remembered = store.load().await;
    if let Some(placement) = remembered.filter(|it| wanted::is_meant_for(&it.spec, template_hash)) {
        tracing::info!("the placement that was remembered holds until the API server answers");
        obey(service, &placement, template_hash, Instant::now());
        return;
    }
    match variant::found_in(models) {
        Ok(order) => service.switch.direct(&order, None, Instant::now()),
        Err(error) => tracing::warn!(error = crate::keeper::chain(&error), "no variants are mounted"),
    }
}

/// Does what a placement asks for, as far as it is meant for this pod's template.
fn obey(service: &Service, placement: &VariantPlacement, template_hash: Option<&str>, received: Instant) {
    let spec = &placement.spec;
    let Directive { order, wanted, latency } = if wanted::is_meant_for(spec, template_hash) {
        wanted::directive(spec)
    } else {
        let standing = service.switch.standing();
        wanted::directive_of_another_template(spec, standing.order, standing.wanted)
    };
    service.switch.direct(&order, wanted, received);
    service.lane.keep_within(Some(latency));
}

/// Follows the placement: obeys it, remembers it, and shows it to the reporter.
struct Follower {
    service: Arc<Service>,
    seen: channel::Sender<Option<Arc<VariantPlacement>>>,
    store: Store,
    template_hash: Option<String>,
}

impl watch::Listener for Follower {
    async fn changed(&mut self, placement: VariantPlacement, received: Instant) {
        let before = self.seen.borrow().clone();
        if before.as_deref().is_some_and(|before| wanted::is_older(&placement, before)) {
            return;
        }
        let spec_changed = before.is_none_or(|before| before.spec != placement.spec);
        if spec_changed {
            obey(&self.service, &placement, self.template_hash.as_deref(), received);
        }
        let placement = Arc::new(placement);
        self.seen.send_replace(Some(Arc::clone(&placement)));
        if spec_changed && wanted::is_meant_for(&placement.spec, self.template_hash.as_deref()) {
            self.store.save(&placement).await;
        }
    }
}

#[cfg(test)]
mod tests;
