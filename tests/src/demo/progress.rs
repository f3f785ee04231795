//! How far the pruning Job is, as its log tells.

use dnnshifter_crds::names::{COMPONENT_LABEL, PRUNER_COMPONENT};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, LogParams},
};
use serde_json::Value;

/// Fields that every line has, and that say nothing of the progress.
const COMMON_FIELDS: [&str; 3] = ["timestamp", "level", "message"];

/// The last line of the running Job's log, in words; `None` while nothing runs.
pub async fn last_line(pods: &Api<Pod>) -> Option<String> {
    let of_jobs = ListParams::default().labels(&format!("{COMPONENT_LABEL}={PRUNER_COMPONENT}"));
    let running = pods.list(&of_jobs).await.ok()?.items.into_iter().find(is_running)?;
    let last = LogParams { tail_lines: Some(1), ..LogParams::default() };
    in_words(pods.logs(&running.name_any(), &last).await.ok()?.trim())
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

fn in_words(line: &str) -> Option<String> {
    let Value::Object(line) = serde_json::from_str(line).ok()? else { return None };
    let message = line.get("message")?.as_str()?;
    let fields = line.iter().filter(|(name, _)| !COMMON_FIELDS.contains(&name.as_str()));
    let fields = fields.map(|(name, value)| match value {
        Value::String(text) => format!("{name} {text}"),
        other => format!("{name} {other}"),
    });
    Some(std::iter::once(message.to_owned()).chain(fields).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn a_line_of_the_log_becomes_words() {
        let line = r#"{"timestamp":"t","level":"INFO","message":"epoch finished","epoch":2,"loss":"0.40"}"#;
        assert_eq!(in_words(line).unwrap(), "epoch finished, epoch 2, loss 0.40");
        assert_eq!(in_words("no JSON"), None);
    }
}
