//! Windows of convolutions and pooling: how they are written in ONNX, the size of what they make, and where they read.

use crate::{attributes::Attributes, onnx::NodeProto};

use super::plan::Read;

/// A window that moves over the axes after the channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    /// Padding before and after each axis; `None` if it depends on a size that is not known.
    padding: Option<Vec<(usize, usize)>>,
    pub(super) rounds_up: bool,
}

/// Sizes of an image.
pub(super) type Size = [usize; 2];

impl Window {
    /// The window of `node`, whose input has the sizes `spatial` after its channels.
    pub(super) fn of(node: &NodeProto, kernel: Vec<usize>, spatial: &[Option<usize>]) -> Read<Self> {
        let attributes = Attributes::of(node);
        let axes = spatial.len();
        let sizes = |name: &str, default: usize, count: usize| match attributes.integers(name) {
            None => Ok(vec![default; count]),
            Some(values) if values.len() == count => values.iter().map(|&value| size(value)).collect(),
            Some(_) => Err("its window has another number of axes than its input"),
        };
        if kernel.len() != axes {
            return Err("its window has another number of axes than its input");
        }
        let (strides, dilations) = (sizes("strides", 1, axes)?, sizes("dilations", 1, axes)?);
        if strides.contains(&0) || dilations.contains(&0) || kernel.contains(&0) {
            return Err("its window has a size, stride or dilation of 0");
        }
        let rounds_up = attributes.integer("ceil_mode", 0) != 0;
        let mut window = Self { kernel, strides, dilations, padding: None, rounds_up };
        window.padding = match attributes.text("auto_pad") {
            None | Some(b"NOTSET") => {
                let pads = sizes("pads", 0, 2 * axes)?;
                let (before, after) = pads.split_at(axes);
                Some(before.iter().copied().zip(after.iter().copied()).collect())
            }
            Some(b"VALID") => Some(vec![(0, 0); axes]),
            Some(b"SAME_UPPER") => window.same_padding(spatial, false),
            Some(b"SAME_LOWER") => window.same_padding(spatial, true),
            Some(_) => return Err("its auto_pad is not known"),
        };
        Ok(window)
    }

    /// The window of one place whose padding is what a `Pad` node adds.
    pub(super) fn padding(edges: Vec<(usize, usize)>) -> Self {
        let ones = vec![1; edges.len()];
        let (strides, dilations) = (ones.clone(), ones.clone());
        Self { kernel: ones, strides, dilations, padding: Some(edges), rounds_up: false }
    }

    fn reach(&self) -> impl Iterator<Item = usize> {
        self.kernel.iter().zip(&self.dilations).map(|(kernel, dilation)| dilation * (kernel - 1) + 1)
    }

    /// As much padding as makes the output the input's size over the stride, rounded up.
    fn same_padding(&self, spatial: &[Option<usize>], more_before: bool) -> Option<Vec<(usize, usize)>> {
        let axes = spatial.iter().zip(&self.strides).zip(self.reach());
        axes.map(|((&size, &stride), reach)| {
            let size = size?;
            let total = (size.div_ceil(stride).saturating_sub(1) * stride + reach).saturating_sub(size);
            let (less, more) = (total / 2, total - total / 2);
            Some(if more_before { (more, less) } else { (less, more) })
        })
        .collect()
    }

    /// Whether any window may reach over the edge of the map.
    pub(super) fn is_padded(&self) -> bool {
        self.padding.as_ref().is_none_or(|padding| padding.iter().any(|edges| *edges != (0, 0)))
    }

    /// Sizes of what comes out of `spatial`.
    pub(super) fn output(&self, spatial: &[Option<usize>]) -> Vec<Option<usize>> {
        let Some(padding) = &self.padding else { return vec![None; spatial.len()] };
        let axes = spatial.iter().zip(padding).zip(&self.strides).zip(self.reach());
        axes.map(|(((&size, (before, after)), &stride), reach)| {
            let room = size?.checked_add(before + after)?.checked_sub(reach)?;
            let steps = room / stride;
            // Rounded up, there is one step more, unless it starts beyond the map.
            let starts_within = (steps + 1).checked_mul(stride)? < size? + before;
            let is_more = self.rounds_up && !room.is_multiple_of(stride) && starts_within;
            Some(steps + usize::from(is_more) + 1)
        })
        .collect()
    }

    /// The places of an axis of `size` that are read for place `output` of what comes out, `None` for those in the padding. `None` if
    /// this is no window over two axes, or its padding is not known.
    pub(super) fn reads(
        &self,
        axis: usize,
        size: usize,
        output: usize,
    ) -> Option<impl Iterator<Item = Option<usize>>> {
        let before = self.padding.as_ref().filter(|padding| padding.len() == 2)?.get(axis)?.0;
        let (kernel, stride, step) =
            (*self.kernel.get(axis)?, *self.strides.get(axis)?, *self.dilations.get(axis)?);
        let start = output * stride;
        Some(
            (0..kernel)
                .map(move |place| (start + place * step).checked_sub(before).filter(|&place| place < size)),
        )
    }

    /// Number of places of the kernel along its axes, one after another.
    pub(super) fn edges(&self) -> usize {
        self.kernel.iter().sum()
    }
}

fn size(value: i64) -> Read<usize> {
    /// Far above any real window, and far below what could overflow.
    const MOST: usize = 1 << 16;
    usize::try_from(value).ok().filter(|&size| size <= MOST).ok_or("its window has a size out of range")
}
