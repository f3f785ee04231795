//! Tiny models, data and portfolios in the cluster's registry, made with the tools that users have.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use dnnshifter_cluster::{Cluster, ImageFile, Place, REGISTRY, REGISTRY_ADDRESS};
use dnnshifter_tests::demo::stage::{ComponentImages, Workspace, run};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use tempfile::TempDir;

/// Path of the untrained network in [`Artifacts::inputs`].
pub const MODEL: &str = "vgg16.onnx";
/// Path of a file in [`Artifacts::inputs`] that is no ONNX.
pub const BROKEN_MODEL: &str = "broken.onnx";
/// Folder of the data set in [`Artifacts::inputs`].
pub const DATASET: &str = "fashion";
/// The variants of [`Artifacts::published`], the most accurate first: each about four times as fast as the one before.
pub const VARIANTS: [&str; 3] = ["large", "medium", "small"];

/// Debian package `dataset-fashion-mnist`.
const WHOLE_DATASET: &str = "/usr/share/datasets/fashion-mnist";
/// Enough for a network of an eighth of the width to be right four times in five.
const TRAINING_IMAGES: u32 = 2300;
const TEST_IMAGES: u32 = 300;
/// The widths of [`VARIANTS`], and the accuracies that are claimed for them: they are untrained, and nobody asks.
const SIZES: [(&str, &str); 3] = [("1/2", "0.92"), ("1/4", "0.87"), ("1/8", "0.79")];

/// References into the cluster's registry.
pub struct Artifacts {
    /// A portfolio of [`VARIANTS`].
    pub published: String,
    /// A portfolio whose variants' images are gone from the registry.
    pub unpullable: String,
    /// An image with [`MODEL`], [`BROKEN_MODEL`] and [`DATASET`].
    pub inputs: String,
}

impl Artifacts {
    /// Makes and publishes all of them. What is there already is not pushed again.
    pub fn publish(cluster: &Cluster, workspace: &Workspace, images: &ComponentImages) -> Result<Self> {
        let folder = tempfile::tempdir().context("failed to make a folder for models and data")?;
        let tools = Tools { cluster, program: workspace.program("dnnshifter-pruner-job"), folder, images };
        let native = workspace.path(".deps/onnxruntime/libonnxruntime.so.1");
        let published = tools.portfolio("system/published", "1", 1, &native)?;
        let unpullable = tools.portfolio("system/unpullable", "2", 2, &native)?;
        tools.remove_variants("system/unpullable", "2")?;
        Ok(Self { published, unpullable, inputs: tools.inputs(&native)? })
    }
}

struct Tools<'a> {
    cluster: &'a Cluster,
    program: PathBuf,
    folder: TempDir,
    images: &'a ComponentImages,
}

impl Tools<'_> {
    fn portfolio(&self, repository: &str, revision: &str, seed: u32, native: &Path) -> Result<String> {
        let folder = self.folder.path().join(revision);
        for (name, (width, accuracy)) in VARIANTS.iter().zip(SIZES) {
            let model = self.model(width, seed, native)?;
            let mut describe = self.pruner_job(native);
            describe.args([
                "describe",
                "--name",
                name,
                "--accuracy",
                accuracy,
                "--revision",
                revision,
                "--output",
            ]);
            run(describe.arg(&folder).arg(&model))?;
        }
        let mut publish = self.pruner_job(native);
        let target = format!("{REGISTRY_ADDRESS}/{repository}");
        let runtime = self.images.runtime.replace(REGISTRY, REGISTRY_ADDRESS);
        publish.args(["publish", "--plain-http", "--repository", &target, "--runtime-image", &runtime]);
        let printed = run(publish.arg(&folder))?;
        Ok(printed.trim().replace(REGISTRY_ADDRESS, REGISTRY))
    }

    fn inputs(&self, native: &Path) -> Result<String> {
        let broken = self.folder.path().join(BROKEN_MODEL);
        fs::write(&broken, "this was never a network")?;
        let dataset = self.folder.path().join(DATASET);
        cut_dataset(&dataset)?;
        let file = |source, target: &str| ImageFile { source, target: target.to_owned() };
        let files = vec![
            file(self.model("1/8", 1, native)?, MODEL),
            file(broken, BROKEN_MODEL),
            file(dataset, DATASET),
        ];
        self.cluster.push_files("system/inputs", "1", files).context("failed to publish the inputs")
    }

    fn model(&self, width: &str, seed: u32, native: &Path) -> Result<PathBuf> {
        let path = self.folder.path().join(format!("{}-{seed}.onnx", width.replace('/', "-")));
        let mut command = self.pruner_job(native);
        command.args(["model", "vgg16", "--width", width, "--input", "1x28x28", "--classes", "10"]);
        run(command.args(["--seed", &seed.to_string(), "--output"]).arg(&path))?;
        Ok(path)
    }

    /// Deletes the images from the registry, whose manifests then nobody can pull.
    fn remove_variants(&self, repository: &str, revision: &str) -> Result<()> {
        for name in VARIANTS {
            let manifest =
                |reference: &str| format!("http://{REGISTRY_ADDRESS}/v2/{repository}/manifests/{reference}");
            let tag = manifest(&format!("{revision}-{name}"));
            let accept =
                "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
            let headers =
                run(self.on_hub("curl").args(["--silent", "--fail", "--head", "--header", accept, &tag]))?;
            let digest = headers.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("docker-content-digest").then(|| value.trim().to_owned())
            });
            let image = manifest(&digest.with_context(|| format!("{tag} has no digest"))?);
            run(self.on_hub("curl").args(["--silent", "--fail", "--request", "DELETE", &image]))?;
        }
        Ok(())
    }

    fn pruner_job(&self, native: &Path) -> Command {
        let mut command = self.on_hub(&self.program);
        command.env("ORT_DYLIB_PATH", native).env("OMP_WAIT_POLICY", "passive");
        command
    }

    fn on_hub(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.cluster.command_in(&Place::Hub, program)
    }
}

/// Writes the first images of Fashion-MNIST, with their labels.
pub fn cut_dataset(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let files = [
        ("train-images-idx3-ubyte.gz", TRAINING_IMAGES, 16, 28 * 28),
        ("train-labels-idx1-ubyte.gz", TRAINING_IMAGES, 8, 1),
        ("t10k-images-idx3-ubyte.gz", TEST_IMAGES, 16, 28 * 28),
        ("t10k-labels-idx1-ubyte.gz", TEST_IMAGES, 8, 1),
    ];
    for (name, count, header, item) in files {
        let source = Path::new(WHOLE_DATASET).join(name);
        let missing = || format!("failed to read {}: `make deps` installs it", source.display());
        let length = header + count as usize * item;
        let mut bytes = Vec::with_capacity(length);
        let whole = GzDecoder::new(File::open(&source).with_context(missing)?);
        whole.take(length as u64).read_to_end(&mut bytes).with_context(missing)?;
        ensure!(bytes.len() == length, "{} is shorter than {length} bytes", source.display());
        // IDX: a magic number, then the number of items, both in four bytes.
        bytes.splice(4..8, count.to_be_bytes());
        // Without a time in it, so that the image's digest depends on the data alone.
        let mut packed = GzEncoder::new(File::create(folder.join(name))?, Compression::fast());
        packed.write_all(&bytes)?;
        packed.finish()?;
    }
    Ok(())
}
