//! A folder with a tiny data set, a tiny network and a plan, to run the program on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with a tiny data set, a tiny network and a plan.
pub struct Workshop {
    folder: TempDir,
}

const IMAGES: usize = 240;
pub const SIZE: usize = 8;

impl Workshop {
    pub fn new(architecture: &str) -> Self {
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

    pub fn path(&self, name: &str) -> PathBuf {
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

    pub fn run(&self) -> Command {
        let mut command = program();
        command.arg("run").arg(self.path("plan.json")).arg("--output").arg(self.path("variants"));
        command.arg("--checkpoints").arg(self.path("steps"));
        command.arg("--termination-message").arg(self.path("termination"));
        command
    }

    pub fn edit_plan(&self, edit: impl FnOnce(&mut Value)) {
        let mut plan = read_json(&self.path("plan.json"));
        edit(&mut plan);
        fs::write(self.path("plan.json"), plan.to_string()).unwrap();
    }
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnnshifter-pruner-job"));
    // Barriers that spin would disturb the tests beside this one.
    command.env("OMP_WAIT_POLICY", "passive");
    command
}

pub fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

pub fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
