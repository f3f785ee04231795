//! The controller of `ModelPortfolio`s: variants, Service, rights, and one `VariantPlacement` for each matching node.
//!
//! observe -> validate -> decide -> build -> apply -> report; the three in the middle are pure. It never touches a pod: that is
//! the `placement` controller's, and never `spec.decision`: that is the switching loop's.

mod apply;
mod build;
mod credentials;
mod decide;
mod known;
mod observe;
mod outcome;
mod registry;
mod report;
mod source;
mod validate;

use std::{sync::Arc, time::Duration};

use dnnshifter_crds::{EdgeDeviceClass, ModelPortfolio, ModelVariant, VariantPlacement, conditions::READY};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Node, Service},
};
use kube::{
    Resource, ResourceExt,
    runtime::{Config, Controller, controller::Action, reflector::ObjectRef},
};
use strum::IntoStaticStr;
use tokio_util::sync::CancellationToken;

use self::{
    apply::AppliedPlacements,
    decide::{Availability, Decision},
    validate::NodeFacts,
};
use crate::{
    apply::ApplyError,
    reasons,
    reconcile::{Context, ErrorKind, Reported, after_error, settled, supervised_object, to_the_end},
    watches::{Guarded, fingerprint, infallible, touched_children},
};

/// Portfolios that are worked on at the same time.
const CONCURRENCY: u16 = 4;
/// A registry that did not answer is asked again after so long.
const REGISTRY_PERIOD: Duration = Duration::from_secs(15);
/// A Job's pods are looked at again after so long: what they say changes nothing that wakes us.
const PRUNING_PERIOD: Duration = Duration::from_secs(30);

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum PortfolioError {
    #[error(transparent)]
    Observe(#[from] observe::ObserveError),
    #[error(transparent)]
    Decide(#[from] decide::DecideError),
    #[error(transparent)]
    Build(#[from] build::BuildError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl ErrorKind for PortfolioError {
    fn kind(&self) -> &'static str {
        self.into()
    }
}

/// Runs until `shutdown`, and until the work in hand is done.
pub(crate) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let stores = &context.stores;
    let (scope, metrics) = (context.scope(), &context.metrics);
    let portfolios = stores.portfolios.store.clone();
    let everyone = move || -> Vec<ObjectRef<Guarded<ModelPortfolio>>> {
        portfolios.state().iter().map(|portfolio| ObjectRef::from_obj(portfolio.as_ref())).collect()
    };
    let (all_of_class, all_of_node) = (everyone.clone(), everyone);
    let stream = Controller::for_shared_stream(
        stores.portfolios.subscribe(own_changes),
        stores.portfolios.store.clone(),
    )
    .with_config(Config::default().concurrency(CONCURRENCY))
    .owns_shared_stream(stores.placements.subscribe(placement_changes))
    .owns_stream(infallible(touched_children::<Job>(scope, metrics)))
    .owns_stream(infallible(touched_children::<ModelVariant>(scope, metrics)))
    .owns_stream(infallible(touched_children::<Service>(scope, metrics)))
    .watches_shared_stream(stores.classes.subscribe(class_changes), move |_| all_of_class())
    .watches_shared_stream(stores.nodes.subscribe(node_changes), move |_| all_of_node())
    .graceful_shutdown_on(shutdown.cancelled_owned())
    .run(
        |object, context| supervised_object(object, context, reconcile_portfolio),
        after_error,
        Arc::clone(&context),
    );
    to_the_end(stream).await;
}

async fn reconcile_portfolio(
    object: Arc<ModelPortfolio>,
    context: Arc<Context>,
) -> Result<Action, PortfolioError> {
    let observed = observe::observe(&context, Arc::clone(&object)).await?;
    let valid = match validate::validate(observed, &context.settings) {
        Ok(valid) => valid,
        Err(error) => {
            return Ok(settled(report::report_invalid(&context, &object, &error).await?));
        }
    };
    let decision = decide::decide(&valid, &context.settings.runtime_image)?;
    let applied = if valid.suspend {
        AppliedPlacements(valid.placements.clone())
    } else {
        let prepared = build::build(&valid, &decision, &context.settings)?;
        match apply::apply_all(&context.client, &valid, &decision, prepared).await {
            Ok(applied) => applied,
            Err(error) if error.is_refusal() => {
                report::report_refused(&context, &valid, &decision, &error).await?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        }
    };
    let reported = report::report(&context, &valid, &decision, &applied).await?;
    Ok(next(&decision, reported))
}

fn next(decision: &Decision, reported: Reported) -> Action {
    match &decision.availability {
        Availability::Pending { reason: reasons::REGISTRY_UNREACHABLE, .. } => {
            Action::requeue(REGISTRY_PERIOD)
        }
        Availability::Pending { reason: reasons::PRUNING, .. } => Action::requeue(PRUNING_PERIOD),
        Availability::Available(_) | Availability::Pending { .. } | Availability::Failed { .. } => {
            settled(reported)
        }
    }
}

/// Our own status is no news; nor is the switching loop's condition.
fn own_changes(object: &Guarded<ModelPortfolio>) -> u64 {
    let meta = object.meta();
    fingerprint(&(&meta.uid, meta.generation, &meta.annotations, meta.deletion_timestamp.is_some()))
}

/// Switches and measurements are no news.
fn placement_changes(object: &Guarded<VariantPlacement>) -> u64 {
    let Ok(placement) = &object.0 else { return 0 };
    let status = placement.status.as_ref();
    let ready = status.and_then(|status| status.conditions.iter().find(|condition| condition.type_ == READY));
    let spec = &placement.spec;
    fingerprint(&(
        &placement.metadata.uid,
        (&spec.revision, &spec.template_hash, &spec.device_class_name),
        serde_json::to_string(&spec.policy).unwrap_or_default(),
        status.map(|status| (&status.template_hash, &status.revision)),
        ready.map(|ready| (&ready.status, &ready.message)),
    ))
}

fn class_changes(object: &Guarded<EdgeDeviceClass>) -> u64 {
    let meta = object.meta();
    fingerprint(&(&meta.uid, meta.generation, meta.deletion_timestamp.is_some()))
}

fn node_changes(node: &Node) -> u64 {
    let NodeFacts { name, labels, reachable } = NodeFacts::from(node);
    fingerprint(&(name, labels, reachable, node.uid()))
}

#[cfg(test)]
mod tests;
