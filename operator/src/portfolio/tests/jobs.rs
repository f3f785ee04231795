use super::{
    super::{
        decide::{Availability, JobAction},
        source::Source as Wanted,
    },
    PRUNED, RUNTIME, Source, decided, manifest, valid,
};

fn revision(yaml: &str) -> (String, String) {
    match valid(yaml, Source::Silent).source {
        Wanted::Prune(prune) => (prune.plan.training_revision, prune.plan.revision),
        Wanted::Published(_) => panic!("expected a plan"),
    }
}

/// The wanted Job with one condition, and its pod with an end.
fn finished(condition: &str, generation: u32, exit_code: u32, message: &str) -> String {
    let (_, revision) = revision(PRUNED);
    let message = serde_json::to_string(message).unwrap();
    format!(
        "{PRUNED}\n---\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: fashion-{revision}, annotations: {{dnnshifter.io/generation: '{generation}'}}}}
status: {{conditions: [{{type: {condition}, status: 'True', message: 'the verdict'}}]}}
---
apiVersion: v1\nkind: Pod\nmetadata: {{name: pod}}
status: {{containerStatuses: [{{name: pruner, image: i, imageID: i, ready: false, restartCount: 0, state: {{terminated: {{exitCode: {exit_code}, message: {message}}}}}}}]}}\n"
    )
}

fn outcome(yaml: &str) -> (Availability, JobAction) {
    let decision = decided(&valid(yaml, Source::Pods));
    (decision.availability, decision.job)
}

fn answer(revision: &str) -> String {
    let portfolio = dnnshifter_portfolio::PortfolioManifest { revision: revision.to_owned(), ..manifest() };
    let digest = dnnshifter_portfolio::Digest::parse(&format!("sha256:{}", "4".repeat(64))).unwrap();
    serde_json::to_string(&dnnshifter_portfolio::PruningOutcome { digest, portfolio }).unwrap()
}

#[test]
fn the_answer_of_the_wanted_revision_is_used() {
    let (availability, job) = outcome(&finished("Complete", 3, 0, &answer(&revision(PRUNED).1)));
    let Availability::Available(variants) = availability else { panic!("{availability:?}") };
    assert_eq!(variants[0].image, format!("registry.test/fashion@sha256:{}", "2".repeat(64)));
    assert_eq!(job, JobAction::None);
}

#[test]
fn an_answer_that_is_for_another_revision_or_gone_makes_the_job_run_again() {
    for yaml in [finished("Complete", 3, 0, &answer("other")), finished("Complete", 3, 1, "x")] {
        let (availability, job) = outcome(&yaml);
        assert!(matches!(availability, Availability::Pending { .. }), "{availability:?}");
        assert_eq!(job, JobAction::Delete);
    }
}

#[test]
fn a_failed_job_says_what_its_pod_said_and_stays_failed_until_the_specification_changes() {
    let (availability, job) = outcome(&finished("Failed", 3, 65, "the model is no ONNX file\n"));
    let expected =
        Availability::Failed { reason: "PruningFailed", message: "the model is no ONNX file".to_owned() };
    assert_eq!((availability, job), (expected, JobAction::None));
    let (availability, job) = outcome(&finished("Failed", 2, 65, "the model is no ONNX file"));
    assert!(matches!(availability, Availability::Pending { .. }));
    assert_eq!(job, JobAction::Delete);
}

/// The wanted Job at work, and its pod with this state.
fn unfinished(generation: u32, state: &str) -> String {
    finished("Suspended", generation, 0, "").replace("terminated: {exitCode: 0, message: \"\"}", state)
}

#[test]
fn a_job_that_never_started_begins_anew_when_the_specification_changes_and_says_what_it_waits_for() {
    let waiting = "waiting: {reason: ImagePullBackOff, message: no such image}";
    let (availability, job) = outcome(&unfinished(3, waiting));
    assert_eq!(job, JobAction::None);
    assert!(
        matches!(&availability, Availability::Pending { message, .. } if message.ends_with("waits: ImagePullBackOff: no such image")),
        "{availability:?}"
    );
    assert_eq!(outcome(&unfinished(2, waiting)).1, JobAction::Delete);
    let running = "running: {startedAt: '2026-01-01T00:00:00Z'}";
    assert_eq!(outcome(&unfinished(2, running)).1, JobAction::None);
}

/// A new runtime packages the same training anew: two Jobs of it would write the same steps.
#[test]
fn a_job_waits_until_that_of_an_earlier_revision_has_ended() {
    let earlier = |status: &str| {
        format!(
            "{PRUNED}\n---\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: fashion-0123456789, deletionTimestamp: '2026-01-01T00:00:00Z', ownerReferences: [{{apiVersion: dnnshifter.io/v1alpha1, kind: ModelPortfolio, name: fashion, uid: portfolio-uid, controller: true}}]}}\nstatus: {status}\n"
        )
    };
    let (availability, job) = outcome(&earlier("{active: 1}"));
    assert_eq!(job, JobAction::None);
    assert!(
        matches!(&availability, Availability::Pending { message, .. } if message.ends_with("waits until fashion-0123456789 has ended")),
        "{availability:?}"
    );
    let (_, job) = outcome(&earlier("{conditions: [{type: Failed, status: 'True'}]}"));
    assert_eq!(job, JobAction::Create);
}

#[test]
fn a_job_that_took_too_long_says_so_whatever_its_pod_said() {
    let late = finished("Failed", 3, 143, "terminated")
        .replace("message: 'the verdict'", "reason: DeadlineExceeded, message: 'the verdict'");
    let (availability, _) = outcome(&late);
    assert!(
        matches!(&availability, Availability::Failed { message, .. } if message == "the verdict"),
        "{availability:?}"
    );
}

#[test]
fn a_pod_that_said_nothing_is_told_by_its_exit_code() {
    let (availability, _) = outcome(&finished("Failed", 3, 137, ""));
    assert!(matches!(availability, Availability::Failed { message, .. } if message == "exit code 137"));
}

#[test]
fn only_what_training_depends_on_trains_anew_and_a_new_runtime_or_repository_packages_anew() {
    let (training, packaging) = revision(PRUNED);
    let changed = |from: &str, to: &str| {
        assert!(PRUNED.contains(from));
        revision(&PRUNED.replace(from, to))
    };
    assert_eq!(changed("cpu: '2'", "cpu: '4'"), (training.clone(), packaging.clone()));
    assert_eq!(
        changed("pushSecretName: push", "pushSecretName: other"),
        (training.clone(), packaging.clone())
    );
    let (same, other) = changed("registry.test/fashion", "registry.test/other");
    assert!(same == training && other != packaging);
    let (other, _) = changed("minimumAccuracy: '0.8'", "minimumAccuracy: '0.7'");
    assert_ne!(other, training);
    let spec = &valid(PRUNED, Source::Silent).object.spec;
    let Ok(Wanted::Prune(prune)) = Wanted::parse(spec, &RUNTIME.replace('a', "b")) else {
        panic!("expected a plan")
    };
    assert!(prune.plan.training_revision == training && prune.plan.revision != packaging);
}
