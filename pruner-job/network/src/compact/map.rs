//! Constant maps, stored by what may differ in them. Padding makes places near the border see something else than those inside, which all
//! see the same: rows that see the same are one class, and so are columns, and a map has one number for each pair of them.

use std::{borrow::Cow, collections::HashMap, hash::Hash, rc::Rc};

use super::{
    step::Walk,
    window::{Size, Window},
};

/// Which rows, and which columns, of an image see the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grid {
    rows: Axis,
    columns: Axis,
}

#[derive(Debug, PartialEq, Eq)]
struct Axis {
    /// The class of each place.
    classes: Vec<usize>,
    /// The first place of each class.
    places: Vec<usize>,
}

impl Axis {
    /// Places whose keys are equal are one class.
    fn of<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> Self {
        let mut known = HashMap::new();
        let mut axis = Self { classes: vec![], places: vec![] };
        for (place, key) in keys.enumerate() {
            let class = *known.entry(key).or_insert(axis.places.len());
            if class == axis.places.len() {
                axis.places.push(place);
            }
            axis.classes.push(class);
        }
        axis
    }

    fn refined(&self, other: &Self) -> Self {
        Self::of(self.classes.iter().zip(&other.classes))
    }

    /// Number of places of each class.
    fn counts(&self) -> Vec<f64> {
        let mut counts = vec![0.0; self.places.len()];
        for &class in &self.classes {
            if let Some(count) = counts.get_mut(class) {
                *count += 1.0;
            }
        }
        counts
    }
}

impl Grid {
    /// Of an image that is the same everywhere.
    pub(super) fn even([height, width]: Size) -> Self {
        Self { rows: Axis::of((0..height).map(|_| ())), columns: Axis::of((0..width).map(|_| ())) }
    }

    /// Height and width of the image.
    fn size(&self) -> Size {
        [self.rows.classes.len(), self.columns.classes.len()]
    }

    /// Number of pairs of classes.
    pub(super) fn len(&self) -> usize {
        self.rows.places.len() * self.columns.places.len()
    }

    /// The grid on which maps of both are maps; `own` if the images differ in size.
    pub(super) fn common(own: &Rc<Self>, other: &Rc<Self>) -> Rc<Self> {
        if own == other || own.size() != other.size() {
            return own.clone();
        }
        let (rows, columns) = (own.rows.refined(&other.rows), own.columns.refined(&other.columns));
        Rc::new(Self { rows, columns })
    }
}

/// One number for each pair of classes of rows and columns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Map {
    pub(super) grid: Rc<Grid>,
    pub(super) values: Rc<[f64]>,
}

impl Map {
    /// Number of places of the image.
    pub(super) fn places(&self) -> usize {
        self.grid.size().iter().product()
    }

    /// The number at a place of the image, counted row by row.
    pub(super) fn at(&self, place: usize) -> Option<f64> {
        let columns = &self.grid.columns;
        let width = columns.classes.len();
        let row = self.grid.rows.classes.get(place.checked_div(width)?)?;
        let column = columns.classes.get(place.checked_rem(width)?)?;
        self.values.get(row * columns.places.len() + column).copied()
    }

    /// The numbers on a finer grid; `None` if its image has another size.
    pub(super) fn on(&self, grid: &Rc<Grid>) -> Option<Cow<'_, [f64]>> {
        if self.grid == *grid {
            return Some(Cow::Borrowed(&self.values));
        }
        let width = grid.columns.classes.len();
        let pairs = grid
            .rows
            .places
            .iter()
            .flat_map(|row| grid.columns.places.iter().map(move |column| row * width + column));
        let values = pairs.map(|place| self.at(place)).collect::<Option<Vec<f64>>>()?;
        (self.grid.size() == grid.size()).then_some(Cow::Owned(values))
    }

    /// The mean of all places.
    pub(super) fn mean(&self) -> f64 {
        let columns = self.grid.columns.counts();
        let counts = self.grid.rows.counts();
        let counts = counts.iter().flat_map(|row| columns.iter().map(move |column| row * column));
        let sum: f64 = self.values.iter().zip(counts).map(|(value, count)| value * count).sum();
        sum / self.places() as f64
    }
}

/// What a window over constant maps reads.
pub(super) struct Taps {
    pub(super) input: Rc<Grid>,
    pub(super) output: Rc<Grid>,
    /// For each class of rows of the output, the class of the input's row under each row of the kernel; `None` in the padding.
    rows: Vec<Vec<Option<usize>>>,
    columns: Vec<Vec<Option<usize>>>,
}

impl Taps {
    /// Of a window that moves over maps of `input`; `None` if it does not fit.
    pub(super) fn of(walk: &Walk, input: Rc<Grid>) -> Option<Self> {
        if input.size() != walk.input {
            return None;
        }
        let [height, width] = walk.output;
        let (row_axis, rows) = through(&walk.window, 0, &input.rows, height)?;
        let (column_axis, columns) = through(&walk.window, 1, &input.columns, width)?;
        let output = Rc::new(Grid { rows: row_axis, columns: column_axis });
        Some(Self { input, output, rows, columns })
    }

    /// For each pair of classes of the output, the pair of classes of the input under each place of the kernel, `None` in the padding.
    pub(super) fn windows(&self) -> impl Iterator<Item = impl Iterator<Item = Option<usize>>> {
        let pairs = self.rows.iter().flat_map(|rows| self.columns.iter().map(move |columns| (rows, columns)));
        pairs.map(|(rows, columns)| {
            let places = rows.iter().flat_map(|row| columns.iter().map(move |column| row.zip(*column)));
            places.map(|place| place.map(|(row, column)| row * self.input.columns.places.len() + column))
        })
    }

    /// Adds to `map`, of the output, what a kernel of `weights` makes of the input's `values`.
    pub(super) fn add(&self, values: &[f64], weights: &[f64], map: &mut [f64]) {
        for (sum, window) in map.iter_mut().zip(self.windows()) {
            let read = window.map(|place| place.and_then(|place| values.get(place)).copied().unwrap_or(0.0));
            *sum += read.zip(weights).map(|(value, weight)| value * weight).sum::<f64>();
        }
    }

    /// Number of places that are read.
    pub(super) fn work(&self) -> usize {
        let count = |taps: &[Vec<Option<usize>>]| taps.iter().map(Vec::len).sum::<usize>();
        count(&self.rows) * count(&self.columns)
    }
}

/// The axis of `output` places that a window makes of `input`, and what each class of it reads.
fn through(
    window: &Window,
    axis: usize,
    input: &Axis,
    output: usize,
) -> Option<(Axis, Vec<Vec<Option<usize>>>)> {
    let class = |place: usize| input.classes.get(place).copied();
    let reads = |place: usize| -> Option<Vec<Option<usize>>> {
        let places = window.reads(axis, input.classes.len(), place)?;
        Some(places.map(|read| read.and_then(class)).collect())
    };
    let made = Axis::of((0..output).map(reads));
    let taps = made.places.iter().map(|&place| reads(place)).collect::<Option<_>>()?;
    Some((made, taps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{AttributeProto, NodeProto};

    /// A window of 3 x 2 that strides over the rows, with padding that is not even.
    fn walk(input: Size) -> Walk {
        let integers = |name: &str, ints: [i64; 2]| AttributeProto {
            name: Some(name.to_owned()),
            ints: ints.to_vec(),
            ..AttributeProto::default()
        };
        let mut pads = integers("pads", [1, 0]);
        pads.ints.extend([1, 1]);
        let attribute = vec![integers("strides", [2, 1]), integers("dilations", [1, 2]), pads];
        let node = NodeProto { attribute, ..NodeProto::default() };
        let spatial = input.map(Some);
        let window = Window::of(&node, vec![3, 2], &spatial).unwrap();
        let [height, width] = window.output(&spatial)[..] else { panic!("two axes") };
        Walk { window, input, output: [height.unwrap(), width.unwrap()] }
    }

    /// What the kernel makes of `map`, place by place.
    fn naive(walk: &Walk, map: &Map, weights: &[f64]) -> Vec<f64> {
        let reads =
            |axis: usize, place: usize| walk.window.reads(axis, walk.input[axis], place).unwrap().enumerate();
        let mut sums = Vec::new();
        for (y, x) in (0..walk.output[0]).flat_map(|y| (0..walk.output[1]).map(move |x| (y, x))) {
            let places = reads(0, y).flat_map(|row| reads(1, x).map(move |column| (row, column)));
            let value = |((row, y), (column, x)): ((usize, Option<usize>), (usize, Option<usize>))| {
                weights[2 * row + column]
                    * y.zip(x).map_or(0.0, |(y, x)| map.at(y * walk.input[1] + x).unwrap())
            };
            sums.push(places.map(value).sum());
        }
        sums
    }

    #[test]
    fn a_kernel_makes_of_classes_what_it_makes_of_places() {
        let weights = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let mut map = Map { grid: Rc::new(Grid::even([23, 17])), values: vec![1.0].into() };
        for _ in 0..3 {
            let walk = walk(map.grid.size());
            let taps = Taps::of(&walk, map.grid.clone()).unwrap();
            let mut values = vec![0.0; taps.output.len()];
            taps.add(&map.values, &weights, &mut values);
            let made = Map { grid: taps.output.clone(), values: values.into() };
            let expected = naive(&walk, &map, &weights);
            let found: Vec<f64> = (0..made.places()).map(|place| made.at(place).unwrap()).collect();
            assert_eq!(found, expected);
            assert!((made.mean() - expected.iter().sum::<f64>() / expected.len() as f64).abs() < 1e-9);
            map = made;
        }
    }

    #[test]
    fn maps_of_different_grids_meet_on_a_finer_one() {
        let grid = |rows: [usize; 3], columns: [usize; 2]| {
            Rc::new(Grid { rows: Axis::of(rows.iter()), columns: Axis::of(columns.iter()) })
        };
        let (left, right) = (grid([0, 1, 1], [0, 0]), grid([0, 0, 1], [0, 1]));
        let common = Grid::common(&left, &right);
        assert_eq!(common.len(), 6);
        let map = Map { grid: left, values: vec![5.0, 7.0].into() };
        assert_eq!(map.on(&common).unwrap(), [5.0, 5.0, 7.0, 7.0, 7.0, 7.0].as_slice());
        assert_eq!(map.on(&Rc::new(Grid::even([2, 3]))), None);
    }
}
