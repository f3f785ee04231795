//! What became of the pruning Job: read from its conditions, and from the termination message of its pod. Pure.

use dnnshifter_crds::ModelPortfolio;
use dnnshifter_portfolio::{PortfolioManifest, PruningOutcome};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerStateTerminated, Pod},
};
use kube::ResourceExt;

use super::{
    build::{GENERATION_ANNOTATION, PRUNER_CONTAINER, job_name},
    source::Source,
};
use crate::{metadata::is_controlled_by, pods::complaint};

/// The state of the wanted revision's Job.
#[derive(Debug, PartialEq)]
pub(crate) enum JobState {
    /// There is none.
    Absent,
    /// There is none yet: one of an earlier revision has to end first, which may write the same steps of the same training.
    Blocked { by: String },
    /// It trains and prunes, or will: the complaint is why no pod of it starts.
    Running { complaint: Option<String> },
    /// None of its pods ever started, and the specification has changed since: it may have been the reason.
    NeverStarted,
    /// It published this.
    Succeeded(PortfolioManifest),
    /// It succeeded, but its answer is gone with its pod, or is for another revision: it has to run again, which is short, as
    /// finished steps are kept.
    AnswerLost(String),
    /// It failed, for a specification that has not changed since.
    Failed(String),
    /// It failed, but the specification has changed since: try again.
    FailedBefore,
}

/// The state of the Job for the wanted revision.
pub(crate) fn job_state(object: &ModelPortfolio, source: &Source, jobs: &[Job], pods: &[Pod]) -> JobState {
    let name = job_name(&object.name_any(), source.revision());
    let Some(job) = jobs.iter().find(|job| job.name_any() == name) else {
        let unfinished = jobs.iter().find(|job| is_controlled_by(*job, object) && !is_finished(job));
        return unfinished.map_or(JobState::Absent, |job| JobState::Blocked { by: job.name_any() });
    };
    if job.metadata.deletion_timestamp.is_some() {
        return JobState::Running { complaint: None };
    }
    if has_condition(job, "Complete") {
        return succeeded(source, pods);
    }
    let generation = job.annotations().get(GENERATION_ANNOTATION);
    let current = generation == object.metadata.generation.map(|generation| generation.to_string()).as_ref();
    if !has_condition(job, "Failed") {
        return if current || pods.iter().any(has_started) {
            JobState::Running { complaint: complaint(pods.iter().filter(|pod| !has_started(pod))) }
        } else {
            JobState::NeverStarted
        };
    }
    if current { JobState::Failed(failure(job, pods)) } else { JobState::FailedBefore }
}

/// Whether the pruner runs or ran in this pod.
fn has_started(pod: &Pod) -> bool {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().filter(|container| container.name == PRUNER_CONTAINER).any(|container| {
        container.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    })
}

fn is_finished(job: &Job) -> bool {
    has_condition(job, "Complete") || has_condition(job, "Failed")
}

fn has_condition(job: &Job, type_: &str) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| conditions.iter().any(|c| c.type_ == type_ && c.status == "True"))
}

fn succeeded(source: &Source, pods: &[Pod]) -> JobState {
    let message = pods
        .iter()
        .filter_map(terminated)
        .filter(|end| end.exit_code == 0)
        .find_map(|end| end.message.as_ref());
    let Some(message) = message else {
        return JobState::AnswerLost("its pod is gone".to_owned());
    };
    let outcome: PruningOutcome = match serde_json::from_str(message) {
        Ok(outcome) => outcome,
        Err(error) => return JobState::Failed(format!("the Job's answer cannot be read: {error}")),
    };
    if outcome.portfolio.revision != source.revision() {
        return JobState::AnswerLost(format!("it answered for revision {}", outcome.portfolio.revision));
    }
    match outcome.portfolio.validated() {
        Ok(portfolio) => JobState::Succeeded(portfolio),
        Err(error) => JobState::Failed(format!("the Job's answer cannot be used: {error}")),
    }
}

/// What the last pod said before it failed; else what the Job says. A pod that the deadline ended has nothing to say of it.
fn failure(job: &Job, pods: &[Pod]) -> String {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let failed =
        conditions.and_then(|conditions| conditions.iter().find(|condition| condition.type_ == "Failed"));
    let verdict = failed.and_then(|condition| condition.message.clone()).unwrap_or_default();
    if failed.is_some_and(|condition| condition.reason.as_deref() == Some("DeadlineExceeded")) {
        return verdict;
    }
    let mut ends: Vec<_> = pods.iter().filter_map(terminated).filter(|end| end.exit_code != 0).collect();
    ends.sort_by_key(|end| end.finished_at.as_ref().map(|time| time.0));
    let last = ends.last().map(|end| match end.message.as_deref().map(str::trim) {
        Some(message) if !message.is_empty() => message.to_owned(),
        _ => format!(
            "exit code {}{}",
            end.exit_code,
            end.reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default()
        ),
    });
    last.unwrap_or(verdict)
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers
        .iter()
        .find(|container| container.name == PRUNER_CONTAINER)?
        .state
        .as_ref()?
        .terminated
        .as_ref()
}
