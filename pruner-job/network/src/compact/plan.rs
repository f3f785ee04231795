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

/// A value whose channels are followed.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Sizes of all axes, `None` where not known.
    pub(super) dims: Vec<Option<usize>>,
    /// The numbers of its channels.
    pub(super) slots: Range<usize>,
    /// The axis of its channels: 1 as images have it, or the last.
    pub(super) axis: usize,
}

impl Value {
    pub(super) fn channels(&self) -> usize {
        self.slots.len()
    }

    /// Sizes of the axes after the channels.
    pub(super) fn spatial(&self) -> &[Option<usize>] {
        self.dims.get(self.axis + 1..).unwrap_or_default()
    }

    /// Number of places of each channel, if known.
    pub(super) fn places(&self) -> Option<usize> {
        let sizes = self.dims.iter().enumerate().filter(|(axis, _)| *axis != 0 && *axis != self.axis);
        sizes.map(|(_, size)| *size).try_fold(1_usize, |places, size| places.checked_mul(size?))
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
            self.pin(&value);
        }
    }

    /// Follows the channels of a value, its axis 1, from here on.
    pub(super) fn track(&mut self, name: &'a str, dims: Vec<Option<usize>>) -> Read<Value> {
        self.track_along(name, dims, 1)
    }

    /// As [`Self::track`], with channels along another axis.
    pub(super) fn track_along(
        &mut self,
        name: &'a str,
        dims: Vec<Option<usize>>,
        axis: usize,
    ) -> Read<Value> {
        let channels = dims.get(axis).copied().flatten().ok_or("its number of channels is not known")?;
        let end = self.slots.checked_add(channels).filter(|&end| end <= MOST_SLOTS && channels > 0);
        let end = end.ok_or("it has no channels, or too many to follow")?;
        let value = Value { dims, slots: self.slots..end, axis };
        self.slots = end;
        self.values.insert(name, value.clone());
        Ok(value)
    }

    /// The value called `name`, whose channels are axis 1.
    pub(super) fn value(&self, name: &str) -> Read<Value> {
        let value = self.value_along_any(name)?;
        if value.axis == 1 { Ok(value) } else { Err("the channels of what it reads are the last axis") }
    }

    /// The value called `name`, whatever the axis of its channels.
    pub(super) fn value_along_any(&self, name: &str) -> Read<Value> {
        self.values.get(name).cloned().ok_or("what it reads could not be followed")
    }

    /// The value whose last axis a product with a weight reads. One that was not followed so far has all of its channels pinned, and
    /// as its number of axes is not known, it stands for one of any.
    pub(super) fn value_read_along_last(&mut self, name: &'a str, channels: usize) -> Read<Value> {
        if self.source.is_constant(name) {
            return Err("it reads a constant");
        }
        if !self.values.contains_key(name) {
            let value = self.track_along(name, vec![None, None, Some(channels)], 2)?;
            self.pin(&value);
        }
        let value = self.value_along_any(name)?;
        if value.axis + 1 != value.dims.len() {
            return Err("it multiplies another axis than the channels");
        }
        if value.channels() == channels {
            Ok(value)
        } else {
            Err("its weight does not fit the value that it reads")
        }
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
            self.pin(&value);
        }
        let value = self.value(name)?;
        if value.dims.len() != axes || value.channels() != channels {
            return Err("its weight does not fit the value that it reads");
        }
        Ok(value)
    }

    /// All channels of `value` stay.
    pub(super) fn pin(&mut self, value: &Value) {
        self.pinned.extend(value.slots.clone());
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
