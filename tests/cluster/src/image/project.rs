//! The project's own images: what each takes from a checkout, beside its `Containerfile`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{
    ImageBuild, ImageError, ImageFile, build_local, context::Context, debian, local_prefix, storage,
};
use crate::cluster::Cluster;
use crate::command::run;
use crate::layout::Layout;

/// One of the project's images, named by its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectImage {
    /// The control plane.
    Operator,
    /// What serves on edge nodes.
    Runtime,
    /// What trains, prunes and publishes.
    PrunerJob,
}

impl ProjectImage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Operator, Self::Runtime, Self::PrunerJob];

    /// Its component's folder in the checkout.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Runtime => "runtime",
            Self::PrunerJob => "pruner-job",
        }
    }

    /// The value of the chart `dnnshifter` below which its reference stands.
    pub fn chart_value(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Runtime => "runtime",
            Self::PrunerJob => "prunerJob",
        }
    }

    fn build(self, layout: &Layout, checkout: &Path) -> Result<ImageBuild, ImageError> {
        let path = checkout.join(self.folder()).join("Containerfile");
        let containerfile =
            std::fs::read_to_string(&path).map_err(|source| ImageError::File { path, source })?;
        let mut files = self.files(checkout);
        if let Some(missing) = files.iter().find(|file| !file.source.exists()) {
            return Err(ImageError::Missing { path: missing.source.clone() });
        }
        files.push(ImageFile { source: debian::root(layout)?, target: "debian".to_owned() });
        let repository = format!("dnnshifter/{}", self.folder());
        Ok(ImageBuild { repository, tag: "latest".to_owned(), containerfile, files })
    }

    fn files(self, checkout: &Path) -> Vec<ImageFile> {
        let file = |source: PathBuf, target: String| ImageFile { source, target };
        let name = format!("dnnshifter-{}", self.folder());
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout.join("target"), PathBuf::from);
        let native = checkout.join(".deps");
        let mut files = vec![file(target.join("release").join(&name), format!("bin/{name}"))];
        let onnxruntime = file(native.join("onnxruntime"), "onnxruntime".to_owned());
        let libtorch = file(native.join("libtorch/lib"), "libtorch".to_owned());
        match self {
            Self::Operator => {}
            Self::Runtime => files.push(onnxruntime),
            Self::PrunerJob => files.extend([onnxruntime, libtorch]),
        }
        files
    }
}

impl Cluster {
    /// Builds an image of the project from a checkout's release binaries, unless nothing has changed, and pushes it as
    /// `dnnshifter/FOLDER:latest`. Returns its reference by digest. Binaries are not built: `cargo build --release` does that.
    pub fn push_project_image(&self, image: ProjectImage, checkout: &Path) -> Result<String, ImageError> {
        self.push_image(&image.build(&self.layout, checkout)?)
    }
}

/// A place in a registry that this machine reaches.
#[derive(Clone, Debug)]
pub struct Destination {
    /// What comes before the image's folder: `registry.example.com/team`.
    pub prefix: String,
    /// The images' tag.
    pub tag: String,
    /// Speak plain HTTP to the registry.
    pub plain_http: bool,
}

/// Builds an image of the project as [`Cluster::push_project_image`] does, and pushes it as `PREFIX/FOLDER:TAG`. No cluster is
/// needed. Returns its reference by digest.
///
/// buildah finds user and password by itself: in the file that `REGISTRY_AUTH_FILE` names, else where `buildah login` puts
/// them.
pub fn publish_project_image(
    image: ProjectImage,
    checkout: &Path,
    destination: &Destination,
) -> Result<String, ImageError> {
    let layout = Layout::from_environment();
    let build = image.build(&layout, checkout)?;
    let context = Context::stage(&layout, &build)?;
    let local = format!("{}{}", local_prefix(&build), context.hash);
    build_local(&layout, &build, &context, &local)?;
    let Destination { prefix, tag, plain_http } = destination;
    let repository = format!("{}/{}", prefix.trim_end_matches('/'), image.folder());
    let failed = |path: &Path, source| ImageError::File { path: path.to_owned(), source };
    let digest = tempfile::NamedTempFile::new().map_err(|source| failed(&std::env::temp_dir(), source))?;
    let mut push = Command::new("buildah");
    storage(&mut push, &layout).args(["push", "--quiet", "--digestfile"]).arg(digest.path());
    if *plain_http {
        push.arg("--tls-verify=false");
    }
    push.arg(&local).arg(format!("docker://{repository}:{tag}"));
    run(&mut push).map_err(|source| ImageError::Push { image: repository.clone(), source })?;
    let text = std::fs::read_to_string(digest.path()).map_err(|source| failed(digest.path(), source))?;
    Ok(format!("{repository}@{}", text.trim()))
}

/// How large an image of the project is: all its layers together, without what a registry adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Its files.
    pub unpacked_bytes: u64,
    /// The same as a registry keeps them and nodes pull them: an archive, compressed by gzip.
    pub packed_bytes: u64,
}

/// Stages the files of an image of the project, as [`publish_project_image`] does, and measures them. Nothing is built.
pub fn project_image_size(image: ProjectImage, checkout: &Path) -> Result<ImageSize, ImageError> {
    let layout = Layout::from_environment();
    let context = Context::stage(&layout, &image.build(&layout, checkout)?)?;
    let failed = |source| ImageError::File { path: context.files(), source };
    let unpacked_bytes = context.bytes().map_err(failed)?;
    let archive = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut pack = Command::new("tar");
    pack.arg("--directory")
        .arg(context.files())
        .args(["--create", "--gzip", "--file"])
        .arg(archive.path())
        .arg(".");
    run(&mut pack).map_err(|source| ImageError::Pack { path: context.files(), source })?;
    let packed_bytes = archive.as_file().metadata().map_err(failed)?.len();
    Ok(ImageSize { unpacked_bytes, packed_bytes })
}
