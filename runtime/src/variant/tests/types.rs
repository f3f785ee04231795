//! Networks whose tensors are of other types than FP32.

use dnnshifter_portfolio::description::Datatype;

use super::*;
use crate::engine::suite::networks::identity;

fn described(datatype: Datatype) -> VariantDescription {
    let mut description = description("a", 0.0);
    for (tensor, name) in [(&mut description.input, "x"), (&mut description.output, "y")] {
        (tensor.name, tensor.shape, tensor.datatype) = (name.to_owned(), vec![3], datatype);
    }
    let values = Values::of_numbers(datatype, &[0.0, 1.0, 1.0]).to_check();
    description.check = CheckVector { input: values.clone(), output: values };
    description
}

#[test]
fn values_of_every_type_go_through_the_engine() {
    for datatype in Datatype::ALL {
        let resident = load(&described(datatype), &identity(datatype).bytes).unwrap();
        let items = LARGEST_PART + 1;
        let numbers: Vec<f32> = (0..items * 3).map(|value| value as f32).collect();
        let input = Values::of_numbers(datatype, &numbers);
        assert_eq!(resident.run(items, &input).unwrap(), input);
    }
}

#[test]
fn a_network_that_takes_one_item_at_a_time_computes_batches_item_by_item() {
    let resident = load(&described(Datatype::Fp32), &identity(Datatype::Fp32).of_exactly(1).bytes).unwrap();
    let input = Values::Fp32((0..12_u8).map(f32::from).collect());
    assert_eq!(resident.run(4, &input).unwrap(), input);
}

#[test]
fn a_network_that_takes_batches_of_one_other_size_only_is_refused() {
    let refused =
        load(&described(Datatype::Fp32), &identity(Datatype::Fp32).of_exactly(4).bytes).err().unwrap();
    assert!(
        refused.ends_with(
            "its input \"x\" is of exactly 4 items; export it with a first dimension that is free, or 1"
        ),
        "{refused}"
    );
}

#[test]
fn a_network_of_another_type_than_described_is_refused() {
    let refused = load(&described(Datatype::Int8), &identity(Datatype::Uint8).bytes).err().unwrap();
    assert!(refused.contains("it has no input \"x\" of INT8"), "{refused}");
}

#[test]
fn texts_go_through_the_engine_as_they_are() {
    let mut described = described(Datatype::Bytes);
    let resident = load(&described, &identity(Datatype::Bytes).bytes).unwrap();
    let texts = ["", "zwölf", "a\nb"].map(ToOwned::to_owned).to_vec();
    assert_eq!(resident.run(1, &Values::Bytes(texts.clone())).unwrap(), Values::Bytes(texts.clone()));
    described.check.output = CheckValues::Texts(texts);
    let refused = load(&described, &identity(Datatype::Bytes).bytes).err().unwrap();
    assert!(refused.contains("its output texts are not those of its check vector"), "{refused}");
    described.check.output = vec![0.0, 1.0, 1.0].into();
    let refused = load(&described, &identity(Datatype::Bytes).bytes).err().unwrap();
    assert!(refused.contains("must have texts for the tensors of BYTES"), "{refused}");
}

#[test]
fn a_network_whose_items_have_more_texts_than_a_request_may_have_is_refused() {
    let mut described = described(Datatype::Bytes);
    described.input.shape = vec![1 << 16, 2];
    let texts = |count: usize| CheckValues::Texts(vec![String::new(); count]);
    described.check = CheckVector { input: texts(2 << 16), output: texts(3) };
    let refused = load(&described, &identity(Datatype::Bytes).bytes).err().unwrap();
    assert!(refused.ends_with("an item has 131072 texts, but a request may have at most 65536"), "{refused}");
}

#[test]
fn a_network_whose_items_are_larger_than_a_request_may_be_is_refused() {
    let mut described = described(Datatype::Fp64);
    let values = (4 << 20) + 1;
    described.input.shape = vec![values];
    described.check.input = vec![0.0; values as usize].into();
    let refused = load(&described, &identity(Datatype::Fp64).bytes).err().unwrap();
    assert!(
        refused.ends_with("an item has 33554440 bytes, but a request may have at most 33554432"),
        "{refused}"
    );
}

#[test]
fn the_engine_says_which_release_it_is() {
    let numbers: Vec<_> = ONNX_RUNTIME.release().split('.').map(str::parse::<u32>).collect();
    assert!(numbers.len() == 3 && numbers.iter().all(Result::is_ok), "{}", ONNX_RUNTIME.release());
}
