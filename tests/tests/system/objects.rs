//! The table of accepted and refused objects (`crds/tests/objects.yaml`), which also runs in process: here the real API server
//! answers.

use anyhow::{Context, Result, bail, ensure};
use dnnshifter_crds::{EdgeDeviceClass, ModelPortfolio, ModelVariant, VariantPlacement};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, Status},
};
use serde_json::Value;

use super::scene::Scene;

#[path = "../../../crds/tests/objects/table.rs"]
mod table;

use table::{Refusal, merge};

fn matches(refusal: &Refusal, status: &Status) -> bool {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    // A missing field is the schema's error at its parent in process, and at itself for the API server.
    let points = |at: &String| {
        causes.iter().any(|cause| cause.field == *at || cause.field.starts_with(&format!("{at}.")))
    };
    refusal.at.as_ref().is_none_or(points)
        && refusal.says.as_ref().is_none_or(|words| status.message.contains(words))
}

/// Creates each object of the table, and changes it where the table says so.
pub async fn table(scene: &Scene) -> Result<()> {
    let table = table::read()?;
    ensure!(!table.cases.is_empty(), "the table is empty");
    let mut wrong = Vec::new();
    for case in &table.cases {
        let base = table.bases.get(&case.base).with_context(|| format!("there is no base {}", case.base))?;
        let mut object = base.clone();
        merge(&mut object, &case.patch);
        let answer = ask(scene, object, case.then.as_ref()).await.with_context(|| case.title.clone())?;
        let as_expected = match (&case.refused, &answer) {
            (None, answer) => answer.is_none(),
            (Some(refusal), Some(status)) => matches(refusal, status),
            (Some(_), None) => false,
        };
        if !as_expected {
            wrong.push(format!("{}: {}", case.title, answer.map_or("accepted".to_owned(), |s| s.message)));
        }
    }
    ensure!(wrong.is_empty(), "the API server does not answer as the table says:\n{}", wrong.join("\n"));
    Ok(())
}

/// The API server's refusal of the object, or of its change; nothing is left of either.
async fn ask(scene: &Scene, object: Value, then: Option<&Value>) -> Result<Option<Status>> {
    let (resource, namespaced) = match object.get("kind").and_then(Value::as_str).unwrap_or_default() {
        "ModelPortfolio" => (ApiResource::erase::<ModelPortfolio>(&()), true),
        "EdgeDeviceClass" => (ApiResource::erase::<EdgeDeviceClass>(&()), false),
        "ModelVariant" => (ApiResource::erase::<ModelVariant>(&()), true),
        "VariantPlacement" => (ApiResource::erase::<VariantPlacement>(&()), true),
        kind => bail!("the table has an object of kind {kind:?}"),
    };
    let api: Api<DynamicObject> = if namespaced {
        Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource)
    } else {
        Api::all_with(scene.client.clone(), &resource)
    };
    let object: DynamicObject = serde_json::from_value(object)?;
    let name = object.metadata.name.clone().context("an object has a name")?;
    let create = PostParams { dry_run: then.is_none(), ..PostParams::default() };
    if let Err(refusal) = api.create(&create, &object).await {
        return refused(refusal).map(Some);
    }
    let Some(then) = then else { return Ok(None) };
    let change = PatchParams { dry_run: true, ..PatchParams::default() };
    let answer = api.patch(&name, &change, &Patch::Merge(then)).await;
    api.delete(&name, &DeleteParams::default()).await.context("failed to delete the object again")?;
    answer.err().map(refused).transpose()
}

fn refused(error: kube::Error) -> Result<Status> {
    match error {
        kube::Error::Api(status) => Ok(*status),
        other => Err(other).context("the API server did not answer"),
    }
}
