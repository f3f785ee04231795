//! The kinds that several parts read: one watch each, started once. Objects are slimmed to what is read of them.

use std::time::Duration;

use dnnshifter_crds::{EdgeDeviceClass, ModelPortfolio, VariantPlacement};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::{Api, ResourceExt, runtime::reflector::store::WriterDropped};

use crate::{
    telemetry::Metrics,
    watches::{Guarded, Scope, shared::Shared},
};

/// What the watches know.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) nodes: Shared<Node>,
    pub(crate) classes: Shared<Guarded<EdgeDeviceClass>>,
    pub(crate) portfolios: Shared<Guarded<ModelPortfolio>>,
    pub(crate) placements: Shared<Guarded<VariantPlacement>>,
}

/// The watches could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    /// Not in time: the log says which watch fails.
    #[error(
        "failed to list nodes and our own kinds within {seconds} seconds: are the CRDs installed, and may we list them?"
    )]
    Deadline {
        /// The deadline.
        seconds: u64,
    },
    /// A watch ended.
    #[error("failed to keep a watch")]
    Ended(#[from] WriterDropped),
}

impl Stores {
    /// The stores, and the futures that keep them current for as long as they are polled.
    pub(crate) fn new(scope: Scope<'_>, metrics: &Metrics) -> (Self, Vec<BoxFuture<'static, ()>>) {
        let (nodes, watch_nodes) = Shared::new(vec![Api::all(scope.client.clone())], metrics, slim_node);
        let (classes, watch_classes) =
            Shared::new(vec![Api::all(scope.client.clone())], metrics, without_managed_fields);
        let (portfolios, watch_portfolios) = Shared::new(scope.apis(), metrics, without_managed_fields);
        let (placements, watch_placements) = Shared::new(scope.apis(), metrics, without_managed_fields);
        let watches: Vec<BoxFuture<'static, ()>> = vec![
            Box::pin(watch_nodes),
            Box::pin(watch_classes),
            Box::pin(watch_portfolios),
            Box::pin(watch_placements),
        ];
        (Self { nodes, classes, portfolios, placements }, watches)
    }

    /// Waits for the first complete list of every kind.
    pub(crate) async fn wait_until_ready(&self, deadline: Duration) -> Result<(), StoresError> {
        let ready = async {
            self.nodes.store.wait_until_ready().await?;
            self.classes.store.wait_until_ready().await?;
            self.portfolios.store.wait_until_ready().await?;
            self.placements.store.wait_until_ready().await
        };
        tokio::time::timeout(deadline, ready)
            .await
            .map_err(|_| StoresError::Deadline { seconds: deadline.as_secs() })?
            .map_err(StoresError::Ended)
    }
}

fn without_managed_fields<K: kube::Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
}

/// A node lists its images, addresses and volumes: kilobytes that nobody reads here.
fn slim_node(node: &mut Node) {
    node.managed_fields_mut().clear();
    node.annotations_mut().clear();
    node.spec = None;
    let status = node.status.take().unwrap_or_default();
    node.status = Some(NodeStatus {
        allocatable: status.allocatable,
        conditions: status.conditions.map(|conditions| {
            conditions.into_iter().filter(|condition| condition.type_ == "Ready").collect()
        }),
        ..NodeStatus::default()
    });
}
