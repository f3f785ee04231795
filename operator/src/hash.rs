//! Short hashes of values: what names a revision or a pod template. Stable over releases, since canonical JSON is hashed:
//! keys sorted, no white space, whatever features of `serde_json` another crate turns on.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// As long as [`dnnshifter_portfolio::Digest::short`]: short enough for a name, long enough not to meet another by chance.
const SHORT_HASH_DIGITS: usize = 10;

/// Ten hex digits of the SHA-256 of the value's canonical JSON.
pub(crate) fn short_hash(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    write_canonical(&serde_json::to_value(value)?, &mut text);
    let mut digits = String::new();
    for byte in Sha256::digest(text.as_bytes()).iter().take(SHORT_HASH_DIGITS / 2) {
        let _infallible = write!(digits, "{byte:02x}");
    }
    Ok(digits)
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (key, value) in entries {
                let _infallible = write!(text, "{}:", Value::String(key.clone()));
                write_canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let _infallible = write!(text, "{value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_matter_but_that_of_items_does() {
        let hash = |value: Value| short_hash(&value).unwrap();
        assert_eq!(hash(json!({"a": 1, "b": [1, 2]})), hash(json!({"b": [1, 2], "a": 1})));
        assert_ne!(hash(json!({"a": 1, "b": [1, 2]})), hash(json!({"a": 1, "b": [2, 1]})));
        assert_ne!(hash(json!(["ab"])), hash(json!(["a", "b"])));
    }

    /// A hash that changes with a release would train and roll out everything anew.
    #[test]
    fn a_hash_is_the_same_for_ever() {
        assert_eq!(short_hash(&json!({"b": [true, null], "a": "x"})).unwrap(), "b47c22e017");
    }
}
