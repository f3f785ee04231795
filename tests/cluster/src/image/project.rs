//! The project's own images: what each takes from a checkout, beside its `Containerfile`.

use std::path::{Path, PathBuf};

use super::{ImageBuild, ImageError, ImageFile, debian};
use crate::cluster::Cluster;

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
        let path = checkout.join(image.folder()).join("Containerfile");
        let containerfile =
            std::fs::read_to_string(&path).map_err(|source| ImageError::File { path, source })?;
        let mut files = image.files(checkout);
        if let Some(missing) = files.iter().find(|file| !file.source.exists()) {
            return Err(ImageError::Missing { path: missing.source.clone() });
        }
        files.push(ImageFile { source: debian::root(&self.layout)?, target: "debian".to_owned() });
        let repository = format!("dnnshifter/{}", image.folder());
        self.push_image(&ImageBuild { repository, tag: "latest".to_owned(), containerfile, files })
    }
}
