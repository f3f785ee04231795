//! What pods and their Deployment say of pods that do not start. Pure.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ContainerState, Pod},
};

/// What the first of the pods that says something says; those that are on their way out do not count.
pub(crate) fn complaint<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<String> {
    pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).find_map(complaint_of)
}

fn complaint_of(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    // While those of the preparation say something, the others only wait for it.
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let waiting = containers.filter_map(|container| container.state.as_ref()).find_map(trouble);
    let unscheduled =
        status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    let unscheduled = unscheduled.and_then(|c| Some((c.reason.clone()?, c.message.clone())));
    let (reason, message) = waiting.or(unscheduled)?;
    Some(explained(reason, message))
}

/// Why a container does not run: reason and message.
fn trouble(state: &ContainerState) -> Option<(String, Option<String>)> {
    let waiting = state.waiting.as_ref().and_then(|w| Some((w.reason.clone()?, w.message.clone())));
    // The preparation ends well, and stays ended.
    let failed = state.terminated.as_ref().filter(|ended| ended.exit_code != 0);
    let failed = failed.and_then(|t| Some((t.reason.clone()?, t.message.clone())));
    waiting.or(failed).filter(|(reason, _)| reason != "ContainerCreating" && reason != "PodInitializing")
}

/// Whether a pod finds no room on its node at present.
pub(crate) fn lacks_room(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    // The scheduler gives no reason of a finer kind. A pod that it refuses for another reason would not fit alone either.
    let for_room = |message: &str| message.contains("Insufficient ") || message.contains("Too many pods");
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().flatten().any(|c| {
            c.type_ == "PodScheduled"
                && c.status == "False"
                && c.reason.as_deref() == Some("Unschedulable")
                && c.message.as_deref().is_some_and(for_room)
        })
}

/// Why the Deployment's pods cannot even be created: a quota, an admission policy, a missing `ServiceAccount`.
pub(crate) fn replica_failure(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let is = |field: &Option<String>, wanted: &str| field.as_deref() == Some(wanted);
    let failure = conditions.iter().find(|c| is(&c.type_, "ReplicaFailure") && is(&c.status, "True"))?;
    Some(explained(failure.reason.clone()?, failure.message.clone()))
}

fn explained(reason: String, message: Option<String>) -> String {
    match message {
        Some(message) => format!("{reason}: {message}"),
        None => reason,
    }
}
