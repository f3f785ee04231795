//! A layer's weight without what is gone, as a view: its numbers stay where they were read until they are written, so that
//! planning takes no memory and no time for them.

use std::{
    io::{self, Write},
    ops::Range,
};

use crate::onnx::{TensorProto, tensor_proto::DataType};

use super::{
    super::{
        source::{Weight, floats},
        step::{Layout, Linear},
    },
    layer::{Column, Group, Row},
};

/// Bytes that are gathered before they are written: a part of a processor's nearer cache.
pub(in super::super) const PIECE: usize = 1 << 17;

/// What stays of a weight, line by line in the order of its first axis.
pub(in super::super) struct Cut {
    weight: Weight,
    /// Numbers of a cell.
    cell: usize,
    /// Cells of a line as it was read.
    width: usize,
    lines: Vec<Line>,
    /// What stays of the lines of each group.
    parts: Vec<Part>,
}

struct Line {
    /// Its position in the weight as it was read.
    index: usize,
    group: usize,
    /// Whether it has weights; else it is zero.
    is_read: bool,
    /// Other lines that are added, with their factors.
    added: Vec<(usize, f64)>,
}

struct Part {
    spans: Vec<Span>,
    /// Cells that are added to another, with their factors, by its position among those that stay.
    added: Vec<(usize, Vec<(usize, f64)>)>,
}

/// Neighbouring cells that stay.
struct Span {
    cells: Range<usize>,
    /// Whether they have weights; else they are zero.
    is_read: bool,
}

impl Cut {
    /// The weight of `layer` with what stays of its groups.
    pub(super) fn of(layer: &Linear<'_>, groups: &[Group]) -> Self {
        let (lines, parts, width) = match layer.layout {
            Layout::OutputFirst => {
                let lines = groups.iter().enumerate().flat_map(|(group, stays)| {
                    let line = move |row: &Row| Line {
                        index: row.output,
                        group,
                        is_read: row.has_weights,
                        added: vec![],
                    };
                    stays.rows.iter().map(line)
                });
                let part = |stays: &Group| Part {
                    spans: spans(stays.columns.iter().map(|column| (column.input, column.is_read))),
                    added: stays.carried_by_position(),
                };
                (lines.collect(), groups.iter().map(part).collect(), layer.ins_of_a_group())
            }
            Layout::InputFirst => {
                let lines = groups.iter().enumerate().flat_map(|(group, stays)| {
                    let first = group * layer.ins_of_a_group();
                    let added = move |input: usize| {
                        let added = stays.carried.get(&input).into_iter().flatten();
                        added.map(|(gone, factor)| (first + gone, *factor)).collect()
                    };
                    let line = move |column: &Column| Line {
                        index: first + column.input,
                        group,
                        is_read: column.is_read,
                        added: added(column.input),
                    };
                    stays.columns.iter().map(line)
                });
                let part = |(group, stays): (usize, &Group)| {
                    let first = group * layer.outs_of_a_group();
                    let cells = stays.rows.iter().map(|row| (row.output - first, row.has_weights));
                    Part { spans: spans(cells), added: vec![] }
                };
                let parts = groups.iter().enumerate().map(part);
                (lines.collect(), parts.collect(), layer.outs_of_a_group())
            }
        };
        Self { weight: layer.weight.clone(), cell: layer.cell, width, lines, parts }
    }

    /// The tensor, its numbers left out.
    pub(super) fn proto(&self) -> TensorProto {
        let width = self.parts.iter().map(Part::cells).max().unwrap_or(0);
        let dims = [self.lines.len(), width].into_iter().chain(self.weight.dims.iter().skip(2).copied());
        TensorProto {
            dims: dims.map(|size| size as i64).collect(),
            data_type: Some(DataType::Float as i32),
            ..TensorProto::default()
        }
    }

    /// Number of bytes.
    pub(in super::super) fn size(&self) -> usize {
        let width = |line: &Line| self.parts.get(line.group).map_or(0, Part::cells);
        4 * self.cell * self.lines.iter().map(width).sum::<usize>()
    }

    /// The numbers.
    pub(in super::super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        self.lines.iter().for_each(|line| self.gather(line, &mut bytes));
        bytes
    }

    /// Writes the numbers.
    pub(in super::super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut piece = Vec::with_capacity(PIECE.min(self.size()));
        for line in &self.lines {
            self.gather(line, &mut piece);
            if piece.len() >= PIECE {
                to.write_all(&piece)?;
                piece.clear();
            }
        }
        to.write_all(&piece)
    }

    fn gather(&self, line: &Line, to: &mut Vec<u8>) {
        let Some(part) = self.parts.get(line.group) else { return };
        let (start, cell) = (to.len(), 4 * self.cell);
        if !line.is_read {
            to.resize(start + cell * part.cells(), 0);
            return;
        }
        self.copy(line.index, part, to);
        for (position, added) in &part.added {
            let sums = to.get_mut(start + cell * position..start + cell * (position + 1));
            let others = added.iter().map(|&(index, factor)| {
                (self.weight.cell(line.index * self.width + index, self.cell), factor)
            });
            add(sums.unwrap_or_default(), others);
        }
        if !line.added.is_empty() {
            let others = line.added.iter().map(|&(index, factor)| {
                let mut other = Vec::new();
                self.copy(index, part, &mut other);
                (other, factor)
            });
            add(to.get_mut(start..).unwrap_or_default(), others);
        }
    }

    /// Appends what stays of the line at `index`.
    fn copy(&self, index: usize, part: &Part, to: &mut Vec<u8>) {
        let cell = 4 * self.cell;
        let numbers = self.weight.cell(index, self.cell * self.width);
        for Span { cells, is_read } in &part.spans {
            match numbers.get(cell * cells.start..cell * cells.end).filter(|_| *is_read) {
                Some(numbers) => to.extend_from_slice(numbers),
                None => to.resize(to.len() + cell * cells.len(), 0),
            }
        }
    }
}

impl Part {
    /// Number of cells of a line.
    fn cells(&self) -> usize {
        self.spans.iter().map(|span| span.cells.len()).sum()
    }
}

/// Adds multiples of other numbers, which are rounded when all are there.
fn add(sums: &mut [u8], others: impl Iterator<Item = (impl AsRef<[u8]>, f64)>) {
    let mut exact: Vec<f64> = floats(sums).map(f64::from).collect();
    for (other, factor) in others {
        for (sum, value) in exact.iter_mut().zip(floats(other.as_ref())) {
            *sum += factor * f64::from(value);
        }
    }
    for (sum, exact) in sums.as_chunks_mut().0.iter_mut().zip(exact) {
        *sum = (exact as f32).to_le_bytes();
    }
}

/// Neighbours that are alike, of cells in ascending order.
fn spans(cells: impl Iterator<Item = (usize, bool)>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (cell, is_read) in cells {
        match spans.last_mut() {
            Some(last) if last.cells.end == cell && last.is_read == is_read => last.cells.end += 1,
            Some(_) | None => spans.push(Span { cells: cell..cell + 1, is_read }),
        }
    }
    spans
}
