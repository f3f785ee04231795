//! A portfolio that was pruned elsewhere: it serves, tells what it does, is applied again without effect, and has neighbours.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::{
    artifacts::VARIANTS,
    load::burst,
    manifests::{self, NODES},
    scene::{Identity, Scene},
};

/// All that belongs to a portfolio but its placements' status, which its runtimes write as they measure.
const CHILDREN: &str = "mv,vpl,deployments,services,serviceaccounts,rolebindings,pods";

/// From `kubectl apply` to answers on every node; then the same `kubectl apply`.
pub async fn serves(scene: &Scene) -> Result<()> {
    let manifest = manifests::published(&scene.namespace, "fashion", &scene.world.artifacts.published);
    let url = scene.settle(&manifest).await?;
    scene.kubectl(&["wait", "--for=condition=Ready", "--timeout=10s", "mpf/fashion"])?;
    for node in NODES {
        let tally = burst(scene, node, &url, "fashion", 20.0, 1.0)?;
        ensure!(tally.variants.contains_key(VARIANTS[0]), "{node} answered with {:?}", tally.variants);
    }
    tells_what_runs_where(scene)?;

    scene.until_condition("fashion", "LoadKnown", "True", super::scene::PATIENCE).await?;
    let (portfolio, children) = (scene.objects("mpf")?, scene.objects(CHILDREN)?);
    scene.apply(&manifest)?;
    // It was seen by the operator: its own answers still come, and all is as it was.
    burst(scene, NODES[0], &url, "fashion", 20.0, 3.0)?;
    ensure!(
        scene.objects("mpf")? == portfolio,
        "applying the same again changed the portfolio: {portfolio:?}"
    );
    same_but_for_status(&children, &scene.objects(CHILDREN)?)
}

/// The columns of `kubectl get mpf,mv,vpl` answer: is it well, what runs where, why.
fn tells_what_runs_where(scene: &Scene) -> Result<()> {
    let shown = scene.kubectl(&["get", "mpf,mv,vpl"])?;
    let line = |words: &[&str]| shown.lines().any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(
        line(&["modelportfolio", "fashion", "True", "Serving", "3"]),
        "no word of the portfolio:\n{shown}"
    );
    for variant in VARIANTS {
        ensure!(line(&["modelvariant", variant, "0."]), "no word of the variant {variant}:\n{shown}");
    }
    for node in NODES {
        ensure!(line(&["variantplacement", node, VARIANTS[0], "True"]), "no word of {node}:\n{shown}");
    }
    Ok(())
}

/// A second portfolio becomes `Ready` on the same nodes, and the first one does not notice.
pub async fn beside_another(scene: &Scene) -> Result<()> {
    let image = &scene.world.artifacts.published;
    let first = scene.settle(&manifests::published(&scene.namespace, "fashion", image)).await?;
    let before = scene.objects("deployments,pods")?;
    let second = scene.settle(&manifests::published(&scene.namespace, "shoes", image)).await?;
    ensure!(first != second, "both portfolios have the address {first}");
    for node in NODES {
        burst(scene, node, &first, "fashion", 20.0, 1.0)?;
        burst(scene, node, &second, "shoes", 20.0, 1.0)?;
    }
    let after = scene.objects("deployments,pods")?;
    let mine = |(name, identity): (&String, &Identity)| {
        Some((name.clone(), after.get(name)?.clone(), identity.clone()))
    };
    let kept: Vec<_> = before.iter().filter_map(mine).collect();
    ensure!(kept.len() == before.len(), "the first portfolio lost something: {before:?}, then {after:?}");
    let rebuilt = kept
        .iter()
        .find(|(_, after, before)| (&after.uid, after.generation) != (&before.uid, before.generation));
    ensure!(rebuilt.is_none(), "the first portfolio was changed: {rebuilt:?}");
    Ok(())
}

/// Nothing is new, gone or wanted otherwise than before.
pub fn same_but_for_status(
    before: &BTreeMap<String, Identity>,
    after: &BTreeMap<String, Identity>,
) -> Result<()> {
    for (name, old) in before {
        let new = after.get(name).with_context(|| format!("{name} is gone"))?;
        let kept = (&new.uid, new.generation, new.restarts) == (&old.uid, old.generation, old.restarts);
        ensure!(kept, "{name} was changed: {old:?}, then {new:?}");
    }
    let added = after.keys().find(|name| !before.contains_key(*name));
    ensure!(added.is_none(), "{added:?} is new");
    Ok(())
}
