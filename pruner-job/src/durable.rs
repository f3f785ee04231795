//! Files that survive a power cut: written beside their place, synced, and renamed, so that what is there is whole. A rename
//! that is not preceded by a sync may leave an empty file (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014).

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Writes a file; when this returns, it is on the disk under its name.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    begin(path, |file| file.write_all(bytes))?.finish()
}

/// Writes a file beside its place, `contents` writing into it. Without [`Unfinished::finish`], and where it fails, nothing is left of it.
pub(crate) fn begin(
    path: &Path,
    contents: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<Unfinished> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file, and cannot be replaced by one",
        ));
    }
    let partial = path.with_added_extension("partial");
    // What an earlier run left may still be mapped by another: it is not cut off, but loses its name.
    if fs::symlink_metadata(&partial).is_ok_and(|found| found.is_file()) {
        fs::remove_file(&partial)?;
    }
    let file = File::create(&partial)?;
    let mut unfinished = Unfinished { file, partial, path: path.to_owned() };
    contents(&mut unfinished.file)?;
    Ok(unfinished)
}

/// A file that is written, but not yet under its name.
pub(crate) struct Unfinished {
    file: File,
    partial: PathBuf,
    path: PathBuf,
}

impl Unfinished {
    /// Number of bytes.
    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// When this returns, what was written is on the disk, and only the name is missing.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// When this returns, the file is on the disk under its name.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        sync_folder_of(&self.path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is none; else the failure that led here is the one to report.
        let _ = fs::remove_file(&self.partial);
    }
}

/// Writes files into a folder of their own; when this returns, all of them are on the disk under its name. A folder that was
/// there is replaced.
pub(crate) fn write_folder(place: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    let partial = place.with_added_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    for (name, bytes) in files {
        write_and_sync(&partial.join(name), bytes)?;
    }
    File::open(&partial)?.sync_all()?;
    if place.exists() {
        fs::remove_dir_all(place)?;
    }
    fs::rename(&partial, place)?;
    sync_folder_of(place)
}

fn write_and_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The name is in the folder: it must be synced too.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("file.json.partial")).unwrap();
        let error = write(&folder.path().join("file.json"), b"text").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_file_is_not_replaced_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let (device, place) = (folder.path().join("device"), folder.path().join("place"));
        std::os::unix::fs::symlink("/dev/null", &device).unwrap();
        fs::create_dir(&place).unwrap();
        for path in [&device, &place] {
            assert!(write(path, b"text").unwrap_err().to_string().contains("no regular file"));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(fs::symlink_metadata(&device).unwrap().is_symlink());
    }

    #[test]
    fn files_and_folders_are_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (file, place) = (folder.path().join("file.json"), folder.path().join("step"));
        for text in ["first", "second"] {
            write(&file, text.as_bytes()).unwrap();
            write_folder(&place, &[("a", text.as_bytes()), ("b", b"")]).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert_eq!(fs::read_to_string(place.join("a")).unwrap(), text);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside them");
    }
}
