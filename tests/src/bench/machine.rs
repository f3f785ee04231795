//! The machine that figures are of.

use std::{fmt, fs, path::Path};

use serde::{Deserialize, Serialize};

use super::Programs;

/// The machine, and what ran on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The processor, as it calls itself.
    pub processor: String,
    /// How many of its cores there are.
    pub cores: usize,
    /// The vector instructions that matter to an inference.
    pub vectors: String,
    /// The kernel's release.
    pub kernel: String,
    /// The version of our programs.
    pub version: String,
    /// The build of ONNX Runtime, as its folder is called.
    pub onnxruntime: String,
}

impl Machine {
    /// The one that this runs on.
    pub(super) fn this(programs: &Programs) -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = processors.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value).to_owned()
        };
        let flags = field("flags");
        let has = |flag: &&str| flags.split(' ').any(|it| it == *flag);
        let family = (field("cpu family"), field("model\t"));
        let folder = programs.onnxruntime.parent().and_then(Path::file_name).unwrap_or_default();
        Self {
            processor: format!("{} (family {}, model {})", field("model name"), family.0, family.1),
            cores: processors.lines().filter(|line| line.starts_with("processor")).count(),
            vectors: ["avx2", "fma", "avx512f"].into_iter().filter(has).collect::<Vec<_>>().join(", "),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            onnxruntime: folder.to_string_lossy().into_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, vectors, kernel, version, onnxruntime } = self;
        write!(f, "{processor}, {cores} cores ({vectors}), Linux {kernel}; version {version}, {onnxruntime}")
    }
}

#[cfg(test)]
impl Machine {
    /// One that there is not.
    pub(super) fn made_up() -> Self {
        Self {
            processor: "P".to_owned(),
            cores: 2,
            vectors: "avx2".to_owned(),
            kernel: "6.1".to_owned(),
            version: "0.1.0".to_owned(),
            onnxruntime: "onnxruntime-1".to_owned(),
        }
    }
}
