//! Exact compaction: a network with dead weights becomes a smaller dense one that computes the same.
//!
//! `plan` says what each node does with channels, and which of them go together. Abstract interpretation forward
//! finds channels that are constant for every image (`constants`); liveness backward finds those that nobody needs (`demand`);
//! `rewrite` writes what is left.
//! What is not understood is a wall: it stays, with all that it reads, and the report says so. Equality is exact up to the
//! rounding of sums that are made beforehand; it holds for evaluation, where batch norm is a factor and a summand.
//!
//! Where a constant channel reaches a convolution with padding, its border differs, and no bias can stand for it. One of the dead
//! channels then stays and carries all others: their weights, in proportion, are added to its own (`carriers`, `basis`). That is exact for
//! images of any size.

use crate::{
    network::{InvalidModel, NEWEST_OPSET, check_order, opset, weights::KnownWeights},
    onnx::ModelProto,
};

mod basis;
mod carriers;
mod compacted;
mod constants;
mod demand;
mod map;
mod plan;
mod read;
mod report;
mod rewrite;
mod rows;
mod source;
mod state;
mod step;
mod window;

pub use compacted::Compacted;
pub use report::{LayerReport, Report, Size, WallReport};

/// How to compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Layers keep a multiple of so many channels, where they have them: libraries compute some widths faster. 1 keeps what is
    /// needed and no more.
    pub round_to: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { round_to: 1 }
    }
}

/// Removes from `model` every channel that its outputs do not depend on. On an error the model is as it was.
///
/// Weights must be in the model, not in files beside it; those that are not 32-bit floats are left alone. They must be finite, which
/// [`KnownWeights::checked`] finds out: what would be multiplied with an infinite one may be removed.
pub fn compact(model: &mut ModelProto, options: Options) -> Result<Report, InvalidModel> {
    let (graph, report) = compacted(&KnownWeights::unread(model), options)?.into_graph();
    model.graph = Some(graph);
    Ok(report)
}

/// As [`compact`], of a model that may have been checked, to be written: no weight is copied before that.
pub fn compacted(known: &KnownWeights<'_>, options: Options) -> Result<Compacted, InvalidModel> {
    let model = known.model();
    let graph = model.graph.as_ref().ok_or(InvalidModel::NoGraph)?;
    let opset = opset(model, NEWEST_OPSET)?;
    check_order(graph)?;
    let source = source::Source::of(known, graph, opset);
    let plan = plan::Plan::of(&source);
    let constants = constants::Constants::of(&plan);
    let kept = demand::Kept::of(&source, &plan, &constants, options.round_to);
    let written = rewrite::rewrite(&source, &plan, &constants, &kept);
    let report = Report::of(&source, &plan, &constants, &kept, &written.graph);
    Ok(Compacted::of(model, written, report))
}
