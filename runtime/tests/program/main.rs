//! The program as a person starts it: what it says when it cannot run, and how it serves.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod node;

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::{Value, json};

const NETWORK: &[u8] = include_bytes!("../../fixtures/tiny.onnx");
const DESCRIPTION: &str = r#"{"version": "dnnshifter.io/variant/v1", "name": "a", "revision": "1", "accuracy": "0.9",
    "parameters": 15, "bytes": 1000, "macs": 12, "input": {"name": "image", "shape": [2, 2]},
    "output": {"name": "scores", "shape": [3]}, "check": {"input": [1, 2, 3, 4], "output": [1, 2, 11]}}"#;

/// A test that hangs fails by this.
const PATIENCE: Duration = Duration::from_mins(1);

/// A directory with the one variant `a`.
fn variants() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_variant(directory.path(), "a", NETWORK);
    directory
}

fn write_variant(models: &Path, name: &str, network: &[u8]) {
    let folder = models.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("model.onnx"), network).unwrap();
    let description = DESCRIPTION.replace(r#""name": "a""#, &format!(r#""name": "{name}""#));
    fs::write(folder.join("variant.json"), description).unwrap();
}

/// Runs the program to its end: its code, and what it wrote to standard error.
fn run(arguments: &[&str], library: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnnshifter-runtime"));
    let ended = command.args(arguments).env("ORT_DYLIB_PATH", library).output().unwrap();
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

/// A runtime that serves; it is killed if the test ends before it has.
struct Serving {
    process: Child,
    address: SocketAddr,
}

impl Serving {
    /// Serves a directory under the name `tiny`, once `a` serves.
    fn start(models: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dnnshifter-runtime"));
        command.arg("--log-format").arg("json").arg("serve").arg(models);
        command.args(["--listen", "127.0.0.1:0", "--name", "tiny", "--variant", "a", "--drain-seconds", "0"]);
        let mut process = command.env_remove("RUST_LOG").stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the program has ended");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"].as_str().is_some_and(|message| message.starts_with("serving")) {
                break line["listen"].as_str().unwrap().parse().unwrap();
            }
        };
        // Nobody reads on, and the program must not wait for that.
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        let serving = Self { process, address };
        assert_eq!(serving.load("a").0, 200);
        serving
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The status of an answer, and its body.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = self.connect();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n");
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn load(&self, variant: &str) -> (u16, String) {
        let body = json!({"parameters": {"version": variant}}).to_string();
        self.ask("POST", "/v2/repository/models/tiny/load", &body)
    }

    /// The variant that answers, and the scores that it gives.
    fn infer(&self) -> (String, Value) {
        let input = json!({"name": "image", "shape": [1, 2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]});
        let (status, answer) =
            self.ask("POST", "/v2/models/tiny/infer", &json!({"inputs": [input]}).to_string());
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        (answer["model_version"].as_str().unwrap().to_owned(), answer["outputs"][0]["data"].clone())
    }

    fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Ends it as Kubernetes does, and gives its code.
    fn end(mut self) -> Option<i32> {
        let process = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(process, Signal::TERM).unwrap();
        self.process.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn a_directory_is_served_and_its_variants_are_switched_until_a_signal_comes() {
    let directory = variants();
    write_variant(directory.path(), "b", NETWORK);
    let serving = Serving::start(directory.path());
    let scores = json!([1.0, 2.0, 11.0]);
    assert_eq!(serving.ask("GET", "/v2/health/ready", "").0, 200);
    assert_eq!(serving.infer(), ("a".to_owned(), scores.clone()));
    assert_eq!(serving.load("b").0, 200);
    assert_eq!(serving.infer(), ("b".to_owned(), scores));
    let (_, index) = serving.ask("POST", "/v2/repository/index", "");
    let index: Vec<Value> = serde_json::from_str(&index).unwrap();
    let serves = index.iter().find(|entry| entry["version"] == "b").unwrap();
    assert_eq!((&serves["state"], &serves["reason"]), (&json!("READY"), &json!("serves")));
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn a_variant_that_was_mended_on_disk_is_loaded_without_a_restart() {
    let directory = variants();
    write_variant(directory.path(), "b", b"no network");
    let serving = Serving::start(directory.path());
    let (status, said) = serving.load("b");
    assert_eq!(status, 422, "{said}");
    assert!(said.contains("failed to open the network"), "{said}");
    assert_eq!(serving.infer().0, "a");
    write_variant(directory.path(), "b", NETWORK);
    assert_eq!(serving.load("b"), (200, String::new()));
    assert_eq!(serving.infer().0, "b");
}

#[test]
fn a_thousand_idle_connections_take_little_memory_and_keep_nobody_out() {
    const CONNECTIONS: usize = 1000;
    const MOST_BYTES: u64 = 64 << 20;
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.map_or(4096, |most| most.min(4096));
    setrlimit(Resource::Nofile, Rlimit { current: Some(enough), maximum: limit.maximum }).unwrap();
    let directory = variants();
    let serving = Serving::start(directory.path());
    let before = serving.resident_bytes();
    let idle: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|count| {
            let mut stream = serving.connect();
            // What others have begun is closed first by the server, which may be now.
            match count % 3 {
                0 => drop(stream.write_all(b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: h\r\nx-")),
                1 => drop(stream.write_all(b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n")),
                _ => (),
            }
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(serving.infer().0, "a");
        assert_eq!(serving.ask("GET", "/livez", "").0, 200);
    }
    let taken = serving.resident_bytes().saturating_sub(before);
    assert!(taken < MOST_BYTES, "{taken} bytes");
    drop(idle);
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
