//! Layers with weights: rows and columns of what is gone are left out, and what constants added goes into the bias, into the mean of
//! the batch norm that follows, or into the columns of their carriers.

use std::{collections::BTreeMap, ops::Range};

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
        let group = |group| Group::of(layer, group, self.kept, self.constants);
        let groups: Vec<Group> = (0..layer.groups).map(group).collect();
        let rows = || groups.iter().flat_map(|group| &group.rows);
        let has_more = rows().any(|row| row.bias != 0.0);
        if layer.bias.is_none() && has_more && self.is_normed(layer.output) {
            self.left_to_norms.insert(layer.output.to_owned(), rows().map(|row| row.bias).collect());
        } else if layer.bias.is_some() || has_more {
            let bias: Vec<f32> = rows().map(|row| row.bias as f32).collect();
            if let Ok(bias) = FloatTensor::new(vec![bias.len()], bias) {
                self.replace(node, 2, bias.to_proto(""));
            }
            if node.op_type() == "MatMul" {
                "Gemm".clone_into(node.op_type.get_or_insert_default());
            }
        }
        let cut = Cut::of(layer, &groups);
        let name = self.replace(node, 1, cut.proto());
        self.cuts.insert(name, cut);
        if layer.groups > 1 {
            let left = groups.iter().filter(|group| !group.rows.is_empty()).count();
            node.attribute.retain(|attribute| attribute.name() != "group");
            node.attribute.push(integer("group", left as i64));
        }
    }
}

/// What stays of a group, and how it takes over the constants that go.
pub(super) struct Group {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// The inputs that carry others, and those that they carry, with their factors; numbered within the group.
    pub(super) carried: BTreeMap<usize, Vec<(usize, f64)>>,
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
    /// Its number within the layer.
    pub(super) output: usize,
    bias: f64,
    /// Whether it has weights, or the bias is all.
    pub(super) has_weights: bool,
}

impl Group {
    fn of(layer: &Linear<'_>, group: usize, kept: &Kept<'_>, constants: &Constants) -> Self {
        let (ins, outs) = layer.group(group);
        let column =
            |slot: usize| Column { input: slot - ins.start, is_read: kept.level(slot) == Level::Content };
        let columns = ins.clone().filter(|&slot| kept.is_kept(slot)).map(column).collect();
        let carried = carried(layer, group, kept, constants);
        let bias = Bias::of(layer, &ins, &carried, kept, constants);
        let bare = |output, bias| Row { output, bias, has_weights: false };
        let row = |slot: usize| {
            let output = slot - layer.outs.start;
            match (kept.level(slot), constants.at(slot)) {
                (Level::Content, State::Scalar(value)) if !layer.is_depthwise() => bare(output, *value),
                (Level::Content, _) => Row { output, bias: bias.of_output(output), has_weights: true },
                (Level::Shape | Level::Gone, _) => bare(output, 0.0),
            }
        };
        let rows = outs.filter(|&slot| kept.is_kept(slot)).map(row).collect();
        Self { columns, rows, carried }
    }

    /// As `carried`, with the carriers' positions among the inputs that stay.
    pub(super) fn carried_by_position(&self) -> Vec<(usize, Vec<(usize, f64)>)> {
        let position = |input: usize| self.columns.binary_search_by_key(&input, |column| column.input).ok();
        self.carried.iter().filter_map(|(carrier, of)| Some((position(*carrier)?, of.clone()))).collect()
    }
}

/// The inputs of a group that carry others, and those that they carry, with their factors.
fn carried(
    layer: &Linear<'_>,
    group: usize,
    kept: &Kept<'_>,
    constants: &Constants,
) -> BTreeMap<usize, Vec<(usize, f64)>> {
    let mut carried: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
    // A depthwise layer has what it reads, or is gone itself.
    let folded = if layer.is_depthwise() { None } else { kept.read_by(layer, group, constants).folded };
    let Some(folded) = folded else { return carried };
    let (ins, _) = layer.group(group);
    let carriers = Carriers::of(kept, ins.clone(), constants);
    for slot in folded {
        // There are factors: what could not be carried was demanded.
        for (carrier, factor) in carriers.factors(slot, constants).unwrap_or_default() {
            carried.entry(carrier - ins.start).or_default().push((slot - ins.start, factor));
        }
    }
    carried
}

/// What the constants of a group that go, and that nothing carries, add to the bias: they are the same everywhere.
struct Bias<'s, 'a> {
    layer: &'s Linear<'a>,
    /// Inputs that go, and are not zero.
    gone: Vec<usize>,
    /// The constant of each input that goes.
    numbers: Vec<f64>,
}

impl<'s, 'a> Bias<'s, 'a> {
    fn of(
        layer: &'s Linear<'a>,
        ins: &Range<usize>,
        carried: &BTreeMap<usize, Vec<(usize, f64)>>,
        kept: &Kept<'_>,
        constants: &Constants,
    ) -> Self {
        let number = |slot: usize| match kept.level(slot) {
            Level::Content => 0.0,
            Level::Gone | Level::Shape => constants.at(slot).number().unwrap_or(0.0),
        };
        let mut numbers: Vec<f64> = ins.clone().map(number).collect();
        for &(input, _) in carried.values().flatten() {
            if let Some(number) = numbers.get_mut(input) {
                *number = 0.0;
            }
        }
        let gone = numbers.iter().enumerate().filter(|(_, number)| **number != 0.0);
        Self { layer, gone: gone.map(|(input, _)| input).collect(), numbers }
    }

    fn of_output(&self, output: usize) -> f64 {
        let read = self.gone.iter().copied().filter(|&input| self.layer.rows.reads(output, input));
        let added = read.filter_map(|input| {
            let number = self.numbers.get(input)?;
            Some(number * self.layer.weights(output, input).sum::<f64>())
        });
        self.layer.bias_of(output) + added.sum::<f64>()
    }
}
