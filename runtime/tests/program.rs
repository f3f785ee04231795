//! The program as a person starts it: what it says when it cannot run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{fs, path::Path, process::Command};

const NETWORK: &[u8] = include_bytes!("../fixtures/tiny.onnx");
const DESCRIPTION: &str = r#"{"version": "dnnshifter.io/variant/v1", "name": "a", "revision": "1", "accuracy": "0.9",
    "parameters": 15, "bytes": 1000, "macs": 12, "input": {"name": "image", "shape": [2, 2]},
    "output": {"name": "scores", "shape": [3]}, "check": {"input": [1, 2, 3, 4], "output": [1, 2, 11]}}"#;

/// A directory with the one variant `a`.
fn variants() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("a");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("model.onnx"), NETWORK).unwrap();
    fs::write(folder.join("variant.json"), DESCRIPTION).unwrap();
    directory
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
        vec!["prepare", "--models", models, "--store", output],
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
fn variants_are_prepared_once_and_a_bad_one_fails_nothing() {
    let directory = variants();
    let bad = directory.path().join("b");
    fs::create_dir(&bad).unwrap();
    fs::write(bad.join("model.onnx"), "no network").unwrap();
    fs::write(bad.join("variant.json"), DESCRIPTION.replace(r#""name": "a""#, r#""name": "b""#)).unwrap();
    let store = tempfile::tempdir().unwrap();
    let paths = [directory.path(), store.path()].map(|path| path.to_str().unwrap());
    let prepare = ["prepare", "--models", paths[0], "--store", paths[1]];
    let library = std::env::var_os("ORT_DYLIB_PATH").unwrap();
    for optimised in [1, 0] {
        let (code, said) = run(&prepare, Path::new(&library));
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.matches(r#""message":"optimised""#).count(), optimised, "{said}");
        assert_eq!(said.matches("failed to prepare a variant").count(), 1, "{said}");
    }
    let entries = fs::read_dir(store.path().join("optimised")).unwrap();
    let sealed = entries.filter(|entry| entry.as_ref().unwrap().path().join("seal.json").exists());
    assert_eq!(sealed.count(), 1);
}
