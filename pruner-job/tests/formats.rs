//! The same images as each format has them, from the files to variants.

#![expect(clippy::unwrap_used, reason = "in a test a panic is a failed test")]

use std::{fs, path::Path, process::Command};

use image::GrayImage;
use npyz::{WriterBuilder, npz::NpzWriter, zip::write::FileOptions};
use serde_json::json;

#[path = "shared/workshop.rs"]
mod workshop;

use workshop::{SIZE, Workshop, log, read_json};

/// Images and labels, as the workshop's `Idx` files hold them.
fn images(workshop: &Workshop, prefix: &str) -> (Vec<u8>, Vec<u8>) {
    let content = |kind: &str, header: usize| {
        fs::read(workshop.path(&format!("{prefix}-{kind}-ubyte"))).unwrap().split_off(header)
    };
    (content("images-idx3", 16), content("labels-idx1", 8))
}

fn write_npz(workshop: &Workshop) {
    let mut archive = NpzWriter::create(workshop.path("images.npz")).unwrap();
    for (prefix, part) in [("train", "train"), ("t10k", "test")] {
        let (pixels, labels) = images(workshop, prefix);
        let (count, size) = (labels.len() as u64, SIZE as u64);
        for (array, shape, values) in [("x", &[count, size, size][..], pixels), ("y", &[count], labels)] {
            let writer = archive.array(&format!("{array}_{part}"), FileOptions::default()).unwrap();
            let mut writer = writer.default_dtype().shape(shape).begin_nd().unwrap();
            writer.extend(values).unwrap();
            writer.finish().unwrap();
        }
    }
}

fn write_folders(workshop: &Workshop) {
    for (prefix, part) in [("train", "train"), ("t10k", "test")] {
        let (pixels, labels) = images(workshop, prefix);
        for (position, (pixels, label)) in pixels.chunks(SIZE * SIZE).zip(labels).enumerate() {
            let class = workshop.path(&format!("photographs/{part}/class-{label}"));
            fs::create_dir_all(&class).unwrap();
            let image = GrayImage::from_raw(SIZE as u32, SIZE as u32, pixels.to_vec()).unwrap();
            image.save(class.join(format!("{position:03}.png"))).unwrap();
        }
    }
}

/// Makes variants from the data set at `path`, on one processor and so on one thread.
fn run(workshop: &Workshop, path: &Path, format: &str) {
    workshop.edit_plan(|plan| {
        let normalization = json!({"mean": "0.5", "deviation": "0.5"});
        plan["dataset"] = json!({"path": path, "format": format, "normalization": normalization});
    });
    let run = workshop.run();
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(run.get_program()).args(run.get_args());
    let output = command.env("OMP_WAIT_POLICY", "passive").output().unwrap();
    assert!(output.status.success(), "{format}: {}", log(&output));
    let portfolio = read_json(&workshop.path("variants/portfolio.json"));
    // Of images with other labels it would be a half.
    let accuracy: f64 = portfolio.pointer("/variants/0/accuracy").unwrap().as_str().unwrap().parse().unwrap();
    assert!(accuracy > 0.9, "{format}: {portfolio}");
}

#[test]
fn the_same_images_in_any_format_make_variants() {
    let [idx, npz, folders] = [(); 3].map(|()| Workshop::new("vgg16"));
    write_npz(&npz);
    write_folders(&folders);
    run(&idx, &idx.path(""), "Idx");
    run(&npz, &npz.path("images.npz"), "Npz");
    run(&folders, &folders.path("photographs"), "ImageFolder");
    let dense =
        |workshop: &Workshop| fs::read(workshop.path("steps/checkpoint-t1-dense/model.onnx")).unwrap();
    assert!(dense(&idx) == dense(&npz), "both have the images in the same order");
}
