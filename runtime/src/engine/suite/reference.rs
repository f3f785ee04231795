//! The plainest engine there is, for networks of one node: it shows that the suite is about the traits, not about ONNX Runtime.

use std::{any::Any, path::Path};

use prost::Message;

use super::networks::{Graph, Model};
use crate::{
    engine::{Engine, EngineError, Interface, Network},
    values::{Part, Values, of_any_type},
};

pub(super) struct Reference;

struct ReferenceNetwork {
    operation: Operation,
    input_length: usize,
    output_length: usize,
}

/// Of one item.
enum Operation {
    Copy { times: usize },
    Add(Vec<f32>),
}

impl Engine for Reference {
    fn prepare(&self, path: &Path, interface: &Interface) -> Result<Box<dyn Network>, EngineError> {
        let shown = || path.display().to_string();
        let unusable = || EngineError::Open { path: shown(), source: "not a network of one node".into() };
        let bytes = std::fs::read(path)
            .map_err(|source| EngineError::Open { path: shown(), source: source.into() })?;
        let graph = Model::decode(&*bytes).ok().and_then(|model| model.graph).ok_or_else(unusable)?;
        let operation = operation(&graph).ok_or_else(unusable)?;
        for (what, tensor, outlets) in
            [("input", &interface.input, &graph.inputs), ("output", &interface.output, &graph.outputs)]
        {
            if !outlets.iter().any(|outlet| outlet.is(tensor)) {
                let (name, datatype) = (tensor.name.clone(), tensor.datatype.as_str());
                return Err(EngineError::Interface { path: shown(), what, name, datatype });
            }
        }
        let (input_length, output_length) = (interface.input_length(), interface.output_length());
        Ok(Box::new(ReferenceNetwork { operation, input_length, output_length }))
    }
}

fn operation(graph: &Graph) -> Option<Operation> {
    match graph.nodes.first()?.operator.as_str() {
        "Identity" => Some(Operation::Copy { times: 1 }),
        "Concat" => Some(Operation::Copy { times: 2 }),
        "Add" => {
            let (numbers, _) = graph.weights.first()?.bytes.as_chunks();
            Some(Operation::Add(numbers.iter().copied().map(f32::from_le_bytes).collect()))
        }
        _ => None,
    }
}

impl Network for ReferenceNetwork {
    fn run(&mut self, items: usize, input: Part<'_>, output: &mut Values) -> Result<(), EngineError> {
        if input.len() != items * self.input_length {
            return Err(EngineError::Run { items, source: "the input is of another size".into() });
        }
        let times = match &self.operation {
            Operation::Copy { times } => *times,
            Operation::Add(_) => 1,
        };
        let (given, expected) = (input.len() * times, items * self.output_length);
        if given != expected {
            return Err(EngineError::Output { items, given, expected });
        }
        if let (Operation::Add(weights), Values::Fp32(numbers), Values::Fp32(sums)) =
            (&self.operation, input.values, &mut *output)
        {
            let shifted = numbers[input.range].iter().zip(weights.iter().cycle());
            sums.extend(shifted.map(|(number, weight)| number + weight));
        } else {
            of_any_type!(output, values => copy(&input, self.input_length, times, values));
        }
        Ok(())
    }
}

/// Each item so many times.
fn copy<T: Clone + 'static>(input: &Part<'_>, length: usize, times: usize, output: &mut Vec<T>) {
    let values: Option<&Vec<T>> = of_any_type!(input.values, values => (values as &dyn Any).downcast_ref());
    for item in values.expect("input and output are of one type")[input.range.clone()].chunks(length) {
        output.extend(std::iter::repeat_n(item, times).flatten().cloned());
    }
}
