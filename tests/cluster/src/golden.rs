//! Golden files of this crate's tests: `UPDATE_GOLDEN=1` writes what the code makes, to be read in review.

use std::path::Path;

/// Compares with `golden/NAME`.
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{} differs: UPDATE_GOLDEN=1 writes it anew", path.display());
}
