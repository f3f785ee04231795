//! Tests that nothing of a model is lost but what is rewritten: every field of the format survives.

use bytes::Bytes;
use prost::Message;

use super::{weights::KnownWeights, *};
use crate::compact::{Options, compact, compacted};

/// A model in which every field of every message of the format has a value; `every_field.py` writes it by ONNX's own library.
const EVERY_FIELD: &[u8] = include_bytes!("every_field.onnx");

fn every_field() -> ModelProto {
    ModelProto::decode(EVERY_FIELD).unwrap()
}

/// The model with a weight that nobody reads, so that there is something to remove.
fn with_more() -> ModelProto {
    let mut model = every_field();
    let unread = FloatTensor::filled(3, 1.0).to_proto("unread");
    model.graph.as_mut().unwrap().initializer.push(unread);
    model
}

#[test]
fn every_field_is_read_and_written_again() {
    let network = Network::read(Bytes::from_static(EVERY_FIELD)).unwrap();
    let written = network.write();
    // A field that is not known here would be missing. The order is free: of the fields of a type, the two libraries choose their own.
    assert_eq!(written.len(), EVERY_FIELD.len());
    assert_eq!(ModelProto::decode(written.as_slice()).unwrap(), every_field());
}

#[test]
fn an_import_rewrites_nothing_but_what_was_noted_of_inner_values() {
    let mut expected = every_field();
    expected.graph.as_mut().unwrap().value_info.clear();
    assert_eq!(Network::import(Bytes::from_static(EVERY_FIELD)).unwrap().model(), &expected);
}

#[test]
fn compaction_leaves_every_field_of_what_it_does_not_rewrite() {
    let mut model = with_more();
    compact(&mut model, Options::default()).unwrap();
    assert_eq!(model, every_field());
    let mut written = Vec::new();
    let read = with_more();
    compacted(&KnownWeights::unread(&read), Options::default()).unwrap().write(&mut written).unwrap();
    assert_eq!(ModelProto::decode(written.as_slice()).unwrap(), every_field());
}
