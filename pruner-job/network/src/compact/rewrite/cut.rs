//! A layer's weight without what is gone, as a view: its numbers stay where they were read until they are written, so that
//! planning takes no memory and no time for them.

use std::{
    io::{self, Write},
    ops::Range,
};

use crate::onnx::{TensorProto, tensor_proto::DataType};

use super::{
    super::{
        source::Weight,
        step::{Layout, Linear},
    },
    layer::{Column, Row},
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
    /// By group, the cells that stay in each of its lines.
    spans: Vec<Vec<Span>>,
}

struct Line {
    /// Its position in the weight as it was read.
    index: usize,
    group: usize,
    /// Whether it has weights; else it is zero.
    is_read: bool,
    /// What is added to cells, by their positions among those that stay.
    added: Vec<(usize, Vec<f64>)>,
}

/// Neighbouring cells that stay.
struct Span {
    cells: Range<usize>,
    /// Whether they have weights; else they are zero.
    is_read: bool,
}

impl Cut {
    /// The weight of `layer` with the inputs `columns`, by group, and the outputs `rows`.
    pub(super) fn of(layer: &Linear<'_>, columns: &[Vec<Column>], rows: Vec<Row>) -> Self {
        let (weight, cell) = (layer.weight.clone(), layer.cell);
        match layer.layout {
            Layout::OutputFirst => {
                let spans = columns
                    .iter()
                    .map(|columns| spans(columns.iter().map(|column| (column.input, column.is_read))));
                let spans = spans.collect();
                let lines = rows.into_iter().map(|row| Line {
                    index: row.output,
                    group: row.group,
                    is_read: row.has_weights,
                    added: placed(row.added, columns.get(row.group)),
                });
                Self { weight, cell, width: layer.ins_of_a_group(), lines: lines.collect(), spans }
            }
            Layout::InputFirst => {
                let spans = vec![spans(rows.iter().map(|row| (row.output, row.has_weights)))];
                let columns = columns.first();
                let line = |column: &Column| Line {
                    index: column.input,
                    group: 0,
                    is_read: column.is_read,
                    added: vec![],
                };
                let mut lines: Vec<Line> = columns.into_iter().flatten().map(line).collect();
                for (position, row) in rows.into_iter().enumerate() {
                    for (input, added) in placed(row.added, columns) {
                        if let Some(line) = lines.get_mut(input) {
                            line.added.push((position, added));
                        }
                    }
                }
                Self { weight, cell, width: layer.outs.len(), lines, spans }
            }
        }
    }

    /// The tensor, its numbers left out.
    pub(super) fn proto(&self) -> TensorProto {
        let width = self.spans.iter().map(|spans| cells(spans)).max().unwrap_or(0);
        let dims = [self.lines.len(), width].into_iter().chain(self.weight.dims.iter().skip(2).copied());
        TensorProto {
            dims: dims.map(|size| size as i64).collect(),
            data_type: Some(DataType::Float as i32),
            ..TensorProto::default()
        }
    }

    /// Number of bytes.
    pub(in super::super) fn size(&self) -> usize {
        let width = |line: &Line| self.spans.get(line.group).map_or(0, |spans| cells(spans));
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
        let (start, cell) = (to.len(), 4 * self.cell);
        let numbers = self.weight.cell(line.index, self.cell * self.width);
        for Span { cells, is_read } in self.spans.get(line.group).into_iter().flatten() {
            let read = numbers.get(cell * cells.start..cell * cells.end);
            match read.filter(|_| line.is_read && *is_read) {
                Some(numbers) => to.extend_from_slice(numbers),
                None => to.resize(to.len() + cell * cells.len(), 0),
            }
        }
        for (position, added) in &line.added {
            let sums = to.get_mut(start + cell * position..).unwrap_or_default();
            for (sum, added) in sums.as_chunks_mut().0.iter_mut().zip(added) {
                *sum = ((f64::from(f32::from_le_bytes(*sum)) + added) as f32).to_le_bytes();
            }
        }
    }
}

fn cells(spans: &[Span]) -> usize {
    spans.iter().map(|span| span.cells.len()).sum()
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

/// What is added to inputs, by their positions among the `columns` that stay.
fn placed(
    added: impl IntoIterator<Item = (usize, Vec<f64>)>,
    columns: Option<&Vec<Column>>,
) -> Vec<(usize, Vec<f64>)> {
    let columns = columns.map_or(&[][..], Vec::as_slice);
    let position = |input: usize| columns.binary_search_by_key(&input, |column| column.input).ok();
    added.into_iter().filter_map(|(input, added)| Some((position(input)?, added))).collect()
}
