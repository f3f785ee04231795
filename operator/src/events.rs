//! Events: one for each transition that a person would want to hear of. A failed Event fails nothing.

use std::time::Duration;

use kube::{
    Resource,
    runtime::events::{Event, EventType, Recorder},
};
use tokio::time::timeout;
use tracing::warn;

use crate::telemetry::chain;

/// The longest note that Kubernetes takes, in bytes.
const LONGEST_NOTE: usize = 1024;
/// An Event that takes longer is given up: nobody shall wait for one.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(crate) type_: EventType,
    /// Past participle, `CamelCase`: `SteppedDown`.
    pub(crate) reason: String,
    /// What the operator did or tries to do. Events of equal reason and action are counted as one, which keeps its first note.
    pub(crate) action: String,
    pub(crate) note: String,
}

/// Publishes an Event about `object`.
pub(crate) async fn publish<K: Resource<DynamicType = ()>>(
    recorder: &Recorder,
    object: &K,
    happening: Happening,
) {
    let Happening { type_, reason, action, mut note } = happening;
    truncate(&mut note, LONGEST_NOTE);
    let event = Event { type_, reason, note: Some(note), action, secondary: None };
    let object = object.object_ref(&());
    match timeout(PUBLISH_DEADLINE, recorder.publish(&event, &object)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(error = chain(&error), reason = event.reason, "failed to publish an event"),
        Err(_) => warn!(reason = event.reason, "failed to publish an event in time"),
    }
}

/// Shortens a text to at most `bytes`, at the end of a character.
pub(crate) fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes.saturating_sub('…'.len_utf8()))
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_end_at_a_character() {
        let mut text = "ä".repeat(1000);
        truncate(&mut text, 1024);
        assert!(text.len() <= 1024 && text.ends_with("ä…"), "{}", text.len());
        let mut short = "short".to_owned();
        truncate(&mut short, 1024);
        assert_eq!(short, "short");
    }
}
