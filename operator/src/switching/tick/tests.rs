//! Rounds against an API server that does not answer. Time is paused: waiting costs none.

use clap::Parser;
use dnnshifter_crds::yaml::from_yaml_documents;
use kube::core::DeserializeGuard;

use super::*;
use crate::{
    fake::{Reply, Requests, api_server},
    settings::Settings,
    stores::Stores,
    switching::{decide::tests::placement, report::suspended},
    telemetry::Metrics,
    watches::Scope,
};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

fn context(answer: fn() -> Reply) -> (Arc<Context>, Requests) {
    let (client, requests) = api_server(move |_, _| answer());
    let metrics = Metrics::new().unwrap();
    let (stores, _watches) = Stores::new(Scope { client: &client, namespaces: &[] }, &metrics);
    let runtime = format!("--runtime-image=r@sha256:{}", "1".repeat(64));
    let arguments = Arguments::parse_from(["operator", &runtime, "--pruner-image=p"]);
    (Context::new("switching", &client, &Arc::new(arguments.settings), &stores, &metrics), requests)
}

fn portfolio(prometheus: &str) -> ModelPortfolio {
    let yaml = format!(
        "
apiVersion: dnnshifter.io/v1alpha1
kind: ModelPortfolio
metadata: {{name: p, namespace: ns, uid: portfolio-uid, generation: 1}}
spec:
  variants: {{published: {{image: 'registry.test/p@sha256:{}'}}}}
  deviceClasses: [{{name: c}}]
  serving: {{latencyObjective: {{milliseconds: 20}}}}
  switching: {{prometheus: {prometheus}}}
",
        "1".repeat(64)
    );
    from_yaml_documents(&yaml).unwrap().remove(0)
}

fn placements(count: usize) -> Vec<Arc<Guarded<VariantPlacement>>> {
    let placed = (0..count).map(|index| {
        let mut placement = placement(None);
        placement.metadata.uid = Some(format!("uid-{index}"));
        Arc::new(DeserializeGuard(Ok(placement)))
    });
    placed.collect()
}

fn history(load: f64) -> LoadHistory {
    let mut history = LoadHistory::default();
    history.observe(Moment::default(), Some(load), Duration::from_mins(1));
    history
}

#[tokio::test(start_paused = true)]
async fn a_round_ends_in_time_when_nothing_answers() {
    let (context, _requests) = context(|| Reply::Silence);
    let portfolio =
        portfolio("{url: 'http://prometheus.test', intervalSeconds: 2, authorizationSecretName: token}");
    let began = Instant::now();
    tick(&context, &portfolio, &placements(1), &mut Memory::default()).await;
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn decisions_that_are_not_written_in_time_are_dropped_and_counted() {
    let (context, requests) = context(|| Reply::Silence);
    let guarded = placements(40);
    let placements: Vec<_> = guarded.iter().filter_map(|placement| placement.0.as_ref().ok()).collect();
    let mut memory = Memory::default();
    for placement in &placements {
        memory.histories.insert(placement.uid().unwrap(), history(110.0));
    }
    let began = Instant::now();
    let round = Round { now: Moment::default(), until: began + Duration::from_secs(2) };
    assert!(switch_all(&context, &placements, &memory, round).await.is_empty());
    assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(!requests.all().is_empty());
    assert_eq!(context.metrics.dropped_decisions.with_label_values(&["deadline"]).get(), 40);
}

#[tokio::test]
async fn a_suspended_portfolio_is_told_of_once() {
    let (context, requests) = context(|| Reply::Ok(serde_json::json!({"metadata": {}})));
    let mut portfolio = portfolio("{url: 'http://prometheus.test'}");
    tell(&context, &portfolio, suspended()).await;
    let patched = requests.of(&http::Method::PATCH);
    let condition = patched[0].body.pointer("/status/conditions/0").unwrap();
    assert_eq!((&condition["status"], &condition["reason"]), (&"Unknown".into(), &"Suspended".into()));
    portfolio.status = Some(serde_json::from_value(patched[0].body["status"].clone()).unwrap());
    let before = requests.all().len();
    tell(&context, &portfolio, suspended()).await;
    assert_eq!(requests.all().len(), before);
}
