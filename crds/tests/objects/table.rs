//! The table of accepted and refused objects, `objects.yaml`: its types. The tests of this crate and the whole-system tests
//! both include this file, so that the schema in process and the real API server are asked the same.

use std::collections::BTreeMap;

use dnnshifter_crds::yaml::{YamlError, from_yaml_documents};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Bases, and what is made of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Whole objects, by name.
    pub bases: BTreeMap<String, Value>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// A base, changed; and whether that is accepted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case is about.
    pub title: String,
    /// Name of the base.
    pub base: String,
    /// JSON merge patch of the base.
    #[serde(default)]
    pub patch: Value,
    /// JSON merge patch of the created object: an update.
    pub then: Option<Value>,
    /// The refusal of the last of these; accepted if absent.
    pub refused: Option<Refusal>,
}

/// Where the refusal points, or what it says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Path of the field.
    pub at: Option<String>,
    /// Words of the message.
    pub says: Option<String>,
}

/// Reads the table.
pub fn read() -> Result<Table, YamlError> {
    let mut documents = from_yaml_documents(include_str!("../objects.yaml"))?;
    Ok(documents.pop().unwrap_or(Table { bases: BTreeMap::new(), cases: Vec::new() }))
}

/// JSON merge patch (RFC 7396).
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        if !patch.is_null() {
            *target = patch.clone();
        }
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), value);
        }
    }
}
