//! The files that a build may copy, staged in a folder of their own, and the hash that names them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{ImageBuild, ImageError};
use crate::fingerprint::name_of;
use crate::layout::Layout;

/// Staged files; they go when it is dropped.
pub(super) struct Context {
    directory: TempDir,
    /// Of the `Containerfile` and every file's path, kind, permissions and content.
    pub(super) hash: String,
}

impl Context {
    /// Links (or, across file systems, copies) all files of a build into one folder.
    pub(super) fn stage(layout: &Layout, build: &ImageBuild) -> Result<Self, ImageError> {
        let parent = layout.cache.join("stage");
        let failed = |path: &Path, source| ImageError::File { path: path.to_owned(), source };
        fs::create_dir_all(&parent).map_err(|source| failed(&parent, source))?;
        let directory = tempfile::tempdir_in(&parent).map_err(|source| failed(&parent, source))?;
        let containerfile = directory.path().join("Containerfile");
        fs::write(&containerfile, &build.containerfile).map_err(|source| failed(&containerfile, source))?;
        let root = directory.path().join("files");
        fs::create_dir(&root).map_err(|source| failed(&root, source))?;
        for file in &build.files {
            let target = root.join(relative(&file.target)?);
            link_tree(&file.source, &target).map_err(|source| failed(&file.source, source))?;
        }
        let hash = hash(&build.containerfile, &root).map_err(|source| failed(&root, source))?;
        Ok(Self { directory, hash })
    }

    pub(super) fn containerfile(&self) -> PathBuf {
        self.directory.path().join("Containerfile")
    }

    pub(super) fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    /// The bytes of all files.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        let root = self.files();
        files(&root)?.keys().map(|path| fs::symlink_metadata(root.join(path)).map(|it| it.len())).sum()
    }
}

fn relative(target: &str) -> Result<&Path, ImageError> {
    let path = Path::new(target.trim_start_matches('/'));
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && path != Path::new("") {
        Ok(path)
    } else {
        Err(ImageError::Target { target: target.to_owned() })
    }
}

/// A symbolic link that is named itself is followed; those inside a folder stay links.
fn link_tree(source: &Path, target: &Path) -> io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if !fs::metadata(source)?.is_dir() {
        return link_file(&fs::canonicalize(source)?, target);
    }
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let inner = target.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, inner)?;
        } else if kind.is_dir() {
            link_tree(&entry.path(), &inner)?;
        } else {
            link_file(&entry.path(), &inner)?;
        }
    }
    Ok(())
}

fn link_file(source: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(source, target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => fs::copy(source, target).map(|_| ()),
        other => other,
    }
}

fn hash(containerfile: &str, root: &Path) -> io::Result<String> {
    let mut all = Sha256::new();
    all.update((containerfile.len() as u64).to_le_bytes());
    all.update(containerfile);
    for (path, digest) in files(root)? {
        all.update(path.as_os_str().as_encoded_bytes());
        all.update([0]);
        all.update(digest);
    }
    Ok(name_of(all))
}

/// Every file below `root` by its path, with a digest of what it is.
fn files(root: &Path) -> io::Result<BTreeMap<PathBuf, [u8; 32]>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let kind = fs::symlink_metadata(&path)?;
            let mut digest = Sha256::new();
            if kind.is_symlink() {
                digest.update(b"link");
                digest.update(fs::read_link(&path)?.as_os_str().as_encoded_bytes());
            } else if kind.is_dir() {
                pending.push(path);
                continue;
            } else {
                digest.update(kind.permissions().mode().to_le_bytes());
                io::copy(&mut File::open(&path)?, &mut digest)?;
            }
            let relative = path.strip_prefix(root).map(Path::to_owned).unwrap_or(path);
            found.insert(relative, digest.finalize().into());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::ImageFile;
    use super::*;

    struct Place {
        root: TempDir,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("folder")).unwrap();
            fs::write(root.path().join("folder/one"), "1").unwrap();
            std::os::unix::fs::symlink("one", root.path().join("folder/two")).unwrap();
            Self { root }
        }

        fn stage(&self, containerfile: &str, target: &str) -> Result<Context, ImageError> {
            let layout = Layout { cache: self.root.path().join("cache"), run: self.root.path().join("run") };
            let source = self.root.path().join("folder");
            Context::stage(
                &layout,
                &ImageBuild {
                    repository: "a/b".into(),
                    tag: "1".into(),
                    containerfile: containerfile.into(),
                    files: vec![ImageFile { source, target: target.into() }],
                },
            )
        }
    }

    #[test]
    fn folders_are_staged_with_their_links() {
        let place = Place::new();
        let context = place.stage("FROM scratch", "/model").unwrap();
        assert_eq!(fs::read_to_string(context.files().join("model/one")).unwrap(), "1");
        assert_eq!(fs::read_link(context.files().join("model/two")).unwrap(), Path::new("one"));
    }

    #[test]
    fn the_hash_is_of_everything_that_goes_in() {
        let place = Place::new();
        let hash = |containerfile, target| place.stage(containerfile, target).unwrap().hash;
        let first = hash("FROM scratch", "/model");
        assert_eq!(first, hash("FROM scratch", "model"));
        assert_ne!(first, hash("FROM scratch\n", "model"));
        assert_ne!(first, hash("FROM scratch", "other"));
        fs::write(place.root.path().join("folder/one"), "2").unwrap();
        assert_ne!(first, hash("FROM scratch", "model"));
    }

    #[test]
    fn paths_that_leave_the_image_are_refused() {
        let place = Place::new();
        for target in ["../a", "a/../../b", "", "/"] {
            assert!(matches!(place.stage("", target), Err(ImageError::Target { .. })), "{target}");
        }
    }
}
