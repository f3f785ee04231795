//! The program as a pod starts it: what it prints of itself, and that it needs no network.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Lines, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use dnnshifter_crds::VariantPlacementStatus;
use serde_json::{Value, json};

use super::{NETWORK, variants, write_variant};

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

/// A pod's program on a node without network, and its log.
struct Node {
    program: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Node {
    /// Of the variants in `directory`/models, with the store beside them.
    fn start(directory: &Path) -> Self {
        let kubeconfig = directory.join("kubeconfig");
        // Nobody listens there.
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        fs::write(&kubeconfig, config.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dnnshifter-runtime"));
        command.args([
            "node",
            "--portfolio",
            "p",
            "--namespace",
            "ns",
            "--placement",
            "p-n",
            "--node-name",
            "n",
        ]);
        command.args(["--listen", "127.0.0.1:0", "--models"]).arg(directory.join("models"));
        command.arg("--store").arg(directory.join("store")).env("KUBECONFIG", kubeconfig);
        let mut program = command.env_remove("RUST_LOG").stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(program.stderr.take().unwrap()).lines();
        Self { program, log }
    }

    /// Reads the log until all of these messages were told, in whatever order, as often as they stand here.
    fn told<const N: usize>(&mut self, messages: [&str; N]) -> [Value; N] {
        let mut found = [const { Value::Null }; N];
        while found.iter().any(Value::is_null) {
            let line = self.log.next().expect("the program must not end").unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            let is_it = |at: &usize| found[*at].is_null() && line["message"] == messages[*at];
            if let Some(at) = (0..N).find(is_it) {
                found[at] = line;
            }
        }
        found
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SIGKILL: it has no time to save anything.
        self.program.kill().unwrap();
        self.program.wait().unwrap();
    }
}

/// The body of an answer.
fn ask(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: n\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// A placement of `a` and `b`, as the runtime remembers it, by which `a` serves; without it the least accurate would.
fn remembered() -> Value {
    let variant = |name: &str| json!({"name": name, "image": "i", "accuracy": "0.9"});
    json!({
        "apiVersion": "dnnshifter.io/v1alpha1", "kind": "VariantPlacement", "metadata": {"name": "p-n"},
        "spec": {
            "portfolioName": "p", "nodeName": "n", "deviceClassName": "c", "revision": "r", "templateHash": "t",
            "variants": [variant("a"), variant("b")],
            "policy": {"latencyObjective": {"milliseconds": 20, "quantile": "0.99"},
                "behavior": {"stepDown": {"stabilizationWindowSeconds": 0}, "stepUp": {"stabilizationWindowSeconds": 60}}},
            "decision": {"ceilingVariantName": "a", "reason": "SteppedUp", "decidedAt": "2026-01-01T00:00:00Z"},
        },
    })
}

#[test]
fn a_process_that_died_goes_on_without_any_api_server_by_its_placement_and_its_profiles() {
    let directory = tempfile::tempdir().unwrap();
    for variant in ["a", "b"] {
        write_variant(&directory.path().join("models"), variant, NETWORK);
    }
    fs::create_dir(directory.path().join("store")).unwrap();
    fs::write(directory.path().join("store/placement.json"), remembered().to_string()).unwrap();
    let mut first = Node::start(directory.path());
    first.told(["measured", "measured"]);
    drop(first);

    let mut second = Node::start(directory.path());
    let recalled = "what was measured before holds until it is measured again";
    let [listening, one, another] = second.told(["listening", recalled, recalled]);
    let address = listening["address"].as_str().unwrap();
    let variants = BTreeSet::from([one["variant"].as_str(), another["variant"].as_str()]);
    assert_eq!(variants, BTreeSet::from([Some("a"), Some("b")]));
    // What is wanted may be loaded a moment after what serves first.
    let body =
        r#"{"inputs": [{"name": "image", "shape": [1, 2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}"#;
    let answer =
        std::iter::repeat_with(|| ask(address, "POST", "/v2/models/p/infer", body)).find_map(|answer| {
            serde_json::from_str::<Value>(&answer).ok().filter(|it| it["model_version"] == "a")
        });
    assert_eq!(answer.unwrap()["outputs"][0]["data"], json!([1.0, 2.0, 11.0]));
    let metrics = ask(address, "GET", "/metrics", "");
    for variant in ["a", "b"] {
        let gauge = format!(r#"dnnshifter_variant_wall_seconds{{quantile="0.99",variant="{variant}"}}"#);
        assert!(metrics.contains(&gauge), "{metrics}");
    }
}
