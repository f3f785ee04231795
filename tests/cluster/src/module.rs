//! The Go modules that the cluster is built from, and their binaries in the cache.
//!
//! A binary's folder is named by version and by a hash of all that it is made from, is filled under another name and then
//! renamed: it is there and whole, or not there.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::command::{tail, words};
use crate::fingerprint::name_of;
use crate::layout::Layout;
use crate::progress::Step;

/// How often a long build says how far it is.
const NOTE_EVERY: Duration = Duration::from_secs(15);

/// A Go module and the programs that it builds.
struct Module {
    name: &'static str,
    /// The dependency whose version is this module's version.
    main: &'static str,
    manifest: &'static str,
    sums: &'static str,
    /// Our own `main.go`, where the module has one.
    program: Option<&'static str>,
    /// What to build: `tool` is all that the manifest's tool lines name.
    packages: &'static str,
    /// Build tags.
    tags: &'static str,
    binaries: &'static [&'static str],
    /// The variables that hold the version, which only an official build script would set.
    version_variables: &'static [&'static str],
}

/// Each in the order of building: the shared dependencies of `kubernetes` serve `coredns` and `helm`.
const MODULES: [Module; 6] = [
    Module {
        name: "etcd",
        main: "go.etcd.io/etcd/server/v3",
        manifest: include_str!("../etcd/go.mod"),
        sums: include_str!("../etcd/go.sum"),
        program: None,
        packages: "go.etcd.io/etcd/server/v3",
        tags: "",
        binaries: &["etcd"],
        version_variables: &[],
    },
    Module {
        name: "kubernetes",
        main: "k8s.io/kubernetes",
        manifest: include_str!("../kubernetes/go.mod"),
        sums: include_str!("../kubernetes/go.sum"),
        program: None,
        packages: "tool",
        tags: "",
        binaries: &[
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        ],
        // Without these the API server reports v0.0.0 and picks a wrong emulation version.
        version_variables: &["k8s.io/component-base/version.gitVersion"],
    },
    Module {
        name: "containerd",
        main: "github.com/containerd/containerd/v2",
        manifest: include_str!("../containerd/go.mod"),
        sums: include_str!("../containerd/go.sum"),
        program: None,
        packages: "tool",
        tags: "",
        binaries: &["containerd", "containerd-shim-runc-v2", "ctr"],
        version_variables: &["github.com/containerd/containerd/v2/version.Version"],
    },
    Module {
        name: "coredns",
        main: "github.com/coredns/coredns",
        manifest: include_str!("../coredns/go.mod"),
        sums: include_str!("../coredns/go.sum"),
        program: Some(include_str!("../coredns/main.go")),
        packages: ".",
        tags: "",
        binaries: &["coredns"],
        version_variables: &[],
    },
    Module {
        name: "helm",
        main: "helm.sh/helm/v4",
        manifest: include_str!("../helm/go.mod"),
        sums: include_str!("../helm/go.sum"),
        program: None,
        packages: "tool",
        tags: "",
        binaries: &["helm"],
        version_variables: &[],
    },
    Module {
        // Debian's is built without Kubernetes service discovery.
        name: "prometheus",
        main: "github.com/prometheus/prometheus",
        manifest: include_str!("../prometheus/go.mod"),
        sums: include_str!("../prometheus/go.sum"),
        program: None,
        packages: "tool",
        // Of some thirty kinds of service discovery, with the cloud SDKs that they need, only the one that is used.
        tags: "remove_all_sd,enable_kubernetes_sd",
        binaries: &["prometheus"],
        version_variables: &[],
    },
];

/// Why the binaries are not there.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    #[error("failed to find the version of {name} in its go.mod")]
    Version { name: &'static str },
    #[error("failed to write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("failed to run Go: install it (1.26 or newer, https://go.dev/dl) and put it in PATH")]
    Go { source: std::io::Error },
    #[error("`{command}` failed in {directory}: {said}")]
    Build { command: String, directory: PathBuf, said: String },
    #[error("the build of {name} {version} left no {binary}")]
    Missing { name: &'static str, version: String, binary: &'static str },
}

/// Builds what the cache does not have, and returns the folders for `PATH`. Two at once would build the same: one waits.
pub(crate) fn build_all(layout: &Layout) -> Result<Vec<PathBuf>, ModuleError> {
    let path = layout.cache.join("bin.lock");
    let locked = std::fs::create_dir_all(&layout.cache).and_then(|()| File::create(&path)).and_then(|file| {
        file.lock()?;
        Ok(file)
    });
    let _until_built = locked.map_err(|source| ModuleError::Write { path, source })?;
    MODULES.iter().map(|module| module.build(layout)).collect()
}

/// The folders for `PATH`, or the first module that is not built.
pub(crate) fn built(layout: &Layout) -> Result<Vec<PathBuf>, &'static str> {
    let folder =
        |module: &Module| module.folder(layout).ok().filter(|folder| folder.is_dir()).ok_or(module.name);
    MODULES.iter().map(folder).collect()
}

impl Module {
    fn version(&self) -> Result<String, ModuleError> {
        let of = |line: &str| {
            let line = line.trim().trim_start_matches("require ");
            let version = line.strip_prefix(self.main)?.trim_start().strip_prefix('v')?;
            version.split_whitespace().next().map(str::to_owned)
        };
        self.manifest.lines().find_map(of).ok_or(ModuleError::Version { name: self.name })
    }

    fn link_flags(&self, version: &str) -> String {
        let mut flags = "-s -w".to_owned();
        let mut set = |variable: &str, value: &str| {
            for word in [" -X ", variable, "=", value] {
                flags.push_str(word);
            }
        };
        for variable in self.version_variables {
            set(variable, &format!("v{version}"));
        }
        if self.name == "kubernetes" {
            let mut numbers = version.split('.');
            set("k8s.io/component-base/version.gitMajor", numbers.next().unwrap_or_default());
            set("k8s.io/component-base/version.gitMinor", numbers.next().unwrap_or_default());
        }
        flags
    }

    fn folder(&self, layout: &Layout) -> Result<PathBuf, ModuleError> {
        let version = self.version()?;
        let mut hash = Sha256::new();
        for part in [
            self.manifest,
            self.sums,
            self.program.unwrap_or_default(),
            self.tags,
            &self.link_flags(&version),
        ] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        Ok(layout.cache.join("bin").join(format!("{}-{version}-{}", self.name, name_of(hash))))
    }

    fn build(&self, layout: &Layout) -> Result<PathBuf, ModuleError> {
        let folder = self.folder(layout)?;
        if folder.is_dir() {
            return Ok(folder);
        }
        let version = self.version()?;
        let step = Step::begin(format!("building {} {version}", self.name));
        let partial = folder.with_file_name(format!("{}-{version}.partial", self.name));
        let source = partial.join("source");
        let failed = |path: &Path, source| ModuleError::Write { path: path.to_owned(), source };
        if partial.exists() {
            std::fs::remove_dir_all(&partial).map_err(|error| failed(&partial, error))?;
        }
        std::fs::create_dir_all(&source).map_err(|error| failed(&source, error))?;
        let mut files = vec![("go.mod", self.manifest), ("go.sum", self.sums)];
        files.extend(self.program.map(|program| ("main.go", program)));
        for (name, text) in files {
            let path = source.join(name);
            std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
        }
        self.compile(&source, &partial, &version, &step)?;
        for binary in self.binaries {
            if !partial.join(binary).is_file() {
                return Err(ModuleError::Missing { name: self.name, version, binary });
            }
        }
        std::fs::remove_dir_all(&source).map_err(|error| failed(&source, error))?;
        std::fs::rename(&partial, &folder).map_err(|error| failed(&folder, error))?;
        step.done();
        Ok(folder)
    }

    fn compile(&self, source: &Path, target: &Path, version: &str, step: &Step) -> Result<(), ModuleError> {
        let mut command = self.command(source, target, version);
        let failed = |source| ModuleError::Go { source };
        let mut child = command.spawn().map_err(failed)?;
        let mut said = Vec::new();
        let mut noted = Instant::now();
        for line in child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).lines()) {
            said.push(line.map_err(failed)?);
            if noted.elapsed() > NOTE_EVERY {
                step.note(&format!("{} packages fetched or compiled", said.len()));
                noted = Instant::now();
            }
        }
        if child.wait().map_err(failed)?.success() {
            return Ok(());
        }
        let said = tail(&said.join("\n"));
        Err(ModuleError::Build { command: words(&command), directory: source.to_owned(), said })
    }

    /// `go build -v` says a line for each package that it compiles: that is the progress to show.
    fn command(&self, source: &Path, target: &Path, version: &str) -> Command {
        let mut output = target.as_os_str().to_owned();
        // Go puts several programs into a folder, and names one by its module's last element (`v3`): so name that.
        output.push(match self.binaries {
            [only] => format!("/{only}"),
            _ => "/".to_owned(),
        });
        let mut command = Command::new("go");
        command
            .current_dir(source)
            // No C: the programs are static.
            .env("CGO_ENABLED", "0")
            .args(["build", "-v", "-trimpath", "-buildvcs=false", "-tags", self.tags, "-ldflags"])
            .arg(self.link_flags(version))
            .arg("-o")
            .arg(output)
            .arg(self.packages)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_module_has_a_version_and_a_folder_of_its_own() {
        let layout = Layout { cache: "/cache".into(), run: "/run".into() };
        let folders: BTreeSet<_> = MODULES.iter().map(|module| module.folder(&layout).unwrap()).collect();
        assert_eq!(folders.len(), MODULES.len());
        assert!(folders.iter().any(|folder| folder.to_string_lossy().contains("kubernetes-1.37.2-")));
    }

    #[test]
    fn kubernetes_is_told_its_version() {
        let kubernetes = MODULES.iter().find(|module| module.name == "kubernetes").unwrap();
        let flags = kubernetes.link_flags("1.37.2");
        assert!(flags.contains("gitVersion=v1.37.2") && flags.contains("gitMinor=37"), "{flags}");
    }
}
