//! Reads all that a portfolio's reconcile depends on, once. I/O; decides nothing.
//!
//! Nodes, classes and placements come from the stores, since there may be thousands; the few children are read live, since
//! something may be deleted or replaced by what is seen of them.

use std::{collections::BTreeMap, sync::Arc};

use dnnshifter_crds::{
    EdgeDeviceClassSpec, ModelPortfolio, ModelVariant, VariantPlacement, names::PORTFOLIO_LABEL,
};
use dnnshifter_portfolio::PortfolioManifest;
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{ConfigMap, Node, Pod, Service, ServiceAccount},
        rbac::v1::RoleBinding,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, ResourceExt, api::ListParams, core::PartialObjectMeta};

use super::{
    build::{RUNTIME_ROLE_BINDING, job_name},
    known,
    registry::{self, RegistryError},
    source::Source,
};
use crate::{metadata::owner_reference, reconcile::Context, template::RUNTIME_SERVICE_ACCOUNT};

/// All that was read.
pub(crate) struct Observed {
    pub(crate) object: Arc<ModelPortfolio>,
    /// Every portfolio of the namespace, this one included: they share the runtime's `ServiceAccount`.
    pub(crate) siblings: Vec<OwnerReference>,
    /// The classes that the portfolio names, as far as they exist.
    pub(crate) classes: BTreeMap<String, EdgeDeviceClassSpec>,
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) placements: Vec<VariantPlacement>,
    pub(crate) children: Children,
    pub(crate) answer: Answer,
}

/// The children that are few.
#[derive(Default)]
pub(crate) struct Children {
    pub(crate) variants: Vec<ModelVariant>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) plans: Vec<PartialObjectMeta<ConfigMap>>,
    pub(crate) service: Option<Service>,
    pub(crate) service_account: Option<ServiceAccount>,
    pub(crate) role_binding: Option<RoleBinding>,
}

/// What the source of the variants answered.
pub(crate) enum Answer {
    /// Not asked: the variants of the wanted revision are known already, or the specification is invalid.
    None,
    /// The registry.
    Registry(Result<PortfolioManifest, RegistryError>),
    /// The pods of the wanted revision's Job, if there is one.
    Job(Vec<Pod>),
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObserveError {
    #[error("failed to read the {what}")]
    Read {
        what: &'static str,
        #[source]
        source: kube::Error,
    },
}

pub(crate) async fn observe(
    context: &Context,
    object: Arc<ModelPortfolio>,
) -> Result<Observed, ObserveError> {
    let children = children(context, &object).await?;
    let answer = ask(context, &object, &children).await?;
    let namespace = object.namespace();
    let siblings = context.stores.portfolios.store.state();
    let mut siblings: Vec<_> = siblings
        .iter()
        .filter_map(|sibling| sibling.0.as_ref().ok())
        .filter(|sibling| sibling.namespace() == namespace && sibling.metadata.deletion_timestamp.is_none())
        .map(owner_reference)
        .collect();
    siblings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Observed {
        siblings,
        classes: classes(context, &object),
        nodes: context.stores.nodes.store.state(),
        placements: placements(context, &object),
        children,
        answer,
        object,
    })
}

fn classes(context: &Context, object: &ModelPortfolio) -> BTreeMap<String, EdgeDeviceClassSpec> {
    let named = |name: &str| object.spec.device_classes.iter().any(|class| class.name == name);
    let classes = context.stores.classes.store.state();
    let readable = classes.iter().filter_map(|class| class.0.as_ref().ok());
    readable
        .filter(|class| named(&class.name_any()) && class.metadata.deletion_timestamp.is_none())
        .map(|class| (class.name_any(), class.spec.clone()))
        .collect()
}

fn placements(context: &Context, object: &ModelPortfolio) -> Vec<VariantPlacement> {
    let (namespace, name) = (object.namespace(), object.name_any());
    let ours = context.stores.placements.store.state_filter(|placement| {
        placement.0.as_ref().is_ok_and(|placement| {
            placement.namespace() == namespace && placement.spec.portfolio_name == name
        })
    });
    ours.iter().filter_map(|placement| placement.0.as_ref().ok().cloned()).collect()
}

async fn children(context: &Context, object: &ModelPortfolio) -> Result<Children, ObserveError> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let ours = ListParams::default().labels(&format!("{PORTFOLIO_LABEL}={name}"));
    let client = || context.client.clone();
    let variants = Api::<ModelVariant>::namespaced(client(), &namespace);
    let jobs = Api::<Job>::namespaced(client(), &namespace);
    let plans = Api::<PartialObjectMeta<ConfigMap>>::namespaced(client(), &namespace);
    let services = Api::<Service>::namespaced(client(), &namespace);
    let accounts = Api::<ServiceAccount>::namespaced(client(), &namespace);
    let bindings = Api::<RoleBinding>::namespaced(client(), &namespace);
    let failed = |what| move |source| ObserveError::Read { what, source };
    let (variants, jobs, plans, service, service_account, role_binding) = tokio::try_join!(
        async { variants.list(&ours).await.map_err(failed("variants")) },
        async { jobs.list(&ours).await.map_err(failed("jobs")) },
        async { plans.list(&ours).await.map_err(failed("plans")) },
        async { services.get_opt(&name).await.map_err(failed("service")) },
        async { accounts.get_opt(RUNTIME_SERVICE_ACCOUNT).await.map_err(failed("service account")) },
        async { bindings.get_opt(RUNTIME_ROLE_BINDING).await.map_err(failed("role binding")) },
    )?;
    Ok(Children {
        variants: variants.items,
        jobs: jobs.items,
        plans: plans.items,
        service,
        service_account,
        role_binding,
    })
}

/// Asks the source only for what is not known yet.
async fn ask(
    context: &Context,
    object: &ModelPortfolio,
    children: &Children,
) -> Result<Answer, ObserveError> {
    let namespace = object.namespace().unwrap_or_default();
    // An invalid source is reported by `validate`.
    let Ok(source) = Source::parse(&object.spec, &context.settings.runtime_image) else {
        return Ok(Answer::None);
    };
    if known::variants(object, &children.variants, source.revision()).is_some() {
        return Ok(Answer::None);
    }
    match &source {
        Source::Published(published) => {
            let request = registry::Request {
                namespace: &namespace,
                source: published,
                pull_secrets: &object.spec.serving.image_pull_secrets,
                plain_http_registries: &context.settings.plain_http_registries,
            };
            Ok(Answer::Registry(registry::read(&context.client, request).await))
        }
        Source::Prune(_) => {
            let name = job_name(&object.name_any(), source.revision());
            if !children.jobs.iter().any(|job| job.name_any() == name) {
                return Ok(Answer::Job(Vec::new()));
            }
            let pods = Api::<Pod>::namespaced(context.client.clone(), &namespace);
            let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
            let pods = pods
                .list(&of_job)
                .await
                .map_err(|source| ObserveError::Read { what: "job's pods", source })?;
            Ok(Answer::Job(pods.items))
        }
    }
}
