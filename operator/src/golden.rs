//! Golden files of the tests: YAML below `tests/golden`, written anew by `UPDATE_GOLDEN=1` and read in review.

use std::{fs, path::PathBuf};

use dnnshifter_crds::yaml::to_yaml;
use serde::Serialize;

/// Compares the value's YAML with the golden file of that name.
pub(crate) fn assert_golden(name: &str, value: &impl Serialize) {
    // Through JSON: its maps are sorted, so the file does not depend on the order of fields in a release of a library.
    let value = serde_json::to_value(value).unwrap();
    let text = to_yaml(&value).unwrap();
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{name}.yaml")].iter().collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        stored,
        text,
        "{} is not current: run with UPDATE_GOLDEN=1 and read the change",
        path.display()
    );
}
