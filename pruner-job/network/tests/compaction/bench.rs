//! Measures compaction: what is left, how long it takes from file to file and in how much memory, how much faster ONNX Runtime
//! is afterwards. Writes `docs/benchmarks/compaction.json` and the page beside it. `make bench-compaction`, on a machine with
//! nothing else to do.
//!
//! Each run is a process of its own, so that memory is fresh and its peak is known; networks take turns.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that fails stops, and says where"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use dnnshifter_network::{
    compact::{Options, compact, compacted},
    network::weights::KnownWeights,
    onnx::ModelProto,
};
use memmap2::{Mmap, MmapOptions};
use ort::{session::builder::GraphOptimizationLevel, value::TensorRef};
use prost::Message;
use serde_json::{Value, json};

mod judge;
#[expect(dead_code, reason = "the tests use more of it")]
mod mask;
#[expect(dead_code, reason = "the tests use more of it")]
mod zoo;

mod page;
mod published;

use mask::{Scope, parameters};
use zoo::{
    Architecture, IMAGE, classic,
    sketch::{Norms, Sketch},
};

/// Interleaved runs of each measurement.
const RUNS: usize = 5;
/// Fractions of weights that are zero, over all of a network. 0.996 is the sparsest that the paper publishes.
const MASKS: [f64; 4] = [0.0, 0.9, 0.99, 0.996];
/// Predictions that are timed in one run.
const PREDICTIONS: usize = 30;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "one") {
        Some(at) => println!("{}", one(Path::new(&arguments[at + 1]), Path::new(&arguments[at + 2]))),
        None => measure(),
    }
}

fn measure() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks");
    let folder = tempfile::tempdir().unwrap();
    let result = json!({
        "machine": machine(),
        "runs": RUNS,
        "files": files(folder.path()),
        "architectures": architectures(),
    });
    fs::create_dir_all(&docs).unwrap();
    fs::write(docs.join("compaction.json"), serde_json::to_string_pretty(&result).unwrap() + "\n").unwrap();
    fs::write(docs.join("compaction.md"), page::page(&result)).unwrap();
    println!("wrote {}", docs.join("compaction.md").display());
}

/// Two networks as they are published, masked, from file to file.
fn files(folder: &Path) -> Vec<Value> {
    let vgg = || classic::vgg(Sketch::new(Norms::Kept, 1, IMAGE), &classic::VGG16, None);
    let (width, blocks, classes) = classic::RESNET50;
    let resnet =
        || classic::resnet_bottleneck(Sketch::new(Norms::Kept, 1, [3, 224, 224]), width, &blocks, classes);
    let mut cases = Vec::new();
    for (title, model, shape) in [("VGG-16", vgg(), IMAGE), ("ResNet-50", resnet(), [3, 224, 224])] {
        for fraction in MASKS {
            let mut model = model.clone();
            mask::mask(&mut model, fraction, Scope::Global);
            let path = folder.join(format!("{title}-{fraction}.onnx"));
            fs::write(&path, model.encode_to_vec()).unwrap();
            cases.push(Case {
                title,
                fraction,
                published: published::parameters_left(&model),
                path,
                shape,
                runs: vec![],
            });
        }
    }
    for _ in 0..RUNS {
        for case in &mut cases {
            case.run();
        }
    }
    cases.iter().map(Case::summary).collect()
}

/// A file that is compacted again and again.
struct Case {
    title: &'static str,
    fraction: f64,
    published: usize,
    path: PathBuf,
    shape: [usize; 3],
    runs: Vec<Value>,
}

impl Case {
    fn small(&self) -> PathBuf {
        self.path.with_extension("small.onnx")
    }

    fn run(&mut self) {
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program).arg("one").arg(&self.path).arg(self.small()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut run: Value = serde_json::from_slice(&output.stdout).unwrap();
        let [masked, small] = [&self.path, &self.small()].map(|path| latency(path, self.shape));
        run["maskedMs"] = json!(masked);
        run["compactMs"] = json!(small);
        self.runs.push(run);
    }

    fn summary(&self) -> Value {
        let first = &self.runs[0];
        let spread = |name: &str| {
            let mut values: Vec<f64> = self.runs.iter().map(|run| run[name].as_f64().unwrap()).collect();
            values.sort_by(f64::total_cmp);
            json!({"median": values[values.len() / 2], "least": values[0], "most": values[values.len() - 1]})
        };
        json!({
            "network": self.title,
            "masked": self.fraction,
            "parametersBefore": first["parametersBefore"],
            "parametersAfter": first["parametersAfter"],
            "parametersPublished": self.published,
            "bytesBefore": fs::metadata(&self.path).unwrap().len(),
            "bytesAfter": fs::metadata(self.small()).unwrap().len(),
            "readMs": spread("readMs"),
            "rewriteMs": spread("rewriteMs"),
            "writeMs": spread("writeMs"),
            "wholeMs": spread("wholeMs"),
            "peakOverFile": spread("peakOverFile"),
            "maskedMs": spread("maskedMs"),
            "compactMs": spread("compactMs"),
        })
    }
}

/// Compacts one file in this process, and says how long that took and how much memory.
fn one(from: &Path, to: &Path) -> Value {
    let start = Instant::now();
    let bytes = bytes::Bytes::from_owner(mapped(from));
    let size = bytes.len();
    let model = ModelProto::decode(bytes).unwrap();
    let known = KnownWeights::checked(&model).unwrap();
    let read = start.elapsed();
    let start = Instant::now();
    let compacted = compacted(&known, Options::default()).unwrap();
    let rewritten = start.elapsed();
    let start = Instant::now();
    compacted.write(&mut fs::File::create(to).unwrap()).unwrap();
    let written = start.elapsed();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: f64 = peak.trim().trim_end_matches("kB").trim().parse().unwrap();
    json!({
        "readMs": read.as_secs_f64() * 1e3,
        "rewriteMs": rewritten.as_secs_f64() * 1e3,
        "writeMs": written.as_secs_f64() * 1e3,
        "wholeMs": (read + rewritten + written).as_secs_f64() * 1e3,
        "peakOverFile": peak * 1024.0 / size as f64,
        "parametersBefore": compacted.report.before.parameters,
        "parametersAfter": compacted.report.after.parameters,
    })
}

/// A file as memory, as the program reads it.
#[expect(unsafe_code, reason = "nobody writes into the files of this benchmark while they are read")]
fn mapped(path: &Path) -> Mmap {
    unsafe { MmapOptions::new().populate().map(&fs::File::open(path).unwrap()).unwrap() }
}

/// Median milliseconds of a prediction in ONNX Runtime, optimised, on one thread.
fn latency(path: &Path, shape: [usize; 3]) -> f64 {
    let mut session = judge::session(&fs::read(path).unwrap(), GraphOptimizationLevel::All).unwrap();
    let shape = [&[1][..], &shape].concat();
    let image: Vec<f32> = (0..shape.iter().product()).map(|place| (place as f32).sin()).collect();
    let mut times: Vec<f64> = (0..PREDICTIONS)
        .map(|_| {
            let start = Instant::now();
            let tensor = TensorRef::from_array_view((shape.clone(), image.as_slice())).unwrap();
            drop(session.run(ort::inputs![tensor]).unwrap());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// What is left of each small architecture of the tests, by compaction and by the published method.
fn architectures() -> Vec<Value> {
    let left = |architecture: Architecture, norms, fraction| {
        let mut model = architecture.small(norms, 4);
        let before = parameters(&model);
        mask::mask(&mut model, fraction, Scope::Global);
        let untouched = model.encode_to_vec();
        let published = published::parameters_left(&model);
        let mut same = published::computed(&model);
        compact(&mut same, Options::default()).unwrap();
        compact(&mut model, Options::default()).unwrap();
        judge::check_equal(&untouched, &model.encode_to_vec(), IMAGE).unwrap();
        let share = |parameters: usize| parameters as f64 / before as f64;
        json!({"left": share(parameters(&model)), "leftOfPublished": share(parameters(&same)), "published": share(published)})
    };
    let entry = |architecture| {
        let of = |norms| [0.5, 0.9, 0.99].map(|fraction| left(architecture, norms, fraction));
        json!({"network": format!("{architecture:?}"), "kept": of(Norms::Kept), "folded": of(Norms::Folded)})
    };
    Architecture::ALL.into_iter().map(entry).collect()
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    format!(
        "{}, {} cores",
        name.unwrap_or("unknown processor"),
        std::thread::available_parallelism().unwrap()
    )
}
