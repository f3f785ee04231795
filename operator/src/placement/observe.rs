//! Reads what a placement's reconcile depends on, once. I/O; decides nothing.

use std::sync::Arc;

use dnnshifter_crds::{
    EdgeDeviceClassSpec, VariantPlacement, model_portfolio::Serving, names::PLACEMENT_LABEL,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod, Secret},
};
use kube::{Api, Client, ResourceExt, api::ListParams, runtime::reflector::ObjectRef};

use super::validate::{is_available, pod_spec};
use crate::{reconcile::Context, template::tls};

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
    /// The Secrets with certificates of the applied template that exist, while the pods are not available.
    pub(crate) secrets: Vec<Secret>,
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
    #[error("failed to read secret {name}")]
    Secret {
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
    let serving = portfolio
        .and_then(|portfolio| portfolio.0.as_ref().ok().map(|portfolio| portfolio.spec.serving.clone()));
    let (pods, secrets) = match deployment.as_ref().filter(|deployment| !is_available(deployment)) {
        Some(deployment) => {
            let secrets = certificates(&context.client, &namespace, deployment).await?;
            (pods(&context.client, &namespace, name).await?, secrets)
        }
        None => (Vec::new(), Vec::new()),
    };
    Ok(Observed {
        class: class.and_then(|class| class.0.as_ref().ok().map(|class| class.spec.clone())),
        serving,
        node: stores.nodes.store.get(&ObjectRef::new(&object.spec.node_name)),
        deployment,
        pods,
        secrets,
        object,
    })
}

async fn pods(client: &Client, namespace: &str, placement: String) -> Result<Vec<Pod>, ObserveError> {
    let ours = ListParams::default().labels(&format!("{PLACEMENT_LABEL}={placement}"));
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let listed = pods.list(&ours).await;
    Ok(listed.map_err(|source| ObserveError::Pods { name: placement, source })?.items)
}

async fn certificates(
    client: &Client,
    namespace: &str,
    deployment: &Deployment,
) -> Result<Vec<Secret>, ObserveError> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let mut found = Vec::new();
    for name in pod_spec(deployment).into_iter().flat_map(tls::secret_names) {
        let read = secrets.get_opt(name).await;
        found.extend(read.map_err(|source| ObserveError::Secret { name: name.to_owned(), source })?);
    }
    Ok(found)
}
