//! Layers with weights: rows and columns of what is gone are left out, and what constants added goes into the bias or into
//! the columns of their carriers.

use std::collections::{BTreeMap, HashMap};

use fixedbitset::FixedBitSet;

use crate::{onnx::NodeProto, tensor::FloatTensor};

use super::{
    super::{
        carriers::Carriers,
        constants::Constants,
        demand::{Kept, Level},
        state::State,
        step::Linear,
    },
    Writer,
    cut::Cut,
    integer,
};

impl Writer<'_, '_> {
    pub(super) fn layer(&mut self, node: &mut NodeProto, layer: &Linear<'_>) {
        if self.kept.is_whole(&layer.ins) && self.kept.is_whole(&layer.outs) {
            return;
        }
        let groups = || 0..layer.groups;
        let columns: Vec<_> = groups().map(|group| columns_of(layer, group, self.kept)).collect();
        let rows: Vec<_> =
            groups().flat_map(|group| rows_of(layer, group, self.kept, self.constants)).collect();
        if layer.bias.is_some() || rows.iter().any(|row| row.bias != 0.0) {
            let bias: Vec<f32> = rows.iter().map(|row| row.bias as f32).collect();
            if let Ok(bias) = FloatTensor::new(vec![bias.len()], bias) {
                self.replace(node, 2, bias.to_proto(""));
            }
            if node.op_type() == "MatMul" {
                "Gemm".clone_into(node.op_type.get_or_insert_default());
            }
        }
        let cut = Cut::of(layer, &columns, rows);
        let name = self.replace(node, 1, cut.proto());
        self.cuts.insert(name, cut);
        if layer.groups > 1 {
            let stays = |group: &usize| self.kept.has_any(&layer.group(*group).1);
            node.attribute.retain(|attribute| attribute.name() != "group");
            node.attribute.push(integer("group", groups().filter(stays).count() as i64));
        }
    }
}

/// An input that stays.
pub(super) struct Column {
    /// Its number within the group.
    pub(super) input: usize,
    /// Whether what it holds is read.
    pub(super) is_read: bool,
}

/// One output that stays.
pub(super) struct Row {
    pub(super) output: usize,
    pub(super) group: usize,
    bias: f64,
    /// Whether it has weights, or the bias is all.
    pub(super) has_weights: bool,
    /// What is added to the weights of an input, numbered within the group.
    pub(super) added: BTreeMap<usize, Vec<f64>>,
}

fn columns_of(layer: &Linear<'_>, group: usize, kept: &Kept<'_>) -> Vec<Column> {
    let (ins, _) = layer.group(group);
    let is_read = |input: usize| kept.level(ins.start + input) == Level::Content;
    kept.channels(&ins).into_iter().map(|input| Column { input, is_read: is_read(input) }).collect()
}

fn rows_of(layer: &Linear<'_>, group: usize, kept: &Kept<'_>, constants: &Constants) -> Vec<Row> {
    let (_, outs) = layer.group(group);
    let folding = Folding::of(layer, group, kept, constants);
    outs.filter(|&slot| kept.is_kept(slot)).map(|slot| folding.row(slot)).collect()
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
    /// The inputs that go and whose constants are not zero, numbered within the group.
    gone: FixedBitSet,
}

impl<'s, 'a> Folding<'s, 'a> {
    fn of(layer: &'s Linear<'a>, group: usize, kept: &'s Kept<'s>, constants: &'s Constants) -> Self {
        let (ins, _) = layer.group(group);
        let goes = |slot: usize| kept.level(slot) < Level::Content && !constants.at(slot).is_zero();
        let gone = ins.clone().filter(|&slot| goes(slot)).map(|slot| slot - ins.start).collect();
        let mut carried = HashMap::new();
        // A depthwise layer has what it reads, or is gone itself.
        let folded = if layer.is_depthwise() { None } else { kept.read_by(layer, group, constants).folded };
        if let Some(folded) = folded {
            let carriers = Carriers::of(kept, ins.clone(), constants);
            for slot in folded {
                // There are factors: what could not be carried was demanded.
                let factors = carriers.factors(slot, constants).unwrap_or_default();
                let factors = factors.into_iter().map(|(carrier, factor)| (carrier - ins.start, factor));
                carried.insert(slot - ins.start, factors.collect());
            }
        }
        Self { layer, group, kept, constants, carried, gone }
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
        for input in self.layer.rows.get(output).into_iter().flat_map(|row| row.intersection(&self.gone)) {
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
