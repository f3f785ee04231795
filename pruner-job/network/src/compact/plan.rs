//! What each node does with channels, and which channels go together. Every channel of every value has a number, its
//! *slot*; slots that only exist together are of one *class*: those that an addition joins, and a channel before and after
//! its batch norm. How a node is read is in [`super::read`]; nothing is decided here.

use std::{collections::HashMap, ops::Range};

use petgraph::unionfind::UnionFind;

use crate::onnx::{NodeProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto};

use super::{read, source::Source, step::Step};

/// What was read, or why a node is a wall.
pub(super) type Read<T> = Result<T, &'static str>;

/// Far more channels than any real network has; beyond it values are not followed.
const MOST_SLOTS: usize = 1 << 22;

/// A value whose channels, its axis 1, are followed.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Sizes of all axes, `None` where not known.
    pub(super) dims: Vec<Option<usize>>,
    /// The numbers of its channels.
    pub(super) slots: Range<usize>,
}

impl Value {
    pub(super) fn channels(&self) -> usize {
        self.slots.len()
    }

    /// Sizes of the axes after the channels.
    pub(super) fn spatial(&self) -> &[Option<usize>] {
        self.dims.get(2..).unwrap_or_default()
    }

    /// Number of places of each channel, if known.
    pub(super) fn places(&self) -> Option<usize> {
        self.spatial().iter().try_fold(1_usize, |places, &size| places.checked_mul(size?))
    }

    /// Height and width, if it is an image of known size.
    pub(super) fn size(&self) -> Option<[usize; 2]> {
        match *self.spatial() {
            [Some(height), Some(width)] => Some([height, width]),
            _ => None,
        }
    }
}

/// What is known of a graph's channels.
pub(super) struct Plan<'a> {
    pub(super) values: HashMap<&'a str, Value>,
    /// What each node does, in their order.
    pub(super) steps: Vec<Step<'a>>,
    /// Slots that nothing may remove.
    pub(super) pinned: Vec<usize>,
    /// The class of each slot.
    pub(super) classes: Vec<usize>,
}

impl<'a> Plan<'a> {
    pub(super) fn of(source: &'a Source<'a>) -> Self {
        let mut builder = Builder {
            source,
            values: HashMap::new(),
            steps: vec![],
            slots: 0,
            merges: vec![],
            pinned: vec![],
        };
        for input in &source.graph.input {
            builder.track_input(input);
        }
        for node in &source.graph.node {
            let step = read::step(&mut builder, node).unwrap_or_else(Step::Wall);
            builder.steps.push(step);
        }
        let Builder { values, steps, slots, merges, pinned, .. } = builder;
        let mut classes = UnionFind::new(slots);
        for (left, right) in merges {
            classes.union(left, right);
        }
        Self { values, steps, pinned, classes: classes.into_labeling() }
    }

    /// The channels of `name`, if they are followed.
    pub(super) fn slots(&self, name: &str) -> Option<Range<usize>> {
        self.values.get(name).map(|value| value.slots.clone())
    }
}

/// A plan that is being made.
pub(super) struct Builder<'a> {
    pub(super) source: &'a Source<'a>,
    values: HashMap<&'a str, Value>,
    steps: Vec<Step<'a>>,
    slots: usize,
    merges: Vec<(usize, usize)>,
    pinned: Vec<usize>,
}

impl<'a> Builder<'a> {
    fn track_input(&mut self, input: &'a ValueInfoProto) {
        let dims = dims_of(input).filter(|_| !self.source.is_constant(input.name()));
        if let Some(dims) = dims
            && let Ok(value) = self.track(input.name(), dims)
        {
            self.pinned.extend(value.slots);
        }
    }

    /// Follows the channels of a value from here on.
    pub(super) fn track(&mut self, name: &'a str, dims: Vec<Option<usize>>) -> Read<Value> {
        let channels = dims.get(1).copied().flatten().ok_or("its number of channels is not known")?;
        let end = self.slots.checked_add(channels).filter(|&end| end <= MOST_SLOTS && channels > 0);
        let end = end.ok_or("it has no channels, or too many to follow")?;
        let value = Value { dims, slots: self.slots..end };
        self.slots = end;
        self.values.insert(name, value.clone());
        Ok(value)
    }

    pub(super) fn value(&self, name: &str) -> Read<Value> {
        self.values.get(name).cloned().ok_or("what it reads could not be followed")
    }

    /// The value that a layer with weights reads; one that was not followed so far has all of its channels pinned.
    pub(super) fn value_read_by_layer(&mut self, name: &'a str, channels: usize, axes: usize) -> Read<Value> {
        if self.source.is_constant(name) {
            return Err("it reads a constant");
        }
        if !self.values.contains_key(name) {
            let mut dims = vec![None; axes];
            if let Some(size) = dims.get_mut(1) {
                *size = Some(channels);
            }
            let value = self.track(name, dims)?;
            self.pinned.extend(value.slots);
        }
        let value = self.value(name)?;
        if value.dims.len() != axes || value.channels() != channels {
            return Err("its weight does not fit the value that it reads");
        }
        Ok(value)
    }

    /// The node at `position` is part of a later step.
    pub(super) fn absorb(&mut self, position: usize) {
        if let Some(step) = self.steps.get_mut(position) {
            *step = Step::Nothing;
        }
    }

    /// The only output of a node.
    pub(super) fn output(node: &'a NodeProto) -> Read<&'a str> {
        let mut outputs = node.output.iter().filter(|name| !name.is_empty());
        match (outputs.next(), outputs.next()) {
            (Some(output), None) => Ok(output),
            _ => Err("it has another number of outputs than one"),
        }
    }

    /// Two slots exist together or not at all.
    pub(super) fn merge(&mut self, left: usize, right: usize) {
        self.merges.push((left, right));
    }

    /// As [`Self::merge`], channel by channel.
    pub(super) fn merge_all(&mut self, left: &Value, right: &Value) {
        self.merges.extend(left.slots.clone().zip(right.slots.clone()));
    }
}

fn dims_of(value: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
    let type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()? else { return None };
    let size = |size: &dimension::Value| match size {
        dimension::Value::DimValue(size) => usize::try_from(*size).ok().filter(|&size| size > 0),
        dimension::Value::DimParam(_) => None,
    };
    let dims = tensor.shape.as_ref()?.dim.iter();
    Some(dims.map(|dimension| dimension.value.as_ref().and_then(size)).collect())
}
