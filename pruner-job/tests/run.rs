//! The program as Kubernetes runs it: from a plan to variants, killed in the middle, with what it must not accept.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failed test")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with a tiny data set, a tiny network and a plan.
struct Workshop {
    folder: TempDir,
}

const IMAGES: usize = 240;
const SIZE: usize = 8;

impl Workshop {
    fn new(architecture: &str) -> Self {
        let workshop = Self { folder: tempfile::tempdir().unwrap() };
        workshop.write_images("train");
        workshop.write_images("t10k");
        let model = workshop.path("model.onnx");
        let arguments =
            ["model", architecture, "--width", "1/4", "--input", "1x8x8", "--classes", "2", "--output"];
        assert!(program().args(arguments).arg(&model).status().unwrap().success());
        let plan = json!({
            "version": "dnnshifter.io/plan/v1", "trainingRevision": "t1", "revision": "r1",
            "model": {"path": model},
            "dataset": {"path": workshop.path(""), "format": "Idx", "normalization": {"mean": "0.5", "deviation": "0.5"}},
            "method": {"structured": {
                "criterion": "Taylor", "channelMultiple": 8, "latencyRatioHundredths": 120, "fineTuningEpochs": 1}},
            "training": {"epochs": 2, "batchSize": 20, "learningRate": "0.05", "seed": 1, "validationImages": 80},
            "minimumAccuracy": "0.1", "maximumVariants": 2,
            "publish": {"repository": "registry.invalid/a", "runtimeImage": "registry.invalid/runtime:1", "plainHttp": true},
        });
        fs::write(workshop.path("plan.json"), plan.to_string()).unwrap();
        workshop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Two classes: bright above, or bright below; with some noise, always the same.
    fn write_images(&self, prefix: &str) {
        let pixel = |image: usize, row: usize, column: usize| {
            let bright = (row < SIZE / 2) == image.is_multiple_of(2);
            (if bright { 150 } else { 50 }) + (image * 31 + row * 17 + column * 7) as u32 % 50
        };
        let places = (0..SIZE).flat_map(|row| (0..SIZE).map(move |column| (row, column)));
        let pixels: Vec<u8> = (0..IMAGES)
            .flat_map(|image| places.clone().map(move |(row, column)| pixel(image, row, column) as u8))
            .collect();
        let labels: Vec<u8> = (0..IMAGES).map(|image| u8::from(image.is_multiple_of(2))).collect();
        let [count, size] = [IMAGES as u32, SIZE as u32].map(u32::to_be_bytes);
        let images = [&[0, 0, 8, 3], &count[..], &size, &size, &pixels].concat();
        fs::write(self.path(&format!("{prefix}-images-idx3-ubyte")), images).unwrap();
        fs::write(
            self.path(&format!("{prefix}-labels-idx1-ubyte")),
            [&[0, 0, 8, 1], &count[..], &labels].concat(),
        )
        .unwrap();
    }

    fn run(&self) -> Command {
        let mut command = program();
        command.arg("run").arg(self.path("plan.json")).arg("--output").arg(self.path("variants"));
        command.arg("--checkpoints").arg(self.path("steps"));
        command.arg("--termination-message").arg(self.path("termination"));
        command
    }

    fn edit_plan(&self, edit: impl FnOnce(&mut Value)) {
        let mut plan = read_json(&self.path("plan.json"));
        edit(&mut plan);
        fs::write(self.path("plan.json"), plan.to_string()).unwrap();
    }

    /// Runs the plan, which must fail, and gives its exit code and last word.
    fn refusal(&self) -> (i32, String) {
        let output = self.run().output().unwrap();
        assert!(!output.status.success());
        assert!(!self.path("variants").exists(), "nothing is written");
        (output.status.code().unwrap(), fs::read_to_string(self.path("termination")).unwrap())
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnnshifter-pruner-job"));
    // Barriers that spin would disturb the tests beside this one.
    command.env("OMP_WAIT_POLICY", "passive");
    command
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_killed_run_goes_on_from_its_last_finished_step() {
    let workshop = Workshop::new("vgg16");
    let mut killed = workshop.run().stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(killed.stderr.take().unwrap()).lines();
    // Channels are removed when the dense network is trained and kept.
    assert!(lines.any(|line| line.unwrap().contains("channels removed")));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!workshop.path("variants").exists(), "nothing is half there");

    let second = workshop.run().output().unwrap();
    assert!(second.status.success(), "{}", log(&second));
    assert!(log(&second).contains("not done again step=\"dense\""), "{}", log(&second));
    assert!(!log(&second).contains("phase=\"dense\""), "{}", log(&second));
    let portfolio = read_json(&workshop.path("variants/portfolio.json"));
    assert_eq!(portfolio["revision"], "r1");
    let first = portfolio["variants"][0].clone();
    let description =
        read_json(&workshop.path("variants").join(first["name"].as_str().unwrap()).join("variant.json"));
    assert_eq!(description["input"], json!({"name": "input", "shape": [1, 8, 8]}));
    assert_eq!(description["accuracy"], first["accuracy"]);

    let report = fs::read_to_string(workshop.path("variants/report.html")).unwrap();
    assert!(
        report.contains("<svg") && !report.contains("<script") && !report.contains("http"),
        "it stands alone"
    );
    for text in
        [first["name"].as_str().unwrap(), "variant-1", "classifier", "validation accuracy", "Taylor", "Proof"]
    {
        assert!(report.contains(text), "the report lacks {text}");
    }

    workshop.edit_plan(|plan| plan["revision"] = json!("r2"));
    let third = workshop.run().output().unwrap();
    assert!(third.status.success(), "{}", log(&third));
    assert!(!log(&third).contains("epoch finished"), "a new packaging does not train again: {}", log(&third));
    assert_eq!(read_json(&workshop.path("variants/portfolio.json"))["revision"], "r2");
}

#[test]
fn what_cannot_be_used_is_refused_before_any_work_with_its_exit_code() {
    let workshop = Workshop::new("vgg16");
    let data = workshop.path("train-labels-idx1-ubyte");
    let labels = fs::read(&data).unwrap();
    fs::write(&data, &labels[..50]).unwrap();
    let (code, message) = workshop.refusal();
    assert!(
        code == 65 && message.contains("train-labels-idx1-ubyte") && message.contains("there are 42"),
        "{message}"
    );
    fs::remove_file(&data).unwrap();
    let (code, message) = workshop.refusal();
    assert!(code == 66 && message.contains("lacks the file \"train-labels-idx1-ubyte\""), "{message}");
    fs::write(&data, labels).unwrap();

    let model = workshop.path("model.onnx");
    let onnx = fs::read(&model).unwrap();
    fs::write(&model, &onnx[..onnx.len() / 2]).unwrap();
    let (code, message) = workshop.refusal();
    assert!(code == 65 && message.contains("model.onnx\"") && message.contains("cut short"), "{message}");
    fs::remove_file(&model).unwrap();
    let (code, message) = workshop.refusal();
    assert!(code == 66 && message.contains("model.onnx"), "{message}");

    workshop.edit_plan(|plan| drop(plan.as_object_mut().unwrap().remove("publish")));
    let pushed = workshop.run().arg("--push").output().unwrap();
    assert_eq!(pushed.status.code(), Some(78));
    assert!(log(&pushed).contains("not where to publish"), "{}", log(&pushed));

    workshop.edit_plan(|plan| plan["maximumVariants"] = json!(0));
    let (code, message) = workshop.refusal();
    assert!(code == 78 && message.contains("maximumVariants is 0"), "{message}");
}

#[test]
fn a_network_with_branches_is_refused_by_its_node() {
    let (code, message) = Workshop::new("resnet20").refusal();
    assert!(code == 65 && message.contains("stem.relu") && message.contains("sequential"), "{message}");
}

#[test]
fn accuracy_that_is_not_reached_is_said_with_what_was() {
    let workshop = Workshop::new("vgg16");
    workshop.edit_plan(|plan| {
        plan["minimumAccuracy"] = json!("1");
        plan["training"]["epochs"] = json!(0);
    });
    let (code, message) = workshop.refusal();
    assert!(code == 65 && message.contains("minimumAccuracy 1"), "{message}");
}

#[test]
fn a_described_folder_that_was_changed_is_not_published() {
    let workshop = Workshop::new("vgg16");
    let describe = program()
        .args(["describe", "--name", "tiny", "--accuracy", "0.5", "--output"])
        .args([workshop.path("variants"), workshop.path("model.onnx")])
        .output()
        .unwrap();
    assert!(describe.status.success(), "{}", log(&describe));
    let model = workshop.path("variants/tiny/model.onnx");
    let mut bytes = fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    let publish = program()
        .args(["publish", "--repository", "127.0.0.1:1/a", "--runtime-image", "127.0.0.1:1/b"])
        .arg(workshop.path("variants"))
        .output()
        .unwrap();
    assert_eq!(publish.status.code(), Some(65));
    assert!(log(&publish).contains("variant \"tiny\""), "{}", log(&publish));
}
