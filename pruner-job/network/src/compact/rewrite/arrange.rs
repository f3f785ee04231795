//! Nodes that move channels: fewer of them move, and channels that were sliced or shuffled are gathered.

use std::collections::HashMap;

use crate::{onnx::NodeProto, tensor::integers_to_proto};

use super::{
    super::{
        plan::Value,
        step::{Arrange, Movement},
    },
    Writer, integer, integers,
};

impl Writer<'_, '_> {
    pub(super) fn arrange(&mut self, node: &mut NodeProto, arrange: &Arrange<'_>) {
        match &arrange.movement {
            Movement::Stack | Movement::Part => {}
            Movement::Concat { inputs } => {
                let stays = |(_, value): &&(&str, Value)| self.kept.has_any(&value.slots);
                node.input = inputs.iter().filter(stays).map(|(name, _)| (*name).to_owned()).collect();
            }
            Movement::Split { outputs } => self.split(node, outputs),
            Movement::Select { input, from, chosen } => self.select(node, input, from, chosen),
            Movement::Reshape { from, literal } => {
                if let Some(numbers) = literal.filter(|_| self.is_cut(from)) {
                    self.resize(node, 1, self.count(from) * numbers);
                }
            }
        }
    }

    fn split(&mut self, node: &mut NodeProto, outputs: &[(&str, Value)]) {
        if !outputs.iter().any(|(_, value)| self.is_cut(value)) {
            return;
        }
        let stay: Vec<_> = outputs.iter().filter(|(_, value)| self.kept.has_any(&value.slots)).collect();
        let sizes: Vec<i64> = stay.iter().map(|(_, value)| self.count(value) as i64).collect();
        node.output = stay.iter().map(|(name, _)| (*name).to_owned()).collect();
        node.attribute.retain(|attribute| !matches!(attribute.name(), "split" | "num_outputs"));
        // From operator set 13 on, the sizes are an input.
        if self.source.opset < 13 {
            node.attribute.push(integers("split", sizes));
        } else {
            self.replace(node, 1, integers_to_proto("", &sizes));
        }
    }

    fn select(&mut self, node: &mut NodeProto, input: &str, from: &Value, chosen: &[usize]) {
        let here = self.kept.channels(&from.slots);
        // What goes out is of the classes of what comes in.
        if here.len() == from.channels() {
            return;
        }
        let numbers: HashMap<usize, i64> = here.into_iter().zip(0..).collect();
        let stays = chosen.iter().filter_map(|channel| numbers.get(channel).copied());
        let indices: Vec<i64> = stays.collect();
        node.input = vec![input.to_owned()];
        if indices.len() == numbers.len() && indices.iter().copied().eq(0..indices.len() as i64) {
            self.rename(node, input);
            return;
        }
        "Gather".clone_into(node.op_type.get_or_insert_default());
        node.attribute = vec![integer("axis", 1)];
        self.replace(node, 1, integers_to_proto("", &indices));
    }
}
