//! Images: built by buildah from a `Containerfile` and staged files, pushed to the cluster's registry.
//!
//! An image is named by a hash of all that goes into it, so what has not changed is neither built nor pushed again; its
//! layers carry no time, so the same content has the same digest.
//! `image/context.rs` stages files, `image/debian.rs` takes them from Debian packages, `image/project.rs` knows the project's
//! own images, `image/pause.rs` makes the one that every pod needs.

mod context;
mod debian;
mod pause;
mod project;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Cluster;
use crate::command::{CommandError, run};
use crate::layout::{Layout, Place, REGISTRY, REGISTRY_ADDRESS};
use crate::progress::Step;

use context::Context;
pub(crate) use pause::push_pause;
pub use project::{Destination, ImageSize, ProjectImage, project_image_size, publish_project_image};

/// An image to be built.
#[derive(Clone, Debug)]
pub struct ImageBuild {
    /// Its name in the registry, without the registry: `dnnshifter/operator`.
    pub repository: String,
    /// Its tag.
    pub tag: String,
    /// The text of its `Containerfile`.
    pub containerfile: String,
    /// What the `Containerfile` may copy: files or folders, and the names that they have there.
    pub files: Vec<ImageFile>,
}

/// A file or a folder on this machine, and its path in an image or in what its `Containerfile` copies from.
#[derive(Clone, Debug)]
pub struct ImageFile {
    /// On this machine.
    pub source: PathBuf,
    /// There; relative to the image's root, with or without a leading `/`.
    pub target: String,
}

/// Why an image is not in the registry.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("failed to read or write {path}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{target:?} is no path in an image: it must be relative and without `..`")]
    Target { target: String },
    #[error("{path} is missing: `make deps` and `cargo build --release` make it")]
    Missing { path: PathBuf },
    #[error("failed to fetch and unpack Debian packages: does `apt-get update` work?")]
    Debian { source: CommandError },
    #[error("failed to build image {image}")]
    Build { image: String, source: CommandError },
    #[error("failed to pack the files in {path}")]
    Pack { path: PathBuf, source: CommandError },
    #[error("failed to push image {image}: does its registry want `buildah login`?")]
    Push { image: String, source: CommandError },
}

impl Cluster {
    /// Builds an image if it has changed, pushes it if the registry lacks it, and returns its reference by digest.
    pub fn push_image(&self, build: &ImageBuild) -> Result<String, ImageError> {
        let context = Context::stage(&self.layout, build)?;
        let record = self.layout.run.join("image").join(format!("{}_{}", flat(&build.repository), build.tag));
        // One line: the hash of the content that the tag has, and the reference to it.
        let known = std::fs::read_to_string(&record).unwrap_or_default();
        if let Some((hash, reference)) = known.trim().split_once(' ')
            && hash == context.hash
        {
            return Ok(reference.to_owned());
        }
        let step = Step::begin(format!("image {}:{}", build.repository, build.tag));
        let local = format!("{}{}", local_prefix(build), context.hash);
        build_local(&self.layout, build, &context, &local)?;
        let reference = self.push_local(build, &local)?;
        write(&record, &format!("{} {reference}\n", context.hash))?;
        step.done();
        Ok(reference)
    }

    /// Publishes files as an image of one layer: models, data sets, hand-made variants. Returns its reference by digest.
    pub fn push_files(
        &self,
        repository: &str,
        tag: &str,
        files: Vec<ImageFile>,
    ) -> Result<String, ImageError> {
        self.push_image(&ImageBuild {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            containerfile: "FROM scratch\nCOPY . /\n".to_owned(),
            files,
        })
    }

    fn push_local(&self, build: &ImageBuild, local: &str) -> Result<String, ImageError> {
        let image = format!("{}:{}", build.repository, build.tag);
        let digest_file = tempfile::NamedTempFile::new_in(&self.layout.run)
            .map_err(|source| ImageError::File { path: self.layout.run.clone(), source })?;
        let mut command = self.command_in(&Place::Hub, "buildah");
        storage(&mut command, &self.layout)
            .args(["push", "--quiet", "--tls-verify=false", "--digestfile"])
            .arg(digest_file.path())
            .arg(local)
            .arg(format!("docker://{REGISTRY_ADDRESS}/{image}"));
        run(&mut command).map_err(|source| ImageError::Push { image, source })?;
        let path = digest_file.path().to_owned();
        let digest = std::fs::read_to_string(&path).map_err(|source| ImageError::File { path, source })?;
        Ok(format!("{REGISTRY}/{}@{}", build.repository, digest.trim()))
    }
}

/// Makes the image `local` in buildah's own storage, unless it is there, and forgets older ones of its tag.
fn build_local(
    layout: &Layout,
    build: &ImageBuild,
    context: &Context,
    local: &str,
) -> Result<(), ImageError> {
    let failed = |source| ImageError::Build { image: build.repository.clone(), source };
    let mut listing = Command::new("buildah");
    storage(&mut listing, layout).args(["images", "--format", "{{.Name}}:{{.Tag}}"]);
    let present = run(&mut listing).map_err(failed)?;
    if present.lines().any(|name| name == local) {
        return Ok(());
    }
    let mut command = Command::new("buildah");
    storage(&mut command, layout)
        .args(["bud", "--quiet", "--isolation", "chroot", "--layers", "--timestamp", "0", "--tag", local])
        .arg("--file")
        .arg(context.containerfile())
        .arg(context.files());
    run(&mut command).map_err(failed)?;
    let older = local_prefix(build);
    for name in present.lines().filter(|name| name.starts_with(&older)) {
        let mut command = Command::new("buildah");
        run(storage(&mut command, layout).args(["rmi", name])).map_err(failed)?;
    }
    Ok(())
}

/// buildah's storage is the cache's, so that it needs no configuration of the machine and leaves nothing there.
fn storage<'a>(command: &'a mut Command, layout: &Layout) -> &'a mut Command {
    let root = layout.cache.join("buildah");
    command
        .args(["--storage-driver", "vfs"])
        .arg("--root")
        .arg(root.join("root"))
        .arg("--runroot")
        .arg(root.join("run"))
}

/// Of one repository and tag, as images of other tags may be on their way to the registry right now.
fn local_prefix(build: &ImageBuild) -> String {
    format!("localhost/{}:{}-", build.repository, build.tag)
}

fn flat(repository: &str) -> String {
    repository.replace('/', "_")
}

fn write(path: &Path, text: &str) -> Result<(), ImageError> {
    let failed = |source| ImageError::File { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}
