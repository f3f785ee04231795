//! Layers with weights: rows and columns of what is gone are left out, and what constants added goes into the bias or into
//! the columns of their carriers.

use std::collections::{BTreeMap, HashMap};

use crate::{
    onnx::{NodeProto, TensorProto, tensor_proto::DataType},
    tensor::FloatTensor,
};

use super::{
    super::{
        carriers::Carriers,
        constants::Constants,
        demand::{Kept, Level},
        source::floats,
        state::State,
        step::{Layout, Linear},
    },
    Writer, integer,
};

impl Writer<'_, '_> {
    pub(super) fn layer(&mut self, node: &mut NodeProto, layer: &Linear<'_>) {
        if self.kept.is_whole(&layer.ins) && self.kept.is_whole(&layer.outs) {
            return;
        }
        let cut = Cut::of(layer, self.kept, self.constants);
        self.replace(node, 1, cut.weight());
        if layer.bias.is_some() || cut.rows.iter().any(|row| row.bias != 0.0) {
            let bias: Vec<f32> = cut.rows.iter().map(|row| row.bias as f32).collect();
            if let Ok(bias) = FloatTensor::new(vec![bias.len()], bias) {
                self.replace(node, 2, bias.to_proto(""));
            }
            if node.op_type() == "MatMul" {
                "Gemm".clone_into(node.op_type.get_or_insert_default());
            }
        }
        if layer.groups > 1 {
            node.attribute.retain(|attribute| attribute.name() != "group");
            node.attribute.push(integer("group", cut.groups as i64));
        }
    }
}

/// A layer without what is gone.
struct Cut<'s, 'a> {
    layer: &'s Linear<'a>,
    groups: usize,
    /// The inputs that stay, numbered within the group, and whether what they hold is read; by group.
    columns: Vec<Vec<(usize, bool)>>,
    rows: Vec<Row>,
}

/// One output that stays.
struct Row {
    output: usize,
    group: usize,
    bias: f64,
    /// Whether it has weights, or the bias is all.
    has_weights: bool,
    /// What is added to the weights of an input, numbered within the group.
    added: BTreeMap<usize, Vec<f64>>,
}

impl<'s, 'a> Cut<'s, 'a> {
    fn of(layer: &'s Linear<'a>, kept: &Kept<'_>, constants: &Constants) -> Self {
        let (mut rows, mut columns, mut groups) = (Vec::new(), Vec::new(), 0);
        for group in 0..layer.groups {
            let (ins, outs) = layer.group(group);
            let inputs = kept.channels(&ins).into_iter();
            columns.push(
                inputs
                    .map(|input| (input, kept.level(ins.start + input) == Level::Content))
                    .collect::<Vec<_>>(),
            );
            groups += usize::from(kept.has_any(&outs));
            let folding = Folding::of(layer, group, kept, constants);
            let outputs = outs.filter(|&slot| kept.is_kept(slot));
            rows.extend(outputs.map(|slot| folding.row(slot)));
        }
        Self { layer, groups, columns, rows }
    }

    fn weight(&self) -> TensorProto {
        let mut raw = Vec::new();
        let mut dims = match self.layer.layout {
            Layout::OutputFirst => {
                for row in &self.rows {
                    for column in self.columns.get(row.group).into_iter().flatten() {
                        self.cell(row, *column, &mut raw);
                    }
                }
                vec![self.rows.len(), self.columns.iter().map(Vec::len).max().unwrap_or(0)]
            }
            Layout::InputFirst => {
                for column in self.columns.iter().flatten() {
                    for row in &self.rows {
                        self.cell(row, *column, &mut raw);
                    }
                }
                vec![self.columns.iter().map(Vec::len).sum(), self.rows.len()]
            }
        };
        dims.extend(self.layer.weight.dims.iter().skip(2));
        TensorProto {
            dims: dims.into_iter().map(|size| size as i64).collect(),
            data_type: Some(DataType::Float as i32),
            raw_data: Some(raw.into()),
            ..TensorProto::default()
        }
    }

    /// Writes the weights between an output and an input.
    fn cell(&self, row: &Row, (input, is_read): (usize, bool), raw: &mut Vec<u8>) {
        if !(row.has_weights && is_read) {
            raw.resize(raw.len() + 4 * self.layer.cell, 0);
            return;
        }
        let bytes = self.layer.bytes(row.output, input);
        match row.added.get(&input) {
            None => raw.extend_from_slice(bytes),
            Some(added) => {
                let sums = floats(bytes).zip(added).map(|(weight, added)| (f64::from(weight) + added) as f32);
                raw.extend(sums.flat_map(f32::to_le_bytes));
            }
        }
    }
}

/// How constants that go are taken over by what stays.
struct Folding<'s, 'a> {
    layer: &'s Linear<'a>,
    group: usize,
    kept: &'s Kept<'s>,
    constants: &'s Constants,
    /// For each constant that goes and is carried, its carriers with their factors, numbered within the group; without any, the
    /// bias takes what goes.
    carried: HashMap<usize, Vec<(usize, f64)>>,
}

impl<'s, 'a> Folding<'s, 'a> {
    fn of(layer: &'s Linear<'a>, group: usize, kept: &'s Kept<'s>, constants: &'s Constants) -> Self {
        let mut carried = HashMap::new();
        // A depthwise layer has what it reads, or is gone itself.
        let folded = if layer.is_depthwise() { None } else { kept.read_by(layer, group, constants).folded };
        if let Some(folded) = folded {
            let (ins, _) = layer.group(group);
            let carriers = Carriers::of(kept, ins.clone(), constants);
            for slot in folded {
                // There are factors: what could not be carried was demanded.
                let factors = carriers.factors(slot, constants).unwrap_or_default();
                let factors = factors.into_iter().map(|(carrier, factor)| (carrier - ins.start, factor));
                carried.insert(slot - ins.start, factors.collect());
            }
        }
        Self { layer, group, kept, constants, carried }
    }

    fn row(&self, slot: usize) -> Row {
        let output = slot - self.layer.outs.start;
        let bare = |bias| Row { output, group: self.group, bias, has_weights: false, added: BTreeMap::new() };
        match (self.kept.level(slot), self.constants.at(slot)) {
            (Level::Content, State::Scalar(value)) if !self.layer.is_depthwise() => bare(*value),
            (Level::Content, _) => self.weighted(output),
            (Level::Shape | Level::Gone, _) => bare(0.0),
        }
    }

    fn weighted(&self, output: usize) -> Row {
        let (ins, _) = self.layer.group(self.group);
        let mut row = Row {
            output,
            group: self.group,
            bias: self.layer.bias_of(output),
            has_weights: true,
            added: BTreeMap::new(),
        };
        let read = self.layer.rows.get(output).into_iter().flat_map(|row| row.ones());
        for input in read.filter(|&input| self.kept.level(ins.start + input) < Level::Content) {
            let weights = || self.layer.weights(output, input);
            match (self.carried.get(&input), self.constants.at(ins.start + input)) {
                (Some(factors), _) => {
                    for (carrier, factor) in factors {
                        let sums = row.added.entry(*carrier).or_insert_with(|| vec![0.0; self.layer.cell]);
                        sums.iter_mut().zip(weights()).for_each(|(sum, weight)| *sum += factor * weight);
                    }
                }
                (None, State::Scalar(value)) => row.bias += value * weights().sum::<f64>(),
                (None, State::Live | State::Field(_)) => {}
            }
        }
        row
    }
}
