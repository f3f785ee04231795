//! Applies what was built, in this order: rights before pods, variants before the placements that name them, then what is
//! used no more is deleted; a Job comes last, so that one which is refused keeps nothing from those that serve. I/O; decides only what is an orphan.

use std::collections::BTreeSet;

use dnnshifter_crds::{ModelVariant, VariantPlacement};
use futures::{StreamExt, stream};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Service, ServiceAccount},
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PatchParams},
    core::NamespaceResourceScope,
};
use tracing::info;

use super::{
    build::{Prepared, ServingObjects, job_name},
    decide::{Decision, JobAction},
    source::Source,
    validate::Valid,
};
use crate::{
    apply::{Applied, ApplyError, Ensured, apply, delete, ensure},
    metadata::{is_controlled_by, is_managed},
};
use dnnshifter_crds::names::OPERATOR_FIELD_MANAGER;

/// Placements that are written at the same time.
const CONCURRENT_WRITES: usize = 16;

/// The placements as they are now. Everything that status says of nodes is said of these.
pub(crate) struct AppliedPlacements(pub(crate) Vec<VariantPlacement>);

pub(crate) async fn apply_all(
    client: &Client,
    valid: &Valid,
    decision: &Decision,
    prepared: Prepared,
) -> Result<AppliedPlacements, ApplyError> {
    let Prepared { pruning, variants, serving, placements } = prepared;
    let namespace = Namespace { client, name: &valid.namespace };
    if let Some(serving) = &serving {
        apply_serving(namespace, valid, serving).await?;
    }
    for variant in &variants {
        let live = valid.children.variants.iter().find(|live| live.name_any() == variant.name_any());
        namespace.ensure::<ModelVariant>(variant, live).await?;
    }
    let applied = apply_placements(namespace, valid, &placements).await?;
    if serving.is_some() {
        delete_placements(namespace, valid, &placements).await?;
    }
    delete_orphans(namespace, valid, decision, &applied).await?;
    if let Some((plan, job)) = &pruning {
        namespace.ensure::<ConfigMap>(plan, None).await?;
        namespace.ensure::<Job>(job, None).await?;
        info!(job = job.name_any(), "started a pruning job");
    }
    Ok(AppliedPlacements(applied))
}

#[derive(Clone, Copy)]
struct Namespace<'a> {
    client: &'a Client,
    name: &'a str,
}

impl Namespace<'_> {
    fn api<K: Applied + kube::Resource<Scope = NamespaceResourceScope>>(self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.name)
    }

    async fn ensure<K>(self, wanted: &K, live: Option<&K>) -> Result<(), ApplyError>
    where
        K: Applied + kube::Resource<Scope = NamespaceResourceScope>,
    {
        match ensure(&self.api(), wanted, live).await? {
            Ensured::Unchanged | Ensured::Written(_) => Ok(()),
        }
    }

    async fn delete<K>(self, name: &str) -> Result<(), ApplyError>
    where
        K: Applied + kube::Resource<Scope = NamespaceResourceScope>,
    {
        info!(kind = %K::kind(&()), name, "deleting what is used no more");
        delete(&self.api::<K>(), name, &DeleteParams::background()).await
    }

    /// A Job is there until its last pod has ended, so that the next one, which waits for that, does not write the same steps.
    async fn delete_job(self, name: &str) -> Result<(), ApplyError> {
        info!(kind = "Job", name, "deleting what is used no more");
        delete(&self.api::<Job>(), name, &DeleteParams::foreground()).await
    }
}

async fn apply_serving(
    namespace: Namespace<'_>,
    valid: &Valid,
    serving: &ServingObjects,
) -> Result<(), ApplyError> {
    let ServingObjects { service, service_account, role_binding } = serving;
    namespace.ensure::<ServiceAccount>(service_account, valid.children.service_account.as_ref()).await?;
    bind_role(namespace, valid.children.role_binding.as_ref(), role_binding).await?;
    if let Some(service) = service {
        namespace.ensure::<Service>(service, valid.children.service.as_ref()).await?;
    }
    Ok(())
}

/// The role of a binding cannot be changed: a binding of ours to another one, of an earlier installation, is made anew.
async fn bind_role(
    namespace: Namespace<'_>,
    live: Option<&RoleBinding>,
    wanted: &RoleBinding,
) -> Result<(), ApplyError> {
    let stale = live.filter(|live| live.role_ref != wanted.role_ref && is_managed(*live));
    if let Some(stale) = stale {
        namespace.delete::<RoleBinding>(&stale.name_any()).await?;
        return namespace.ensure::<RoleBinding>(wanted, None).await;
    }
    namespace.ensure::<RoleBinding>(wanted, live).await
}

/// All of them, even if one is refused.
async fn apply_placements(
    namespace: Namespace<'_>,
    valid: &Valid,
    wanted: &[VariantPlacement],
) -> Result<Vec<VariantPlacement>, ApplyError> {
    let writes: Vec<_> =
        wanted.iter().map(|placement| apply_placement(namespace, valid, placement)).collect();
    let results: Vec<_> = stream::iter(writes).buffer_unordered(CONCURRENT_WRITES).collect().await;
    results.into_iter().collect()
}

/// The decision belongs to another field manager and does not count as a difference; all else must be equal, not only covered,
/// so that a pin that was taken away goes.
async fn apply_placement(
    namespace: Namespace<'_>,
    valid: &Valid,
    wanted: &VariantPlacement,
) -> Result<VariantPlacement, ApplyError> {
    let live = valid.placements.iter().find(|live| live.name_any() == wanted.name_any());
    if let Some(live) = live {
        let mut spec = live.spec.clone();
        spec.decision = None;
        let same_metadata = live.labels() == wanted.labels() && is_controlled_by(live, valid.object.as_ref());
        if spec == wanted.spec && same_metadata {
            return Ok(live.clone());
        }
    }
    apply(&namespace.api(), wanted, &PatchParams::apply(OPERATOR_FIELD_MANAGER).force()).await
}

async fn delete_placements(
    namespace: Namespace<'_>,
    valid: &Valid,
    wanted: &[VariantPlacement],
) -> Result<(), ApplyError> {
    let names: BTreeSet<_> = wanted.iter().map(ResourceExt::name_any).collect();
    for orphan in valid.placements.iter().filter(|placement| !names.contains(&placement.name_any())) {
        namespace.delete::<VariantPlacement>(&orphan.name_any()).await?;
    }
    Ok(())
}

async fn delete_orphans(
    namespace: Namespace<'_>,
    valid: &Valid,
    decision: &Decision,
    placements: &[VariantPlacement],
) -> Result<(), ApplyError> {
    let used = used_revisions(valid, decision, placements);
    for variant in &valid.children.variants {
        if !used.contains(variant.spec.revision.as_str()) && is_controlled_by(variant, valid.object.as_ref())
        {
            namespace.delete::<ModelVariant>(&variant.name_any()).await?;
        }
    }
    let wanted_job = match (&valid.source, decision.job) {
        (Source::Prune(_), JobAction::None | JobAction::Create) => {
            Some(job_name(&valid.name, valid.source.revision()))
        }
        (Source::Prune(_), JobAction::Delete) | (Source::Published(_), _) => None,
    };
    for job in &valid.children.jobs {
        let deleted = job.metadata.deletion_timestamp.is_some();
        if Some(job.name_any()) != wanted_job && !deleted && is_controlled_by(job, valid.object.as_ref()) {
            namespace.delete_job(&job.name_any()).await?;
        }
    }
    for plan in &valid.children.plans {
        if Some(plan.name_any()) != wanted_job && is_controlled_by(plan, valid.object.as_ref()) {
            namespace.delete::<ConfigMap>(&plan.name_any()).await?;
        }
    }
    Ok(())
}

/// The wanted revision, the one that is served, and those that nodes still hold or run.
fn used_revisions<'a>(
    valid: &'a Valid,
    decision: &'a Decision,
    placements: &'a [VariantPlacement],
) -> BTreeSet<&'a str> {
    let held = placements.iter().map(|placement| placement.spec.revision.as_str());
    let run = placements.iter().filter_map(|placement| placement.status.as_ref()?.revision.as_deref());
    let served = decision.served.as_ref().map(|served| served.revision.as_str());
    held.chain(run).chain(served).chain([valid.source.revision()]).collect()
}
