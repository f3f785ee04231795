//! A model that was compacted and not written yet: its weights are views of what was read, and go from there to the file, so
//! that no second copy of the model is ever in memory.
//!
//! The format is that of Protocol Buffers (protobuf.dev/programming-guides/encoding), where fields may follow in any order:
//! weights come last, and are streamed.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
};

use bytes::Bytes;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};

use crate::onnx::{GraphProto, ModelProto, TensorProto};

use super::{
    report::Report,
    rewrite::{Cut, PIECE, Written},
};

/// Field numbers of `onnx.proto`.
const MODEL_GRAPH: u32 = 7;
const GRAPH_INITIALIZER: u32 = 5;
const TENSOR_RAW_DATA: u32 = 9;

/// A model without what its outputs do not depend on.
pub struct Compacted {
    /// What was done.
    pub report: Report,
    /// The model, without its graph.
    frame: ModelProto,
    /// The graph, without its initialisers.
    graph: GraphProto,
    /// The initialisers; those that are cut have no numbers.
    weights: Vec<TensorProto>,
    cuts: HashMap<String, Cut>,
}

impl Compacted {
    pub(super) fn of(model: &ModelProto, written: Written, report: Report) -> Self {
        let Written { mut graph, cuts } = written;
        let weights = std::mem::take(&mut graph.initializer);
        Self { report, frame: without_graph(model), graph, weights, cuts }
    }

    /// The graph in memory, and what was done.
    pub(super) fn into_graph(self) -> (GraphProto, Report) {
        let Self { report, mut graph, weights, cuts, .. } = self;
        graph.initializer = weights;
        for tensor in &mut graph.initializer {
            if let Some(cut) = cuts.get(tensor.name()) {
                tensor.raw_data = Some(cut.bytes().into());
            }
        }
        (graph, report)
    }

    /// Writes the model as an ONNX file's bytes, in pieces.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let weights: Vec<Weight<'_>> =
            self.weights.iter().map(|tensor| Weight::of(tensor, &self.cuts)).collect();
        let size = self.graph.encoded_len() + weights.iter().map(Weight::size).sum::<usize>();
        let mut head = self.frame.encode_to_vec();
        begin(&mut head, MODEL_GRAPH, size);
        head.extend(self.graph.encode_to_vec());
        let mut to = BufWriter::with_capacity(PIECE, to);
        to.write_all(&head)?;
        weights.iter().try_for_each(|weight| weight.write(&mut to))?;
        to.flush()
    }
}

/// An initialiser, encoded up to its numbers.
struct Weight<'a> {
    head: Vec<u8>,
    numbers: Option<Numbers<'a>>,
}

enum Numbers<'a> {
    /// As they were read.
    Whole(Bytes),
    Cut(&'a Cut),
}

impl<'a> Weight<'a> {
    fn of(tensor: &TensorProto, cuts: &'a HashMap<String, Cut>) -> Self {
        let mut described = tensor.clone();
        let whole = described.raw_data.take().map(Numbers::Whole);
        let numbers = cuts.get(tensor.name()).map(Numbers::Cut).or(whole);
        let mut described = described.encode_to_vec();
        let size = numbers.as_ref().map(Numbers::size);
        if let Some(size) = size {
            begin(&mut described, TENSOR_RAW_DATA, size);
        }
        let mut head = Vec::new();
        begin(&mut head, GRAPH_INITIALIZER, described.len() + size.unwrap_or(0));
        head.extend(described);
        Self { head, numbers }
    }

    fn size(&self) -> usize {
        self.head.len() + self.numbers.as_ref().map_or(0, Numbers::size)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.head)?;
        match &self.numbers {
            Some(Numbers::Whole(bytes)) => to.write_all(bytes),
            Some(Numbers::Cut(cut)) => cut.write(to),
            None => Ok(()),
        }
    }
}

impl Numbers<'_> {
    fn size(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Cut(cut) => cut.size(),
        }
    }
}

/// Begins `field`, whose value takes `size` bytes.
fn begin(to: &mut Vec<u8>, field: u32, size: usize) {
    encode_key(field, WireType::LengthDelimited, to);
    encode_varint(size as u64, to);
}

fn without_graph(model: &ModelProto) -> ModelProto {
    let ModelProto {
        ir_version,
        opset_import,
        producer_name,
        producer_version,
        domain,
        model_version,
        doc_string,
        graph: _,
        metadata_props,
        training_info,
        functions,
        configuration,
    } = model;
    ModelProto {
        ir_version: *ir_version,
        opset_import: opset_import.clone(),
        producer_name: producer_name.clone(),
        producer_version: producer_version.clone(),
        domain: domain.clone(),
        model_version: *model_version,
        doc_string: doc_string.clone(),
        graph: None,
        metadata_props: metadata_props.clone(),
        training_info: training_info.clone(),
        functions: functions.clone(),
        configuration: configuration.clone(),
    }
}
