//! The controller of `EdgeDeviceClass`es: only their status. Nodes come from the store; nothing is built.

use std::sync::Arc;

use dnnshifter_crds::{
    EdgeDeviceClass, EdgeDeviceClassStatus,
    conditions::{READY, Truth, WantedCondition},
    names::OPERATOR_FIELD_MANAGER,
};
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{Config, Controller, controller::Action, reflector::ObjectRef},
};
use strum::IntoStaticStr;
use tokio_util::sync::CancellationToken;

use crate::{
    apply::{ApplyError, apply_status},
    metadata::selects,
    reasons,
    reconcile::{Context, ErrorKind, Reported, after_error, settled, supervised_object, to_the_end},
    watches::{Guarded, fingerprint},
};

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum DeviceClassError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl ErrorKind for DeviceClassError {
    fn kind(&self) -> &'static str {
        self.into()
    }
}

/// Runs until `shutdown`, and until the work in hand is done.
pub(crate) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let classes = context.stores.classes.clone();
    let all = classes.store.clone();
    let every_class = move |_: Arc<Node>| -> Vec<ObjectRef<Guarded<EdgeDeviceClass>>> {
        all.state().iter().map(|class| ObjectRef::from_obj(class.as_ref())).collect()
    };
    let stream = Controller::for_shared_stream(classes.subscribe(spec_changes), classes.store.clone())
        .with_config(Config::default().concurrency(1))
        .watches_shared_stream(context.stores.nodes.subscribe(label_changes), every_class)
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(
            |object, context| supervised_object(object, context, reconcile_class),
            after_error,
            Arc::clone(&context),
        );
    to_the_end(stream).await;
}

async fn reconcile_class(
    class: Arc<EdgeDeviceClass>,
    context: Arc<Context>,
) -> Result<Action, DeviceClassError> {
    let nodes = context.stores.nodes.store.state();
    let matched = nodes.iter().filter(|node| selects(&class.spec.node_selector, node.labels())).count();
    let status = status(&class, matched, &Time(Timestamp::now()));
    if class.status.as_ref() == Some(&status) {
        return Ok(settled(Reported::Unchanged));
    }
    let name = class.name_any();
    let body = serde_json::to_value(&status).map_err(|source| ApplyError::Json {
        kind: EdgeDeviceClass::kind(&()).into_owned(),
        name: name.clone(),
        source,
    })?;
    let classes = Api::<EdgeDeviceClass>::all(context.client.clone());
    apply_status(&classes, &name, OPERATOR_FIELD_MANAGER, &body).await?;
    Ok(settled(Reported::Written))
}

fn status(class: &EdgeDeviceClass, matched: usize, now: &Time) -> EdgeDeviceClassStatus {
    let ready = WantedCondition {
        type_: READY,
        truth: Truth::from(matched > 0),
        reason: if matched > 0 { reasons::NODES_MATCH } else { reasons::NO_NODE_MATCHES },
        message: if matched > 0 {
            format!("nodes that match: {matched}")
        } else {
            "no node has all labels of spec.nodeSelector".to_owned()
        },
    };
    let stored = class.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    EdgeDeviceClassStatus {
        observed_generation: class.metadata.generation,
        matched_nodes: i32::try_from(matched).unwrap_or(i32::MAX),
        conditions: vec![ready.observed(stored, class.metadata.generation, now)],
    }
}

fn spec_changes(object: &Guarded<EdgeDeviceClass>) -> u64 {
    let meta = object.meta();
    fingerprint(&(&meta.uid, meta.generation))
}

fn label_changes(node: &Node) -> u64 {
    fingerprint(&(node.uid(), node.labels()))
}
