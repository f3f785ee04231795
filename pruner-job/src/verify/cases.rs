//! The inputs on which networks are compared: those of a `.npz` file, or made from a seed. Runs nothing.
//!
//! Made inputs are what compaction is likeliest to get wrong (a constant channel that meets zero padding differs at the
//! border only): random ones alone and in pairs, zeros, ones, and impulses in the corners; at two sizes if the network
//! leaves its size open.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use npyz::{TypeChar, npz::NpzArchive};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::data::npz;

/// Sizes that stand for a height or width that the network leaves open: multiples of 32, as most detectors need.
const OPEN_SIZES: [usize; 2] = [64, 96];
/// Most values of one made or read input: a batch of 64 images of 1024 x 1024 in colour, under 1 GiB.
const MOST_VALUES: usize = 1 << 28;
/// Samples that run together if the network leaves its batch size open.
const BATCH: usize = 16;

/// Where inputs come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// Made from a seed.
    Random {
        /// The seed.
        seed: u64,
    },
    /// A file with an array for each input.
    Npz(&'a Path),
}

/// An input or output of a network; sizes that it leaves open are negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) shape: Vec<i64>,
}

/// One set of inputs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    /// How a person calls it.
    pub(crate) title: String,
    /// Name, shape and values of each input.
    pub(crate) tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

/// Why there are no inputs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaseError {
    #[error("failed to read \"{}\"", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("\"{}\" has no array called \"{input}\" for that input of the network; it has {found}", path.display())]
    Missing { path: PathBuf, input: String, found: String },
    #[error(
        "array \"{array}\" of \"{}\" has shape {found:?}, which does not fit the input {wanted}; its first size is the number of samples, the same for all inputs and a multiple of the network's batch size", path.display()
    )]
    Shape { path: PathBuf, array: String, found: Vec<usize>, wanted: String },
    #[error("array \"{array}\" of \"{}\" has values of type {found}, but must be float32: save array.astype(numpy.float32)", path.display())]
    Type { path: PathBuf, array: String, found: String },
    #[error("array \"{array}\" of \"{}\" is in Fortran's order: save numpy.ascontiguousarray(array)", path.display())]
    Order { path: PathBuf, array: String },
    #[error("input {0} needs more than {MOST_VALUES} values; give smaller ones with --inputs")]
    TooLarge(String),
}

/// The forms of a made input.
#[derive(Clone, Copy)]
enum Form {
    Random,
    Constant(f32),
    Corners,
}

impl Source<'_> {
    /// The inputs for a network that has `ports`.
    pub(crate) fn cases(&self, ports: &[Port]) -> Result<Vec<Case>, CaseError> {
        match *self {
            Self::Random { seed } => made(ports, seed),
            Self::Npz(path) => read(path, ports),
        }
    }
}

impl Port {
    /// What both this and `other` accept: a size that one of them leaves open is that of the other. `None` if there is nothing.
    pub(crate) fn common(&self, other: &Self) -> Option<Self> {
        let common = |(&one, &other): (&i64, &i64)| match (one, other) {
            (open, size) | (size, open) if open < 0 => Some(size),
            (one, other) => (one == other).then_some(one),
        };
        let shape = self.shape.iter().zip(&other.shape).map(common).collect::<Option<_>>()?;
        let alike = self.name == other.name && self.shape.len() == other.shape.len();
        alike.then(|| Self { name: self.name.clone(), shape })
    }

    /// Whether an array of this shape holds samples for this input, as many as `samples` says, in whole batches.
    fn takes(&self, shape: &[usize], samples: Option<usize>) -> bool {
        let found = shape.first().copied().unwrap_or(0);
        let rest = self.shape.iter().zip(shape).skip(1);
        let whole =
            |&size: &i64| usize::try_from(size).map_or(true, |size| found.is_multiple_of(size.max(1)));
        let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
        self.shape.len() == shape.len()
            && found > 0
            && samples.is_none_or(|samples| samples == found)
            && self.shape.first().is_some_and(whole)
            && rest
                .into_iter()
                .all(|(&wanted, &size)| usize::try_from(wanted).map_or(true, |wanted| wanted == size))
            && count.is_some_and(|count| (1..=MOST_VALUES).contains(&count))
    }

    fn open_size(&self) -> bool {
        self.shape.iter().skip(1).any(|&size| size < 0)
    }

    fn open_batch(&self) -> bool {
        self.shape.first().is_some_and(|&size| size < 0)
    }

    /// The shape with its open sizes filled in.
    fn closed(&self, batch: usize, size: usize) -> Result<Vec<usize>, CaseError> {
        let open = |position| if position == 0 { batch } else { size };
        let close = |(position, &size)| usize::try_from(size).unwrap_or(open(position));
        let shape: Vec<usize> = self.shape.iter().enumerate().map(close).collect();
        let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
        match count {
            Some(count) if count <= MOST_VALUES => Ok(shape),
            _ => Err(CaseError::TooLarge(self.to_string())),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |&size: &i64| if size < 0 { "?".to_owned() } else { size.to_string() };
        let sizes: Vec<String> = self.shape.iter().map(size).collect();
        write!(f, "\"{}\" [{}]", self.name, sizes.join(", "))
    }
}

fn made(ports: &[Port], seed: u64) -> Result<Vec<Case>, CaseError> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let sizes = if ports.iter().any(Port::open_size) { &OPEN_SIZES[..] } else { &OPEN_SIZES[..1] };
    let mut forms = vec![
        ("random values", 1, Form::Random),
        ("zeros", 1, Form::Constant(0.0)),
        ("ones", 1, Form::Constant(1.0)),
        ("impulses in the corners", 1, Form::Corners),
    ];
    if ports.iter().any(Port::open_batch) {
        forms.push(("random values in a batch of 2", 2, Form::Random));
    }
    let mut cases = Vec::new();
    for &size in sizes {
        for &(title, batch, form) in &forms {
            let mut tensors = Vec::new();
            for port in ports {
                let shape = port.closed(batch, size)?;
                let values = form.values(&shape, &mut random);
                tensors.push((port.name.clone(), shape, values));
            }
            let title = if sizes.len() > 1 { format!("{title} of size {size}") } else { title.to_owned() };
            cases.push(Case { title, tensors });
        }
    }
    Ok(cases)
}

impl Form {
    fn values(self, shape: &[usize], random: &mut ChaCha8Rng) -> Vec<f32> {
        let count = shape.iter().product();
        let mut sizes = shape.iter().rev().copied();
        let (width, height) = (sizes.next().unwrap_or(1).max(1), sizes.next().unwrap_or(1).max(1));
        let edge = |position: usize, size: usize| position == 0 || position + 1 == size;
        let corner = |index: usize| edge(index % width, width) && edge(index / width % height, height);
        match self {
            Self::Random => (0..count).map(|_| random.random_range(-1.0..1.0)).collect(),
            Self::Constant(value) => vec![value; count],
            Self::Corners => (0..count).map(|index| f32::from(u8::from(corner(index)))).collect(),
        }
    }
}

fn read(path: &Path, ports: &[Port]) -> Result<Vec<Case>, CaseError> {
    let failed = |source| CaseError::Read { path: path.to_owned(), source };
    let mut archive = NpzArchive::open(path).map_err(failed)?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    let mut arrays = Vec::new();
    for port in ports {
        let array = match (ports, names.as_slice()) {
            // With one of each there is nothing to confuse.
            ([_], [only]) => only,
            _ => &port.name,
        };
        let file = archive.by_name(array).map_err(failed)?.ok_or_else(|| CaseError::Missing {
            path: path.to_owned(),
            input: port.name.clone(),
            found: names.join(", "),
        })?;
        let (path, array) = (path.to_owned(), array.clone());
        if npz::kind(&file) != Some((TypeChar::Float, 4)) {
            return Err(CaseError::Type { path, array, found: file.dtype().descr() });
        }
        if npz::is_in_another_order(&file) {
            return Err(CaseError::Order { path, array });
        }
        let shape: Vec<usize> = file.shape().iter().map(|&size| size as usize).collect();
        let samples = arrays.first().map(|first: &Array| first.samples);
        if !port.takes(&shape, samples) {
            return Err(CaseError::Shape { path, array, found: shape, wanted: port.to_string() });
        }
        let samples = shape.first().copied().unwrap_or(1);
        let values = file.into_vec::<f32>().map_err(failed)?;
        arrays.push(Array { name: port.name.clone(), samples, shape, values });
    }
    let fixed =
        ports.iter().filter_map(|port| port.shape.first()).find_map(|&size| usize::try_from(size).ok());
    Ok(batches(&arrays, fixed.unwrap_or(BATCH).max(1)))
}

/// One array of a file.
struct Array {
    name: String,
    samples: usize,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// The arrays, which have equally many samples, in batches of `batch`.
fn batches(arrays: &[Array], batch: usize) -> Vec<Case> {
    let samples = arrays.first().map_or(0, |array| array.samples);
    let batch_of = |array: &Array, start: usize, end: usize| {
        let size = array.values.len() / samples.max(1);
        let mut shape = array.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = end - start;
        }
        let values = array.values.get(start * size..end * size).unwrap_or_default().to_vec();
        (array.name.clone(), shape, values)
    };
    (0..samples)
        .step_by(batch)
        .map(|start| {
            let end = (start + batch).min(samples);
            let tensors = arrays.iter().map(|array| batch_of(array, start, end)).collect();
            Case { title: format!("samples {start} to {}", end - 1), tensors }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use npyz::{AutoSerialize, Order, WriterBuilder, npz::NpzWriter, zip::write::FileOptions};

    use super::*;

    fn port(shape: &[i64]) -> Port {
        Port { name: "x".to_owned(), shape: shape.to_vec() }
    }

    /// A file with one array that counts from 0.
    fn npz(folder: &Path, array: &str, shape: &[u64]) -> PathBuf {
        let values: Vec<f32> = (0..shape.iter().product::<u64>()).map(|value| value as f32).collect();
        written(folder, array, shape, Order::C, &values)
    }

    /// A file with one array.
    fn written<T: AutoSerialize + Copy>(
        folder: &Path,
        array: &str,
        shape: &[u64],
        order: Order,
        values: &[T],
    ) -> PathBuf {
        let path = folder.join("inputs.npz");
        let mut archive = NpzWriter::create(&path).unwrap();
        let writer = archive.array::<T>(array, FileOptions::default()).unwrap();
        let mut writer = writer.default_dtype().order(order).shape(shape).begin_nd().unwrap();
        writer.extend(values.iter().copied()).unwrap();
        writer.finish().unwrap();
        path
    }

    fn refusal(path: &Path, ports: &[Port]) -> String {
        Source::Npz(path).cases(ports).unwrap_err().to_string()
    }

    #[test]
    fn samples_of_a_file_are_cut_to_the_batch_of_the_network() {
        let folder = tempfile::tempdir().unwrap();
        let path = npz(folder.path(), "images", &[4, 3]);
        let open = Source::Npz(&path).cases(&[port(&[-1, 3])]).unwrap();
        assert_eq!((open.len(), &open[0].tensors[0].1), (1, &vec![4, 3]));
        let fixed = Source::Npz(&path).cases(&[port(&[2, 3])]).unwrap();
        assert_eq!(fixed[1].tensors, [("x".to_owned(), vec![2, 3], vec![6., 7., 8., 9., 10., 11.])]);
    }

    #[test]
    fn arrays_that_do_not_fit_are_refused_with_both_shapes() {
        let folder = tempfile::tempdir().unwrap();
        let path = npz(folder.path(), "images", &[4, 3]);
        let said = refusal(&path, &[port(&[-1, 5])]);
        assert!(said.contains("shape [4, 3], which does not fit the input \"x\" [?, 5]"), "{said}");
        let said = refusal(&path, &[port(&[3, 3])]);
        assert!(said.contains("shape [4, 3], which does not fit the input \"x\" [3, 3]"), "{said}");
    }

    #[test]
    fn an_input_without_an_array_of_its_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = npz(folder.path(), "images", &[4, 3]);
        let said = refusal(&path, &[port(&[-1, 3]), port(&[-1, 3])]);
        assert!(
            said.contains("no array called \"x\" for that input of the network; it has images"),
            "{said}"
        );
    }

    #[test]
    fn arrays_of_another_type_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), "x", &[1, 3], Order::C, &[1.0_f64; 3]);
        let said = refusal(&path, &[port(&[-1, 3])]);
        assert!(said.contains("of type '<f8', but must be float32"), "{said}");
    }

    #[test]
    fn arrays_in_another_order_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), "x", &[2, 3], Order::Fortran, &[1.0_f32; 6]);
        let said = refusal(&path, &[port(&[-1, 3])]);
        assert!(said.contains("Fortran's order"), "{said}");
    }

    #[test]
    fn a_file_that_is_no_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inputs.npz");
        std::fs::write(&path, b"no archive").unwrap();
        assert!(refusal(&path, &[port(&[-1, 3])]).contains("failed to read"));
    }

    #[test]
    fn an_open_batch_is_tried_alone_and_in_pairs_and_an_open_size_at_two() {
        let cases = Source::Random { seed: 1 }.cases(&[port(&[-1, 3, -1, -1])]).unwrap();
        let shapes: Vec<&[usize]> = cases.iter().map(|case| case.tensors[0].1.as_slice()).collect();
        assert_eq!(cases.len(), 10);
        assert!(shapes.contains(&&[2, 3, 64, 64][..]) && shapes.contains(&&[1, 3, 96, 96][..]));
    }

    #[test]
    fn impulses_are_in_the_corners() {
        let cases = Source::Random { seed: 1 }.cases(&[port(&[1, 1, 2, 3])]).unwrap();
        let corners = cases.iter().find(|case| case.title.contains("corners")).unwrap();
        assert_eq!(corners.tensors[0].2, [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn an_input_that_no_machine_holds_is_refused() {
        let refused = Source::Random { seed: 1 }.cases(&[port(&[1, i64::MAX, 9])]);
        assert!(refused.unwrap_err().to_string().contains("\"x\" [1, 9223372036854775807, 9]"));
    }
}
