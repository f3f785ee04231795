//! Networks whose tensors are of other types than FP32.

use dnnshifter_portfolio::description::Datatype;

use super::*;

/// What ONNX calls a type (`onnx.proto3`, `TensorProto.DataType`).
fn element_type(datatype: Datatype) -> u8 {
    match datatype {
        Datatype::Fp32 => 1,
        Datatype::Uint8 => 2,
        Datatype::Int8 => 3,
        Datatype::Uint16 => 4,
        Datatype::Int16 => 5,
        Datatype::Int32 => 6,
        Datatype::Int64 => 7,
        Datatype::Bytes => 8,
        Datatype::Bool => 9,
        Datatype::Fp16 => 10,
        Datatype::Fp64 => 11,
        Datatype::Uint32 => 12,
        Datatype::Uint64 => 13,
        Datatype::Bf16 => 16,
    }
}

/// A field of a message, whose content is short.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

/// A network whose output `y` is its input `x`: any number of items of three values (`onnx.proto3`, `ModelProto`).
fn identity(datatype: Datatype) -> Vec<u8> {
    let shape = [field(1, &field(2, b"n")), field(1, &[1 << 3, 3])].concat();
    let tensor = [vec![1 << 3, element_type(datatype)], field(2, &shape)].concat();
    let value = |name: &[u8]| [field(1, name), field(2, &field(1, &tensor))].concat();
    let node = [field(1, b"x"), field(2, b"y"), field(4, b"Identity")].concat();
    let graph =
        [field(1, &node), field(2, b"graph"), field(11, &value(b"x")), field(12, &value(b"y"))].concat();
    // Of IR version 8 and opset 13.
    [vec![1 << 3, 8], field(7, &graph), field(8, &[2 << 3, 13])].concat()
}

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
        let resident = load(&described(datatype), &identity(datatype)).unwrap();
        let items = LARGEST_PART + 1;
        let numbers: Vec<f32> = (0..items * 3).map(|value| value as f32).collect();
        let input = Values::of_numbers(datatype, &numbers);
        assert_eq!(resident.run(items, &input).unwrap(), input);
    }
}

#[test]
fn a_network_of_another_type_than_described_is_refused() {
    let refused = load(&described(Datatype::Int8), &identity(Datatype::Uint8)).err().unwrap();
    assert!(refused.contains("it has no input \"x\" of INT8"), "{refused}");
}

#[test]
fn texts_go_through_the_engine_as_they_are() {
    let mut described = described(Datatype::Bytes);
    let resident = load(&described, &identity(Datatype::Bytes)).unwrap();
    let texts = ["", "zwölf", "a\nb"].map(ToOwned::to_owned).to_vec();
    assert_eq!(resident.run(1, &Values::Bytes(texts.clone())).unwrap(), Values::Bytes(texts.clone()));
    described.check.output = CheckValues::Texts(texts);
    let refused = load(&described, &identity(Datatype::Bytes)).err().unwrap();
    assert!(refused.contains("its output texts are not those of its check vector"), "{refused}");
    described.check.output = vec![0.0, 1.0, 1.0].into();
    let refused = load(&described, &identity(Datatype::Bytes)).err().unwrap();
    assert!(refused.contains("must have texts for the tensors of BYTES"), "{refused}");
}

#[test]
fn a_network_whose_items_have_more_texts_than_a_request_may_have_is_refused() {
    let mut described = described(Datatype::Bytes);
    described.input.shape = vec![1 << 16, 2];
    let texts = |count: usize| CheckValues::Texts(vec![String::new(); count]);
    described.check = CheckVector { input: texts(2 << 16), output: texts(3) };
    let refused = load(&described, &identity(Datatype::Bytes)).err().unwrap();
    assert!(refused.ends_with("an item has 131072 texts, but a request may have at most 65536"), "{refused}");
}

#[test]
fn the_engine_says_which_release_it_is() {
    let numbers: Vec<_> = ONNX_RUNTIME.release().split('.').map(str::parse::<u32>).collect();
    assert!(numbers.len() == 3 && numbers.iter().all(Result::is_ok), "{}", ONNX_RUNTIME.release());
}
