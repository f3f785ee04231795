//! YAML, in one place: `serde_yaml` is deprecated by its author, and nothing else of this project may call it directly.

use serde::{Serialize, de::DeserializeOwned};

/// Why a text is not the expected YAML, or a value cannot be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("failed to convert YAML")]
pub struct YamlError(#[source] serde_yaml::Error);

/// Writes a value as YAML.
pub fn to_yaml(value: &impl Serialize) -> Result<String, YamlError> {
    serde_yaml::to_string(value).map_err(YamlError)
}

/// Reads every document of a YAML text.
pub fn from_yaml_documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, YamlError> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| T::deserialize(document).map_err(YamlError))
        .collect()
}
