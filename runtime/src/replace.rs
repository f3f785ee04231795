//! Replacing a small file as a whole: whoever reads it finds the old one or the new one, also after a power cut.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Writes the file `name` in `directory` beside the old one, and renames it. Both are brought to the disk, or a power cut could leave
/// an empty file of that name.
pub(crate) fn replace(directory: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let partial = directory.join(format!("{name}.partial"));
    let mut file = File::create(&partial)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&partial, directory.join(name))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["first", "second"] {
            replace(directory.path(), "file", text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(directory.path().join("file")).unwrap(), text);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(replace(&directory.path().join("nowhere"), "file", b"").is_err());
    }
}
