//! `dnnshifter-cluster`: the library's commands for people and scripts. All work is done there.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use dnnshifter_cluster::{Cluster, Config, Destination, ImageBuild, ImageFile, Place, ProjectImage};

/// A real Kubernetes on this machine: build it, start it, break it, remove it. Needs root.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build Kubernetes and all else that a cluster is made of into the cache, unless it is there.
    Build,
    /// Start a cluster and wait until its nodes are Ready.
    Up {
        /// YAML that describes its nodes (tests/cluster/README.md); a hub and three edge nodes if absent.
        #[arg(long)]
        nodes: Option<PathBuf>,
    },
    /// Remove the cluster, or what a crash has left of one. The cache stays.
    Down,
    /// Run a program with the network of the hub or of a node, kubectl and helm in PATH, and KUBECONFIG set.
    Exec {
        /// The edge node whose network the program sees; the hub's if absent.
        #[arg(long)]
        node: Option<String>,
        /// The program and its arguments, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Pull an edge node's cable: a network partition.
    Cut {
        /// The edge node.
        node: String,
    },
    /// Put an edge node's cable back.
    Mend {
        /// The edge node.
        node: String,
    },
    /// Show every process and link.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a component's log, or the last lines of all of them.
    Logs {
        /// A name that `status` shows.
        component: Option<String>,
    },
    /// Start a component that was stopped.
    Start {
        /// A name that `status` shows.
        component: String,
    },
    /// Ask a component to end, and wait until it has.
    Stop {
        /// A name that `status` shows.
        component: String,
    },
    /// End a component without warning.
    Kill {
        /// A name that `status` shows.
        component: String,
    },
    /// Build the project's images from a checkout's release binaries, push them, and print their references by digest.
    Images {
        /// Push below this, such as `registry.example.com/team`, rather than to the cluster's registry, with the credentials of
        /// `buildah login` or of the file that `REGISTRY_AUTH_FILE` names. No cluster is needed then.
        #[arg(long)]
        registry: Option<String>,
        /// The images' tag there.
        #[arg(long, default_value = "latest", requires = "registry")]
        tag: String,
        /// Speak plain HTTP to that registry.
        #[arg(long, requires = "registry")]
        plain_http: bool,
        /// Write the references into this file, too, as values of the chart.
        #[arg(long)]
        values: Option<PathBuf>,
        /// The checkout.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))]
        checkout: PathBuf,
        /// Which ones, by folder: operator, runtime, pruner-job; all if none is named.
        #[arg(value_parser = parse_project_image)]
        images: Vec<ProjectImage>,
    },
    /// Build an image from a Containerfile, push it to the cluster's registry, and print its reference by digest.
    Image {
        /// Its name in the registry, without the registry.
        #[arg(long)]
        repository: String,
        /// Its tag.
        #[arg(long, default_value = "latest")]
        tag: String,
        /// Its Containerfile; without one, the image is the files.
        #[arg(long)]
        containerfile: Option<PathBuf>,
        /// What the Containerfile may copy: SOURCE=TARGET, a file or a folder.
        #[arg(value_parser = parse_file)]
        files: Vec<ImageFile>,
    },
}

fn parse_file(text: &str) -> Result<ImageFile, String> {
    let (source, target) = text.split_once('=').ok_or("write SOURCE=TARGET")?;
    Ok(ImageFile { source: source.into(), target: target.into() })
}

fn parse_project_image(text: &str) -> Result<ProjectImage, String> {
    let named = |image: &ProjectImage| image.folder() == text;
    ProjectImage::ALL
        .into_iter()
        .find(named)
        .ok_or_else(|| "there are operator, runtime and pruner-job".to_owned())
}

fn main() -> ExitCode {
    match run(Arguments::parse().action) {
        Ok(status) => status,
        Err(error) => {
            // Nobody to read it is no reason to say anything else.
            let _ = writeln!(std::io::stderr(), "dnnshifter-cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Build => dnnshifter_cluster::build()?,
        Action::Up { nodes } => {
            let config = nodes.map_or_else(|| Ok(Config::default()), |path| Config::read(&path))?;
            Cluster::up(&config)?;
        }
        Action::Down => dnnshifter_cluster::remove()?,
        Action::Exec { node, command } => return exec(node.as_deref(), &command),
        Action::Cut { node } => Cluster::attach()?.cut(&node)?,
        Action::Mend { node } => Cluster::attach()?.mend(&node)?,
        Action::Status { json } => status(json)?,
        Action::Logs { component } => logs(component.as_deref())?,
        Action::Start { component } => Cluster::attach()?.start(&component)?,
        Action::Stop { component } => Cluster::attach()?.stop(&component)?,
        Action::Kill { component } => Cluster::attach()?.kill(&component)?,
        Action::Images { registry, tag, plain_http, values, checkout, images } => {
            let destination = registry.map(|prefix| Destination { prefix, tag, plain_http });
            project_images(destination.as_ref(), &checkout, &images, values.as_deref())?;
        }
        Action::Image { repository, tag, containerfile, files } => {
            image(repository, tag, containerfile, files)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Becomes the program, so that signals and the exit status are its own.
fn exec(node: Option<&str>, command: &[String]) -> Result<ExitCode> {
    let cluster = Cluster::attach()?;
    let place = node.map_or(Ok(Place::Hub), |node| cluster.place(node))?;
    let Some((program, arguments)) = command.split_first() else { bail!("name a program after `--`") };
    let error = cluster.command_in(&place, program).args(arguments).exec();
    Err(error).context("failed to run nsenter: is util-linux installed?")
}

fn status(json: bool) -> Result<()> {
    let status = Cluster::attach()?.status()?;
    let text = if json { serde_json::to_string_pretty(&status)? } else { status.to_string() };
    Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)
}

fn logs(component: Option<&str>) -> Result<()> {
    let text = dnnshifter_cluster::logs(component)?;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn project_images(
    destination: Option<&Destination>,
    checkout: &Path,
    images: &[ProjectImage],
    values: Option<&Path>,
) -> Result<()> {
    let mut text = String::new();
    for image in if images.is_empty() { &ProjectImage::ALL } else { images } {
        let reference = match destination {
            Some(destination) => dnnshifter_cluster::publish_project_image(*image, checkout, destination)?,
            None => Cluster::attach()?.push_project_image(*image, checkout)?,
        };
        writeln!(std::io::stdout(), "{} {reference}", image.folder())?;
        writeln!(text, "{}: {{image: \"{reference}\"}}", image.chart_value())?;
    }
    let Some(path) = values else { return Ok(()) };
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

fn image(
    repository: String,
    tag: String,
    containerfile: Option<PathBuf>,
    files: Vec<ImageFile>,
) -> Result<()> {
    let cluster = Cluster::attach()?;
    let reference = match containerfile {
        None => cluster.push_files(&repository, &tag, files)?,
        Some(path) => {
            let containerfile = std::fs::read_to_string(&path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            cluster.push_image(&ImageBuild { repository, tag, containerfile, files })?
        }
    };
    Ok(writeln!(std::io::stdout(), "{reference}")?)
}
