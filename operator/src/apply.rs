//! Server-side apply, and only where something differs: a steady state writes nothing.

use std::fmt::Debug;

use dnnshifter_crds::names::OPERATOR_FIELD_MANAGER;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Why an object could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The API server refused, or did not answer.
    #[error("failed to apply {kind} {name}")]
    Apply {
        kind: String,
        name: String,
        #[source]
        source: kube::Error,
    },
    /// As above, for a status.
    #[error("failed to apply the status of {kind} {name}")]
    Status {
        kind: String,
        name: String,
        #[source]
        source: kube::Error,
    },
    /// As above, for a deletion.
    #[error("failed to delete {kind} {name}")]
    Delete {
        kind: String,
        name: String,
        #[source]
        source: kube::Error,
    },
    /// An object of ours cannot be written as JSON.
    #[error("failed to write {kind} {name} as JSON")]
    Json {
        kind: String,
        name: String,
        #[source]
        source: serde_json::Error,
    },
}

impl ApplyError {
    /// Whether the API server refused an object of ours, and will again until somebody changes something: a quota, an admission
    /// policy, a right, a field. A conflict or too many requests pass by themselves.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Apply { source: kube::Error::Api(status), .. }
            | Self::Delete { source: kube::Error::Api(status), .. } => {
                (400..500).contains(&status.code) && status.code != 409 && status.code != 429
            }
            // Where a status cannot be written, this cannot be told either.
            Self::Apply { .. } | Self::Delete { .. } | Self::Status { .. } | Self::Json { .. } => false,
        }
    }
}

/// An object as it is after [`ensure`].
#[derive(Debug)]
pub(crate) enum Ensured<K> {
    /// It was as wanted.
    Unchanged,
    /// It was written; this is the answer.
    Written(Box<K>),
}

/// Bounds of what we apply: kinds known at compile time.
pub(crate) trait Applied:
    Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug
{
}

impl<K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug> Applied for K {}

/// Applies `wanted` unless `live` already covers it.
pub(crate) async fn ensure<K: Applied>(
    api: &Api<K>,
    wanted: &K,
    live: Option<&K>,
) -> Result<Ensured<K>, ApplyError> {
    if let Some(live) = live
        && covers(&json(live)?, &json(wanted)?)
    {
        return Ok(Ensured::Unchanged);
    }
    Ok(Ensured::Written(Box::new(
        apply(api, wanted, &PatchParams::apply(OPERATOR_FIELD_MANAGER).force()).await?,
    )))
}

/// Applies `wanted`.
pub(crate) async fn apply<K: Applied>(
    api: &Api<K>,
    wanted: &K,
    params: &PatchParams,
) -> Result<K, ApplyError> {
    let name = wanted.name_any();
    api.patch(&name, params, &Patch::Apply(wanted)).await.map_err(|source| ApplyError::Apply {
        kind: K::kind(&()).into_owned(),
        name,
        source,
    })
}

/// Applies the fields of `status` under `manager`; nothing else of the status is touched.
pub(crate) async fn apply_status<K: Applied>(
    api: &Api<K>,
    name: &str,
    manager: &str,
    status: &Value,
) -> Result<(), ApplyError> {
    let body = serde_json::json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "status": status,
    });
    api.patch_status(name, &PatchParams::apply(manager).force(), &Patch::Apply(&body))
        .await
        .map(drop)
        .map_err(|source| ApplyError::Status {
            kind: K::kind(&()).into_owned(),
            name: name.to_owned(),
            source,
        })
}

/// Deletes an object with all that it owns; one that is gone already is no error.
pub(crate) async fn delete<K: Applied>(
    api: &Api<K>,
    name: &str,
    params: &DeleteParams,
) -> Result<(), ApplyError> {
    match api.delete(name, params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => {
            Err(ApplyError::Delete { kind: K::kind(&()).into_owned(), name: name.to_owned(), source })
        }
    }
}

fn json<K: Applied>(object: &K) -> Result<Value, ApplyError> {
    serde_json::to_value(object).map_err(|source| ApplyError::Json {
        kind: K::kind(&()).into_owned(),
        name: object.name_any(),
        source,
    })
}

/// Whether `live` has every field of `wanted` with the same value; what the API server and others added does not matter.
fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| match live.get(key) {
                Some(live) => covers(live, wanted),
                None => is_empty(wanted),
            })
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| covers(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;
    use crate::fake::{Reply, api_server};

    #[test]
    fn defaults_of_the_api_server_are_no_difference_but_changed_and_missing_fields_are() {
        let wanted = json!({"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}, "status": null});
        let live = |port: u16| json!({"spec": {"ports": [{"port": port, "protocol": "TCP"}], "selector": {"a": "b"}, "ip": "1"}});
        assert!(covers(&live(80), &wanted));
        assert!(!covers(&live(81), &wanted));
        assert!(!covers(&json!({"spec": {"ports": []}}), &wanted));
    }

    #[test]
    fn an_item_more_is_a_difference() {
        assert!(!covers(&json!({"tolerations": [1, 2]}), &json!({"tolerations": [1]})));
    }

    #[tokio::test]
    async fn a_refusal_is_what_trying_again_does_not_mend() {
        for (code, refusal) in
            [(400, true), (403, true), (422, true), (409, false), (429, false), (500, false)]
        {
            let (client, _requests) = api_server(move |_, _| Reply::Fails(code));
            let api = Api::<ConfigMap>::namespaced(client, "ns");
            let wanted = ConfigMap {
                metadata: kube::core::ObjectMeta { name: Some("c".to_owned()), ..Default::default() },
                ..ConfigMap::default()
            };
            assert_eq!(ensure(&api, &wanted, None).await.unwrap_err().is_refusal(), refusal, "{code}");
        }
    }
}
