//! Weights as dense f32 tensors, to and from the ways in which ONNX stores them. Knows nothing of graphs.

use std::{collections::BTreeMap, iter, ops::Range};

use bytes::Bytes;

use crate::onnx::{
    TensorProto,
    tensor_proto::{DataLocation, DataType},
};

/// A dense tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatTensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// Why a tensor cannot be read or made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTensor {
    /// Not of the type that its use asks for.
    #[error(
        "tensor \"{name}\" has element type {found}, but {wanted} is needed here; export the model in plain float32"
    )]
    ElementType {
        /// The tensor's name.
        name: String,
        /// Its ONNX element type.
        found: String,
        /// What is needed.
        wanted: &'static str,
    },
    /// Data in another file.
    #[error(
        "tensor \"{name}\" keeps its data in another file; save the model as one file (onnx.save_model(..., save_as_external_data=False))"
    )]
    External {
        /// The tensor's name.
        name: String,
    },
    /// Shape and data differ.
    #[error(
        "tensor \"{name}\" says that it has shape {shape:?}, but holds {found} values; export the model again"
    )]
    Length {
        /// The tensor's name.
        name: String,
        /// The shape that it states.
        shape: Vec<i64>,
        /// The number of values found.
        found: usize,
    },
    /// An index outside of an axis.
    #[error("axis {axis} of a tensor of shape {shape:?} has no index {index}")]
    Index {
        /// The axis.
        axis: usize,
        /// The tensor's shape.
        shape: Vec<usize>,
        /// The index that was asked for.
        index: usize,
    },
}

impl FloatTensor {
    /// A tensor of `shape` with `values` in row-major order.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Result<Self, InvalidTensor> {
        if element_count(&shape) == Some(values.len()) {
            Ok(Self { shape, values })
        } else {
            let shape = shape.iter().map(|&size| size as i64).collect();
            Err(InvalidTensor::Length { name: String::new(), shape, found: values.len() })
        }
    }

    /// A vector whose `length` values are all `value`.
    pub fn filled(length: usize, value: f32) -> Self {
        Self { shape: vec![length], values: vec![value; length] }
    }

    /// Sizes of the axes, the outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Values in row-major order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The tensor less `numbers`, value by value, as far as they reach.
    pub(crate) fn less(mut self, numbers: &[f64]) -> Self {
        for (value, number) in self.values.iter_mut().zip(numbers) {
            *value = (f64::from(*value) - number) as f32;
        }
        self
    }

    /// Reads a float32 initialiser.
    pub fn from_proto(proto: &TensorProto) -> Result<Self, InvalidTensor> {
        let shape = float_shape(proto)?;
        let values = match &proto.raw_data {
            Some(raw) => raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            None => proto.float_data.clone(),
        };
        Ok(Self { shape, values })
    }

    /// Writes the tensor as an initialiser called `name`.
    pub fn to_proto(&self, name: &str) -> TensorProto {
        TensorProto {
            name: Some(name.to_owned()),
            dims: self.shape.iter().map(|&size| size as i64).collect(),
            data_type: Some(DataType::Float as i32),
            raw_data: Some(little_endian(&self.values).into()),
            ..TensorProto::default()
        }
    }
}

/// A float32 initialiser with only some entries of some axes, each axis with the indices of those, in their order.
pub(crate) fn select(
    proto: &TensorProto,
    axes: &BTreeMap<usize, Vec<usize>>,
) -> Result<TensorProto, InvalidTensor> {
    let mut shape = float_shape(proto)?;
    let depth = axes.keys().last().map_or(0, |axis| axis + 1);
    for (&axis, indices) in axes {
        let missing = |index| InvalidTensor::Index { axis, shape: shape.clone(), index };
        let size = *shape.get(axis).ok_or_else(|| missing(0))?;
        if let Some(&index) = indices.iter().find(|index| **index >= size) {
            return Err(missing(index));
        }
    }
    let runs_of = |(axis, &size)| {
        let runs = axes.get(&axis).map_or_else(|| iter::once(0..size).collect(), |indices| runs(indices));
        (size, runs)
    };
    let outer: Vec<_> = shape.iter().take(depth).enumerate().map(runs_of).collect();
    for (axis, size) in shape.iter_mut().enumerate() {
        *size = axes.get(&axis).map_or(*size, Vec::len);
    }
    let raw = proto.raw_data.clone().unwrap_or_else(|| little_endian(&proto.float_data).into());
    let mut selected = Vec::with_capacity(4 * shape.iter().product::<usize>());
    copy_entries(&raw, &outer, &mut selected);
    Ok(TensorProto {
        name: proto.name.clone(),
        dims: shape.into_iter().map(|size| size as i64).collect(),
        data_type: proto.data_type,
        raw_data: Some(selected.into()),
        ..TensorProto::default()
    })
}

/// Indices as consecutive runs.
fn runs(indices: &[usize]) -> Vec<Range<usize>> {
    let follows = |one: &usize, next: &usize| one + 1 == *next;
    let run = |run: &[usize]| Some(*run.first()?..run.last()? + 1);
    indices.chunk_by(follows).filter_map(run).collect()
}

/// Copies what the `axes` keep of an array: each has a size, and runs of entries that stay.
fn copy_entries(from: &[u8], axes: &[(usize, Vec<Range<usize>>)], to: &mut Vec<u8>) {
    let Some(((size, runs), inner)) = axes.split_first() else { return to.extend_from_slice(from) };
    let entry = from.len() / size.max(&1);
    let entries = |run: &Range<usize>| from.get(run.start * entry..run.end * entry).unwrap_or_default();
    for run in runs {
        if inner.is_empty() {
            to.extend_from_slice(entries(run));
        } else {
            entries(run).chunks_exact(entry.max(1)).for_each(|entry| copy_entries(entry, inner, to));
        }
    }
}

pub(crate) fn little_endian(values: &[f32]) -> Vec<u8> {
    let mut raw = vec![0; 4 * values.len()];
    for (bytes, value) in raw.as_chunks_mut().0.iter_mut().zip(values) {
        *bytes = value.to_le_bytes();
    }
    raw
}

/// The shape of a float32 initialiser, as it states it.
pub(crate) fn float_shape(proto: &TensorProto) -> Result<Vec<usize>, InvalidTensor> {
    expect_type(proto, DataType::Float, "float32")?;
    // The rest of bytes that are no number is one more value, which no shape expects.
    let found = proto.raw_data.as_ref().map_or(proto.float_data.len(), |raw| raw.len().div_ceil(4));
    checked_shape(proto, found)
}

/// Reads an int64 initialiser, such as the shape of a `Reshape`.
pub fn integers_from_proto(proto: &TensorProto) -> Result<Vec<i64>, InvalidTensor> {
    expect_type(proto, DataType::Int64, "int64")?;
    let values: Vec<i64> = match &proto.raw_data {
        Some(raw) => raw.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
        None => proto.int64_data.clone(),
    };
    checked_shape(proto, values.len())?;
    Ok(values)
}

/// Writes a vector of int64 as an initialiser called `name`.
pub fn integers_to_proto(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: vec![values.len() as i64],
        data_type: Some(DataType::Int64 as i32),
        raw_data: Some(Bytes::from(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())),
        ..TensorProto::default()
    }
}

fn expect_type(proto: &TensorProto, wanted: DataType, word: &'static str) -> Result<(), InvalidTensor> {
    let name = proto.name().to_owned();
    if proto.data_location() == DataLocation::External {
        return Err(InvalidTensor::External { name });
    }
    match DataType::try_from(proto.data_type()) {
        Ok(found) if found == wanted => Ok(()),
        Ok(found) => {
            Err(InvalidTensor::ElementType { name, found: found.as_str_name().to_owned(), wanted: word })
        }
        Err(_) => {
            Err(InvalidTensor::ElementType { name, found: proto.data_type().to_string(), wanted: word })
        }
    }
}

fn checked_shape(proto: &TensorProto, found: usize) -> Result<Vec<usize>, InvalidTensor> {
    let shape: Option<Vec<usize>> = proto.dims.iter().map(|&size| usize::try_from(size).ok()).collect();
    shape.filter(|shape| element_count(shape) == Some(found)).ok_or_else(|| InvalidTensor::Length {
        name: proto.name().to_owned(),
        shape: proto.dims.clone(),
        found,
    })
}

fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(shape: &[usize]) -> FloatTensor {
        let count = shape.iter().product::<usize>();
        FloatTensor::new(shape.to_vec(), (0..count).map(|i| i as f32).collect()).unwrap()
    }

    #[test]
    fn a_tensor_survives_a_round_trip() {
        let tensor = counted(&[2, 3]);
        assert_eq!(FloatTensor::from_proto(&tensor.to_proto("w")).unwrap(), tensor);
        assert_eq!(integers_from_proto(&integers_to_proto("s", &[0, -1])).unwrap(), [0, -1]);
    }

    #[test]
    fn selection_takes_entries_of_several_axes_from_either_form() {
        let tensor = counted(&[2, 3, 2]);
        let raw = tensor.to_proto("w");
        let listed = TensorProto { raw_data: None, float_data: tensor.values().to_vec(), ..raw.clone() };
        for (axes, shape, values) in [
            (vec![(1, vec![2, 0])], [2, 2, 2], vec![4., 5., 0., 1., 10., 11., 6., 7.]),
            (vec![(0, vec![1]), (2, vec![0])], [1, 3, 1], vec![6., 8., 10.]),
            (vec![], [2, 3, 2], tensor.values().to_vec()),
        ] {
            for proto in [&raw, &listed] {
                let chosen = select(proto, &axes.iter().cloned().collect()).unwrap();
                let expected = FloatTensor::new(shape.to_vec(), values.clone()).unwrap();
                assert_eq!((chosen.name(), FloatTensor::from_proto(&chosen).unwrap()), ("w", expected));
            }
        }
    }

    #[test]
    fn what_an_axis_does_not_have_is_refused() {
        let raw = counted(&[2, 3, 2]).to_proto("w");
        for (axis, index) in [(1, 3), (3, 0)] {
            assert!(matches!(
                select(&raw, &BTreeMap::from([(axis, vec![index])])),
                Err(InvalidTensor::Index { .. })
            ));
        }
    }

    #[test]
    fn tensors_that_do_not_hold_what_they_say_are_refused() {
        let mut proto = counted(&[2, 3]).to_proto("w");
        proto.dims = vec![2, 4];
        assert!(
            FloatTensor::from_proto(&proto)
                .unwrap_err()
                .to_string()
                .contains("holds 6 values; export the model again")
        );
        proto.dims = vec![2, 3];
        proto.raw_data = Some(vec![0; 27].into());
        assert!(FloatTensor::from_proto(&proto).is_err() && select(&proto, &BTreeMap::new()).is_err());
        proto.dims = vec![-2, -3];
        assert!(FloatTensor::from_proto(&proto).is_err());
        proto.dims = vec![i64::MAX, i64::MAX];
        assert!(FloatTensor::from_proto(&proto).is_err());
        proto.data_type = Some(DataType::Float16 as i32);
        assert!(FloatTensor::from_proto(&proto).unwrap_err().to_string().contains("FLOAT16"));
    }
}
