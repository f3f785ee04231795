//! What must stand before the demo begins: a cluster, its images, the charts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use dnnshifter_cluster::{Cluster, ImageFile, PRIVATE_REGISTRY, PROMETHEUS, Place, ProjectImage, REGISTRY};

use super::console::step;

/// Where the operator is installed.
pub const SYSTEM_NAMESPACE: &str = "dnnshifter-system";

/// The repository's root and the programs that were built from it.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

/// The images of our components, by digest.
#[derive(Clone, Debug)]
pub struct ComponentImages {
    /// The operator's.
    pub operator: String,
    /// The runtime's.
    pub runtime: String,
    /// The pruner-job's.
    pub pruner_job: String,
}

impl Workspace {
    /// The checkout that this program was built from.
    pub fn here() -> Self {
        Self { root: Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned() }
    }

    /// A path within the checkout.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A program of ours.
    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join("target/release").join(name)
    }

    /// Builds and pushes the images of our components.
    pub fn push_components(&self, cluster: &Cluster) -> Result<ComponentImages> {
        let step = step("building the three images and pushing them to the cluster's registry");
        let push = |image: ProjectImage| {
            cluster
                .push_project_image(image, &self.root)
                .with_context(|| format!("failed to make the image of {}", image.folder()))
        };
        let images = ComponentImages {
            operator: push(ProjectImage::Operator)?,
            runtime: push(ProjectImage::Runtime)?,
            pruner_job: push(ProjectImage::PrunerJob)?,
        };
        step.done("pushed");
        Ok(images)
    }

    /// Writes an untrained network and publishes it with the data set: what the tutorial's portfolio starts from.
    pub fn push_inputs(&self, cluster: &Cluster, width: &str, dataset: &Path) -> Result<()> {
        let step = step("publishing the untrained network and the data set");
        let model = self.path("target/demo/vgg16.onnx");
        fs::create_dir_all(self.path("target/demo"))?;
        let mut command = Command::new(self.program("dnnshifter-pruner-job"));
        command
            .args(["model", "vgg16", "--width", width, "--input", "1x28x28", "--classes", "10", "--output"])
            .arg(&model);
        command.env("ORT_DYLIB_PATH", self.path(".deps/onnxruntime/libonnxruntime.so.1"));
        ensure!(
            command.status().context("failed to start dnnshifter-pruner-job")?.success(),
            "dnnshifter-pruner-job wrote no model"
        );
        let files = vec![
            ImageFile { source: model, target: "vgg16.onnx".into() },
            ImageFile { source: dataset.to_owned(), target: "fashion-mnist".into() },
        ];
        let reference =
            cluster.push_files("fashion/inputs", "1", files).context("failed to publish the inputs")?;
        step.done(reference);
        Ok(())
    }

    /// Installs both charts and waits for the operator.
    pub fn install_charts(&self, cluster: &Cluster, images: &ComponentImages) -> Result<()> {
        let step = step("installing the charts dnnshifter-crds and dnnshifter");
        run(cluster
            .command_in(&Place::Hub, "helm")
            .args(["upgrade", "--install", "dnnshifter-crds", "--wait"])
            .arg(self.path("charts/dnnshifter-crds")))?;
        let namespace = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {SYSTEM_NAMESPACE}\n  labels: {{pod-security.kubernetes.io/enforce: restricted}}\n"
        );
        cluster.apply(&namespace).context("failed to make the operator's namespace")?;
        let values = [
            format!("operator.image={}", images.operator),
            format!("runtime.image={}", images.runtime),
            format!("prunerJob.image={}", images.pruner_job),
            format!("prometheus.url={PROMETHEUS}"),
            format!("plainHttpRegistries={{{REGISTRY},{PRIVATE_REGISTRY}}}"),
            "nodeSelector.dnnshifter\\.io/role=hub".to_owned(),
        ];
        let mut helm = cluster.command_in(&Place::Hub, "helm");
        helm.args([
            "upgrade",
            "--install",
            "dnnshifter",
            "--namespace",
            SYSTEM_NAMESPACE,
            "--wait",
            "--timeout",
            "3m",
        ]);
        helm.arg(self.path("charts/dnnshifter"));
        for value in &values {
            helm.args(["--set", value]);
        }
        run(&mut helm)?;
        step.done("the operator runs");
        Ok(())
    }
}

/// Runs a command; its output is shown only when it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("failed to start {program}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{program} ended with {}:\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}
