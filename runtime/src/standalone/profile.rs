//! `profile`: measures a directory of variants, as a node does when it starts, and prints what it would report.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use dnnshifter_crds::VariantPlacementStatus;
use dnnshifter_portfolio::NodeProfile;

use crate::{
    Error,
    assembly::{Assembly, Plan, Threads},
    cli::ProfileArguments,
    metrics::Identity,
    server::Chooser,
    switch::{Standing, Switch},
    variant,
};

/// So often it is looked whether the thread that measures still lives.
const LOOK: Duration = Duration::from_secs(1);

/// Measures and prints; variants that cannot be used are told in the log.
pub(crate) async fn profile(arguments: ProfileArguments) -> Result<(), Error> {
    let ProfileArguments { directory, json, threads, store } = arguments;
    let order = variant::found_in(&directory)?;
    if order.is_empty() {
        return Err(Error::NoVariants { directory: directory.display().to_string() });
    }
    let assembly = Assembly::start(Plan {
        model: super::name_of(&directory),
        chooser: Chooser::Clients,
        identity: Identity::default(),
        // What a node would report.
        threads: threads.count.map_or(Threads::OfSharedNode, |count| Threads::Given(count.into())),
        models: directory,
        store,
        // Who asks wants to know how it is now.
        recall: false,
        // Nobody is answered here.
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        tls: None,
        drain: Duration::ZERO,
    })
    .await?;
    let switch = Arc::clone(&assembly.service.switch);
    switch.direct(&order, None, Instant::now());
    let measured = measured(&switch, || assembly.service.alive()).await;
    let host = assembly.host.clone();
    assembly.end();
    let standing = measured?;
    let in_order = order.iter().filter_map(|name| standing.profiles.get(name).cloned());
    let text = if json { as_json(&host.profile(in_order)) } else { Ok(as_table(&host.profile(in_order))) };
    text.and_then(|text| io::stdout().write_all(text.as_bytes())).map_err(Error::Print)
}

/// Waits until all variants are measured.
async fn measured(switch: &Switch, alive: impl Fn() -> bool) -> Result<Standing, Error> {
    let mut changes = switch.changes();
    loop {
        let standing = switch.standing();
        if standing.is_measured() {
            return Ok(standing);
        }
        if !alive() {
            return Err(Error::Keeper);
        }
        // Whether something changed or the time is over: it is looked again.
        drop(tokio::time::timeout(LOOK, changes.changed()).await);
    }
}

/// The fields of a placement's status that a node with this profile would write.
fn as_json(profile: &NodeProfile) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(&VariantPlacementStatus::from(profile))? + "\n")
}

fn as_table(profile: &NodeProfile) -> String {
    let head = format!(
        "{:<20} {:>9} {:>9} {:>9} {:>9} {:>11} {:>10} {:>10}\n",
        "VARIANT", "P50 ms", "P99 ms", "CPU ms", "WARM ms", "PROTOCOL ms", "PRIVATE MB", "MAPPED MB"
    );
    let (ms, mb) = (|us: u64| us as f64 / 1e3, |bytes: u64| bytes as f64 / 1e6);
    let lines = profile.variants.iter().map(|variant| {
        format!(
            "{:<20} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>11.2} {:>10.1} {:>10.1}\n",
            variant.name.as_str(),
            ms(variant.wall.p50_us),
            ms(variant.wall.p99_us),
            ms(variant.cpu.mean_us),
            ms(variant.warm_us),
            ms(variant.protocol_cpu_us),
            mb(variant.anonymous_bytes),
            mb(variant.mapped_bytes),
        )
    });
    std::iter::once(head).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn node() -> NodeProfile {
        let mut variant = testing::profile("macs-100");
        (variant.wall.p50_us, variant.anonymous_bytes) = (2_345, 3_000_000);
        NodeProfile { variants: vec![variant], ..NodeProfile::default() }
    }

    #[test]
    fn a_profile_is_printed_for_people_and_for_programs() {
        let table = as_table(&node());
        let line = table.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(line, ["macs-100", "2.35", "0.00", "0.00", "0.00", "0.10", "3.0", "0.0"]);
        let status: VariantPlacementStatus = serde_json::from_str(&as_json(&node()).unwrap()).unwrap();
        assert_eq!(status.node_profile().unwrap(), node());
    }

    #[tokio::test]
    async fn who_waits_for_a_thread_that_died_is_told() {
        let service = testing::service(Chooser::Clients, vec![testing::resident("a", 1.0)]);
        assert!(matches!(measured(&service.switch, || false).await, Err(Error::Keeper)));
        service.switch.measured(testing::profile("a"));
        assert!(measured(&service.switch, || false).await.is_ok());
    }
}
