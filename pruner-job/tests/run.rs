//! The program as Kubernetes runs it: from a plan to variants, killed in the middle, with what it must not accept.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failed test")]

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::json;

#[path = "shared/beside.rs"]
mod beside;
#[path = "shared/workshop.rs"]
mod workshop;

use beside::{WEIGHTS, put_weights_beside};
use workshop::{Workshop, log, program, read_json};

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
    let name = first["name"].as_str().unwrap();
    for text in [name, "classifier", "validation accuracy", "cross-entropy", "Taylor", "Proof"] {
        assert!(report.contains(text), "the report lacks {text}");
    }
    let training = report.split_once("<h2>Training</h2>").unwrap().1;
    assert!(training.contains(&format!(">{name}</text>")), "curves are named as the variants are");
    assert!(!report.contains("variant-1"), "a network has one name");

    workshop.edit_plan(|plan| plan["revision"] = json!("r2"));
    let third = workshop.run().output().unwrap();
    assert!(third.status.success(), "{}", log(&third));
    assert!(!log(&third).contains("epoch finished"), "a new packaging does not train again: {}", log(&third));
    let portfolio = fs::read(workshop.path("variants/portfolio.json")).unwrap();
    assert_eq!(read_json(&workshop.path("variants/portfolio.json"))["revision"], "r2");
    let fourth = workshop.run().output().unwrap();
    assert!(fourth.status.success() && log(&fourth).contains("already finished"), "{}", log(&fourth));
    assert_eq!(fs::read(workshop.path("variants/portfolio.json")).unwrap(), portfolio);
}

#[test]
fn a_model_whose_weights_lie_beside_it_is_pruned() {
    let workshop = Workshop::new("vgg16");
    put_weights_beside(&workshop.path("model.onnx"));
    let weights = fs::read(workshop.path(WEIGHTS)).unwrap();
    let mut describe = program();
    describe.args(["describe", "--name", "tiny", "--accuracy", "0.5", "--output"]);
    describe.args([workshop.path("described"), workshop.path("model.onnx")]);
    let mut commands = [workshop.run(), describe];

    fs::remove_file(workshop.path(WEIGHTS)).unwrap();
    for command in &mut commands {
        let output = command.output().unwrap();
        assert!(output.status.code() == Some(66) && log(&output).contains(WEIGHTS), "{}", log(&output));
    }
    assert!(!workshop.path("variants").exists() && !workshop.path("described").exists());

    fs::write(workshop.path(WEIGHTS), weights).unwrap();
    for command in &mut commands {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", log(&output));
    }
}

#[test]
fn a_residual_network_becomes_a_smaller_one() {
    let workshop = Workshop::new("resnet20");
    workshop.edit_plan(|plan| {
        plan["method"]["structured"]["channelMultiple"] = json!(2);
        plan["minimumAccuracy"] = json!("0");
    });
    let output = workshop.run().output().unwrap();
    assert!(output.status.success(), "{}", log(&output));
    assert!(log(&output).contains("channels removed"), "{}", log(&output));
}

/// Levels by magnitude, on one processor and so on one thread.
fn levels(workshop: &Workshop) -> Command {
    workshop.edit_plan(|plan| {
        plan["method"] = json!({"iterativeMagnitude": {
            "densities": ["1", "0.3", "0.05"], "rewindSteps": 4, "keepLastLayer": true}});
        plan["minimumAccuracy"] = json!("0");
        plan["maximumVariants"] = json!(3);
    });
    let run = workshop.run();
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(run.get_program()).args(run.get_args());
    command.env("OMP_WAIT_POLICY", "passive");
    command
}

#[test]
fn levels_that_were_killed_go_on_and_come_to_the_same() {
    let (whole, broken) = (Workshop::new("vgg16"), Workshop::new("vgg16"));
    let output = levels(&whole).output().unwrap();
    assert!(output.status.success(), "{}", log(&output));
    let mut killed = levels(&broken).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(killed.stderr.take().unwrap()).lines();
    // The first level is being trained.
    assert!(lines.any(|line| line.unwrap().contains("weights masked")));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!broken.path("variants").exists(), "nothing is half there");
    let second = levels(&broken).output().unwrap();
    assert!(second.status.success(), "{}", log(&second));
    for step in ["early", "dense"] {
        assert!(log(&second).contains(&format!("not done again step=\"{step}\"")), "{}", log(&second));
    }
    for step in ["early", "dense", "variant-1", "variant-2"] {
        let model = |workshop: &Workshop| {
            fs::read(workshop.path("steps").join(format!("checkpoint-t1-{step}/model.onnx"))).unwrap()
        };
        assert!(model(&whole) == model(&broken), "{step} differs");
    }
}

#[test]
fn a_disk_that_is_full_leaves_nothing_that_looks_finished() {
    let workshop = Workshop::new("vgg16");
    // In blocks of 512 bytes; the network is larger, the plan's other files are smaller. Without the trap the shell's limit kills.
    let run = workshop.run();
    let limited = |blocks: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]);
        command.arg(run.get_program()).args(run.get_args());
        command.output().unwrap()
    };
    let full = limited("64");
    assert_eq!(full.status.code(), Some(73), "{}", log(&full));
    assert!(log(&full).contains("checkpoint-t1-dense"), "{}", log(&full));
    assert!(!workshop.path("variants").exists() && !workshop.path("steps/checkpoint-t1-dense").exists());

    let whole = workshop.run().output().unwrap();
    assert!(whole.status.success(), "{}", log(&whole));
    fs::remove_dir_all(workshop.path("variants")).unwrap();
    let full = limited("64");
    assert_eq!(full.status.code(), Some(73), "{}", log(&full));
    assert!(log(&full).contains("/variants/"), "{}", log(&full));
    assert!(!workshop.path("variants/portfolio.json").exists());
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
