//! The controller of `VariantPlacement`s: one Deployment for each, on its node and nowhere else.
//!
//! observe -> validate -> decide -> build -> apply -> report. Placements are small and independent, so thousands of nodes
//! reconcile side by side. It writes a pod template only if it hashes to what the portfolio controller allowed.

mod apply;
mod build;
mod decide;
mod observe;
mod quantity;
mod report;
mod validate;

use std::{sync::Arc, time::Duration};

use dnnshifter_crds::{EdgeDeviceClass, ModelPortfolio, VariantPlacement, names::PLACEMENT_LABEL};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use kube::{
    Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{Config, Controller, controller::Action, reflector::ObjectRef},
};
use strum::IntoStaticStr;
use tokio_util::sync::CancellationToken;

use self::{decide::Decision, report::Outcome};
use crate::{
    apply::ApplyError,
    metadata::is_ready,
    reconcile::{Context, ErrorKind, after_error, settled, supervised_object, to_the_end},
    telemetry::chain,
    watches::{Guarded, fingerprint, infallible, touched, touched_children},
};

/// Placements that are worked on at the same time.
const CONCURRENCY: u16 = 16;
/// What is not available is looked at again after so long, should nothing wake us.
const UNAVAILABLE_PERIOD: Duration = Duration::from_secs(30);

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum PlacementError {
    #[error(transparent)]
    Observe(#[from] observe::ObserveError),
    #[error(transparent)]
    Decide(#[from] decide::DecideError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl ErrorKind for PlacementError {
    fn kind(&self) -> &'static str {
        self.into()
    }
}

/// Runs until `shutdown`, and until the work in hand is done.
pub(crate) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let stores = &context.stores;
    let of_node =
        placements_where(&context, |placement, node: &Node| placement.spec.node_name == node.name_any());
    let of_class = placements_where(&context, |placement, class: &Guarded<EdgeDeviceClass>| {
        placement.spec.device_class_name == class.name_any()
    });
    let of_portfolio = placements_where(&context, |placement, portfolio: &Guarded<ModelPortfolio>| {
        placement.spec.portfolio_name == portfolio.name_any()
            && placement.namespace() == portfolio.namespace()
    });
    let stream = Controller::for_shared_stream(
        stores.placements.subscribe(spec_changes),
        stores.placements.store.clone(),
    )
    .with_config(Config::default().concurrency(CONCURRENCY))
    .owns_stream(infallible(touched_children::<Deployment>(context.scope(), &context.metrics)))
    .watches_stream(infallible(touched::<Pod>(context.scope(), &context.metrics, PLACEMENT_LABEL)), |pod| {
        of_pod(&pod)
    })
    .watches_shared_stream(stores.classes.subscribe(spec_changes), of_class)
    .watches_shared_stream(stores.portfolios.subscribe(spec_changes), of_portfolio)
    .watches_shared_stream(stores.nodes.subscribe(readiness_changes), of_node)
    .graceful_shutdown_on(shutdown.cancelled_owned())
    .run(
        |object, context| supervised_object(object, context, reconcile_placement),
        after_error,
        Arc::clone(&context),
    );
    to_the_end(stream).await;
}

async fn reconcile_placement(
    object: Arc<VariantPlacement>,
    context: Arc<Context>,
) -> Result<Action, PlacementError> {
    let observed = observe::observe(&context, object).await?;
    let valid = validate::validate(observed);
    let outcome = match decide::decide(&valid, &context.settings.runtime_image)? {
        Decision::Keep(kept) => Outcome::Kept(kept),
        Decision::Apply(wanted) => {
            let deployment = build::deployment(&valid, &wanted);
            match apply::apply_deployment(&context.client, &valid, deployment).await {
                Ok(applied) => Outcome::Applied(applied),
                Err(error) if error.is_refusal() => {
                    report::report(&context, &valid, &Outcome::Refused(chain(&error))).await?;
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let reported = report::report(&context, &valid, &outcome).await?;
    let serves = valid.deployment.as_ref().is_some_and(|deployment| valid.serves(&deployment.into()));
    // A node that is cut off wakes us by its return.
    Ok(if serves || !valid.node_reachable { settled(reported) } else { Action::requeue(UNAVAILABLE_PERIOD) })
}

fn placements_where<O: Send + Sync + 'static>(
    context: &Context,
    concerned: fn(&VariantPlacement, &O) -> bool,
) -> impl Fn(Arc<O>) -> Vec<ObjectRef<Guarded<VariantPlacement>>> + Send + Sync + use<O> {
    let placements = context.stores.placements.store.clone();
    move |other| {
        let found =
            placements.state_filter(|placement| placement.0.as_ref().is_ok_and(|p| concerned(p, &other)));
        found.iter().map(|placement| ObjectRef::from_obj(placement.as_ref())).collect()
    }
}

/// The pods of a placement belong to its Deployment's `ReplicaSet`: only their label leads here.
fn of_pod(pod: &PartialObjectMeta<Pod>) -> Option<ObjectRef<Guarded<VariantPlacement>>> {
    let placement = pod.labels().get(PLACEMENT_LABEL)?;
    Some(ObjectRef::new(placement).within(&pod.namespace()?))
}

fn readiness_changes(node: &Node) -> u64 {
    fingerprint(&(node.uid(), is_ready(node)))
}

fn spec_changes<K: Resource>(object: &K) -> u64 {
    let meta = object.meta();
    fingerprint(&(&meta.uid, meta.generation, meta.deletion_timestamp.is_some()))
}

#[cfg(test)]
mod tests;
