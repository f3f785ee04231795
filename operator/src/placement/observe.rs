//! Reads what a placement's reconcile depends on, once. I/O; decides nothing.

use std::sync::Arc;

use dnnshifter_crds::{
    EdgeDeviceClassSpec, VariantPlacement, model_portfolio::Serving, names::PLACEMENT_LABEL,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use kube::{Api, ResourceExt, api::ListParams, runtime::reflector::ObjectRef};

use super::validate::is_available;
use crate::reconcile::Context;

/// All that was read.
pub(crate) struct Observed {
    pub(crate) object: Arc<VariantPlacement>,
    pub(crate) class: Option<EdgeDeviceClassSpec>,
    /// How the portfolio is served, if it exists.
    pub(crate) serving: Option<Serving>,
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) deployment: Option<Deployment>,
    /// The pods, while they are not available: they say why.
    pub(crate) pods: Vec<Pod>,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObserveError {
    #[error("failed to read deployment {name}")]
    Deployment {
        name: String,
        #[source]
        source: kube::Error,
    },
    #[error("failed to list the pods of deployment {name}")]
    Pods {
        name: String,
        #[source]
        source: kube::Error,
    },
}

pub(crate) async fn observe(
    context: &Context,
    object: Arc<VariantPlacement>,
) -> Result<Observed, ObserveError> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let stores = &context.stores;
    let class = stores.classes.store.get(&ObjectRef::new(&object.spec.device_class_name));
    let portfolio =
        stores.portfolios.store.get(&ObjectRef::new(&object.spec.portfolio_name).within(&namespace));
    let deployments = Api::<Deployment>::namespaced(context.client.clone(), &namespace);
    let deployment = deployments
        .get_opt(&name)
        .await
        .map_err(|source| ObserveError::Deployment { name: name.clone(), source })?;
    let pods = match &deployment {
        Some(deployment) if !is_available(deployment) => {
            let ours = ListParams::default().labels(&format!("{PLACEMENT_LABEL}={name}"));
            let pods = Api::<Pod>::namespaced(context.client.clone(), &namespace);
            pods.list(&ours).await.map_err(|source| ObserveError::Pods { name, source })?.items
        }
        Some(_) | None => Vec::new(),
    };
    Ok(Observed {
        class: class.and_then(|class| class.0.as_ref().ok().map(|class| class.spec.clone())),
        serving: portfolio
            .and_then(|portfolio| portfolio.0.as_ref().ok().map(|portfolio| portfolio.spec.serving.clone())),
        node: stores.nodes.store.get(&ObjectRef::new(&object.spec.node_name)),
        deployment,
        pods,
        object,
    })
}
