//! `serve`: a directory of variants, without Kubernetes. Clients switch by the model repository extension.

pub(crate) mod profile;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    Error,
    assembly::{Assembly, Plan, Threads},
    cli::ServeArguments,
    metrics::Identity,
    server::Chooser,
    switch::Wanted,
    variant,
};

/// Reason of the variant that serves at first.
pub(crate) const INITIAL: &str = "Initial";

/// Serves until a signal comes.
pub(crate) async fn serve(arguments: ServeArguments) -> Result<(), Error> {
    let ServeArguments { directory, listen, name, variant, latency_objective, threads, store, tls, drain } =
        arguments;
    let order = variant::found_in(&directory)?;
    let nothing = || Error::NoVariants { directory: directory.display().to_string() };
    let first = variant.or_else(|| order.first().cloned()).ok_or_else(nothing)?;
    if !order.contains(&first) {
        return Err(Error::NoSuchVariant { name: first.to_string() });
    }
    let model = name.unwrap_or_else(|| name_of(&directory));
    let identity = Identity { portfolio: model.clone(), ..Identity::default() };
    let (tls, drain) = (tls.files(), drain.duration());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let assembly = Assembly::start(Plan {
        model: model.clone(),
        chooser: Chooser::Clients,
        identity,
        threads: threads.count.map_or(Threads::OfMachine, |count| Threads::Given(count.into())),
        models: directory,
        store,
        recall: true,
        listen,
        tls,
        drain,
    })
    .await?;
    assembly.service.lane.keep_within(latency_objective.map(Duration::from_millis));
    let wanted = Wanted { variant: first, reason: INITIAL.to_owned(), is_ceiling: false };
    assembly.service.switch.direct(&order, Some(wanted), Instant::now());
    tracing::info!(listen = %assembly.address, scheme, model, variants = order.len(), "serving: POST /v2/models/{model}/infer");
    assembly.run().await
}

fn name_of(directory: &Path) -> String {
    let absolute = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    absolute.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}
