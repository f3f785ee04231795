//! The program as a person starts it: what it says when it cannot run, and what it prints.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{fs, path::Path, process::Command};

use dnnshifter_crds::VariantPlacementStatus;
use serde_json::Value;

const NETWORK: &[u8] = include_bytes!("../fixtures/tiny.onnx");
const DESCRIPTION: &str = r#"{"version": "dnnshifter.io/variant/v1", "name": "a", "revision": "1", "accuracy": "0.9",
    "parameters": 15, "bytes": 1000, "macs": 12, "input": {"name": "image", "shape": [2, 2]},
    "output": {"name": "scores", "shape": [3]}, "check": {"input": [1, 2, 3, 4], "output": [1, 2, 11]}}"#;

/// A directory with the one variant `a`.
fn variants() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    add_variant(directory.path(), "a");
    directory
}

fn add_variant(directory: &Path, name: &str) {
    let folder = directory.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("model.onnx"), NETWORK).unwrap();
    fs::write(
        folder.join("variant.json"),
        DESCRIPTION.replace(r#""name": "a""#, &format!(r#""name": "{name}""#)),
    )
    .unwrap();
}

/// Runs the program to its end: its code, and what it wrote to standard error.
fn run(arguments: &[&str], library: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnnshifter-runtime"));
    let ended = command.args(arguments).env("ORT_DYLIB_PATH", library).output().unwrap();
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[test]
fn without_the_library_of_its_engine_it_says_so_and_ends() {
    let directory = variants();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("text"), "no library").unwrap();
    let (models, network, output) = (directory.path(), path("a/model.onnx"), path("optimised"));
    let (models, network, output) =
        (models.to_str().unwrap(), network.to_str().unwrap(), output.to_str().unwrap());
    let commands = [
        vec!["serve", models, "--listen", "127.0.0.1:0"],
        vec!["profile", models],
        vec!["optimise", network, output],
    ];
    for command in commands {
        for library in [path("nowhere.so"), path("text"), "libc.so.6".into()] {
            let (code, said) = run(&command, &library);
            let expected =
                format!("failed to load ONNX Runtime from \"{}\"; set ORT_DYLIB_PATH to", library.display());
            assert!(said.contains(&expected), "{command:?}: {said}");
            assert!(!said.contains("panicked"), "{command:?}: {said}");
            assert_eq!(code, Some(1), "{command:?}: {said}");
        }
    }
}

#[test]
fn a_profile_is_printed_as_the_status_of_a_placement_has_it() {
    let directory = variants();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnnshifter-runtime"));
    let ended = command.args(["profile", "--json"]).arg(directory.path()).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let printed: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let status: VariantPlacementStatus = serde_json::from_value(printed.clone()).unwrap();
    assert_eq!(serde_json::to_value(&status).unwrap(), printed, "nothing else is printed");
    let fields: Vec<_> = printed.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["limits", "machine", "profiles"]);
    let measured = &status.profiles[0];
    assert_eq!((measured.name.as_str(), measured.wall.samples > 0), ("a", true));
    assert!(measured.warm_microseconds > 0 && measured.digest.is_some(), "{printed}");
    let machine = status.machine.unwrap();
    assert!(machine.threads > 0 && machine.engine.starts_with("onnxruntime "), "{machine:?}");
}
