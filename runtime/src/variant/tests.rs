//! Variants that load, and variants that are refused.

mod idle;
mod types;

use std::{fs, path::Path};

use dnnshifter_portfolio::description::{DESCRIPTION_FILE, MODEL_FILE};

use super::*;
use crate::{
    chain::chain,
    testing::{Constant, ONNX_RUNTIME, description, name, names},
};

/// Flatten, then Gemm: the scores of an image are its first value, its second, and the sum of all four plus one.
/// Written with `onnx.helper` 1.23 (opset 13, free batch dimension), as is the other fixture.
const TINY: &[u8] = include_bytes!("../../fixtures/tiny.onnx");

fn tiny(variant: &str) -> VariantDescription {
    let mut description = description(variant, 0.0);
    description.check.output = vec![1.0, 2.0, 11.0].into();
    description
}

fn write(models: &Path, variant: &str, description: &str, network: &[u8]) {
    let folder = models.join(variant);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(DESCRIPTION_FILE), description).unwrap();
    fs::write(folder.join(MODEL_FILE), network).unwrap();
}

fn load(description: &VariantDescription, network: &[u8]) -> Result<Resident, String> {
    let models = tempfile::tempdir().unwrap();
    write(models.path(), "a", &serde_json::to_string(description).unwrap(), network);
    let folder = read(models.path(), &name("a")).map_err(|error| chain(&error))?;
    Resident::load(&*ONNX_RUNTIME, folder).map_err(|error| chain(&error))
}

#[test]
fn a_network_whose_output_is_that_of_its_check_vector_is_loaded_and_computes_batches() {
    let resident = load(&tiny("a"), TINY).unwrap();
    let items = LARGEST_PART + 3;
    let input: Vec<f32> = (0..items * 4).map(|value| value as f32).collect();
    let output = resident.run(items, &Values::Fp32(input.clone())).unwrap();
    let expected: Vec<f32> =
        input.chunks(4).flat_map(|item| [item[0], item[1], item.iter().sum::<f32>() + 1.0]).collect();
    assert_eq!(output, Values::Fp32(expected));
}

#[test]
fn a_network_with_another_output_than_its_check_vector_is_refused() {
    let mut wrong = tiny("a");
    wrong.check.output = vec![1.0, 2.0, 10.0].into();
    let refused = load(&wrong, TINY).err().unwrap();
    assert!(
        refused.contains("its output is not that of its check vector (difference 1.0e-1, allowed 1e-3)"),
        "{refused}"
    );
}

#[test]
fn what_is_no_network_or_another_one_is_refused() {
    let broken = load(&tiny("a"), b"not a network").err().unwrap();
    assert!(broken.starts_with("failed to open the network"), "{broken}");
    let mut other = tiny("a");
    other.input.name = "picture".to_owned();
    let refused = load(&other, TINY).err().unwrap();
    assert!(refused.contains("it has no input \"picture\" of FP32"), "{refused}");
    let mut other = tiny("a");
    (other.input.shape, other.check.input) = (vec![2, 3], vec![0.0; 6].into());
    let refused = load(&other, TINY).err().unwrap();
    assert!(refused.starts_with("failed to compute 1 items"), "{refused}");
}

#[test]
fn descriptions_that_do_not_fit_are_refused_with_the_reason() {
    let models = tempfile::tempdir().unwrap();
    let good = serde_json::to_string(&tiny("a")).unwrap();
    let cases = [
        ("a", "{".to_owned(), "failed to parse"),
        ("a", good.replace("variant/v1", "variant/v2"), "version is \"dnnshifter.io/variant/v2\""),
        ("b", good.clone(), "name is \"a\", but \"b\" was expected"),
        ("a", good.replace("[1.0,2.0,11.0]", "[1.0,2.0]"), "its check vector has 6 values, its tensors 7"),
        ("a", good.replace("[2,2]", "[18446744073709551615,2]"), "its check vector has"),
    ];
    for (variant, text, expected) in cases {
        write(models.path(), variant, &text, TINY);
        let refused = read(models.path(), &name(variant)).unwrap_err().to_string();
        assert!(refused.contains(expected), "{text}: {refused}");
    }
    let missing = chain(&read(models.path(), &name("c")).unwrap_err());
    assert!(missing.contains("c/variant.json: No such file"), "{missing}");
}

#[test]
fn the_size_of_a_network_is_that_of_its_file_even_if_the_description_says_less() {
    let models = tempfile::tempdir().unwrap();
    for (said, expected) in [(1, TINY.len() as u64), (1 << 30, 1 << 30)] {
        let mut description = tiny("a");
        description.bytes = said;
        write(models.path(), "a", &serde_json::to_string(&description).unwrap(), TINY);
        assert_eq!(read(models.path(), &name("a")).unwrap().file_bytes(), expected);
    }
    fs::remove_file(models.path().join("a").join(MODEL_FILE)).unwrap();
    let missing = chain(&read(models.path(), &name("a")).unwrap_err());
    assert!(missing.contains("a/model.onnx: No such file"), "{missing}");
}

#[test]
fn variants_are_found_by_their_folders_the_largest_first() {
    let models = tempfile::tempdir().unwrap();
    for (variant, macs, accuracy) in [("small", 1, "0.8"), ("big", 3, "0.93"), ("mid", 2, "0.95")] {
        let mut description = tiny(variant);
        description.macs = macs;
        description.accuracy = dnnshifter_portfolio::Fraction::parse(accuracy).unwrap();
        write(models.path(), variant, &serde_json::to_string(&description).unwrap(), TINY);
    }
    write(models.path(), "broken", "{", TINY);
    fs::create_dir(models.path().join("Not-A-Name")).unwrap();
    fs::write(models.path().join("portfolio.json"), "{}").unwrap();
    assert_eq!(found_in(models.path()).unwrap(), names(&["big", "mid", "small"]));
    assert!(found_in(&models.path().join("absent")).is_err());
}

/// Multiplies by 1e-30.
const SHRINK: &[u8] = include_bytes!("../../fixtures/denormal.onnx");

#[test]
fn denormal_numbers_count_as_zero_on_every_thread() {
    let mut shrink = description("a", 0.0);
    for (tensor, name) in [(&mut shrink.input, "x"), (&mut shrink.output, "y")] {
        (tensor.name, tensor.shape) = (name.to_owned(), vec![4]);
    }
    shrink.check = CheckVector { input: vec![1e30; 4].into(), output: vec![1.0; 4].into() };
    let resident = std::sync::Arc::new(load(&shrink, SHRINK).unwrap());
    let compute = move || resident.run(1, &Values::Fp32(vec![1e-9, 1.0, 1e30, -1e-10])).unwrap();
    let Values::Fp32(output) = std::thread::spawn(compute).join().unwrap() else { panic!("of another type") };
    let zeros: Vec<_> = output.iter().map(|value| value.abs().to_bits() == 0).collect();
    assert_eq!(zeros, [true, false, false, true], "{output:?}");
}

#[test]
fn a_variant_is_warm_when_it_is_loaded() {
    let engine = Constant::of(1.0);
    let resident = Resident::load(&engine, VariantFolder::without_file(description("a", 1.0))).unwrap();
    assert_eq!(engine.runs(), 1);
    assert!(resident.service_time() > Duration::ZERO);
}

#[test]
fn the_time_of_the_first_inference_is_forgotten_for_that_of_the_next() {
    let engine = Constant::of(1.0);
    let resident = Resident::load(&engine, VariantFolder::without_file(description("a", 1.0))).unwrap();
    let resident = resident.taking(Duration::from_mins(1));
    resident.warm().unwrap();
    assert!(resident.service_time() < Duration::from_secs(1));
}

#[test]
fn a_batch_is_computed_in_parts_of_what_had_room() {
    let engine = Constant::of(1.0);
    let load = || Resident::load(&engine, VariantFolder::without_file(description("a", 1.0))).unwrap();
    for (rooms, largest_part, runs) in [(0, 1, 9), (2, 4, 3), (9, LARGEST_PART, 2)] {
        let looks = std::cell::Cell::new(0);
        let has_room = || looks.replace(looks.get() + 1) < rooms;
        let (resident, ()) = load().stretch(has_room, || ());
        assert_eq!(resident.largest_part(), largest_part);
        let before = engine.runs();
        resident.run(9, &Values::Fp32(vec![0.0; 36])).unwrap();
        assert_eq!(engine.runs() - before, runs);
    }
}
