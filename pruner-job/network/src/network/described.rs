//! What a model says of its input or output: float32, a batch dimension, fixed sizes.

use super::{InvalidModel, TensorInfo};
use crate::onnx::{
    ValueInfoProto,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

/// Values that one input or output may have: a 4096 x 4096 image in 4 channels, and no more memory than that.
pub(super) const MOST_VALUES: usize = 1 << 26;

pub(super) fn described(value: &ValueInfoProto) -> Result<TensorInfo, InvalidModel> {
    let refused = || InvalidModel::Shape { name: value.name().to_owned() };
    let kind = value.r#type.as_ref().and_then(|kind| kind.value.as_ref()).ok_or_else(refused)?;
    let type_proto::Value::TensorType(tensor) = kind else { return Err(refused()) };
    if tensor.elem_type() != DataType::Float as i32 {
        let found = DataType::try_from(tensor.elem_type());
        let found =
            found.map_or_else(|_| tensor.elem_type().to_string(), |kind| kind.as_str_name().to_owned());
        return Err(InvalidModel::ElementType { name: value.name().to_owned(), found });
    }
    let dimensions = tensor.shape.as_ref().map(|shape| shape.dim.as_slice()).unwrap_or_default();
    let size = |dimension: &Dimension| match dimension.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok().filter(|&size| size > 0),
        Some(dimension::Value::DimParam(_)) | None => None,
    };
    let shape: Option<Vec<usize>> = dimensions.iter().skip(1).map(size).collect();
    let count = |shape: &[usize]| shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
    let fits =
        |shape: &Vec<usize>| !shape.is_empty() && count(shape).is_some_and(|count| count <= MOST_VALUES);
    let shape = shape.filter(fits).ok_or_else(refused)?;
    Ok(TensorInfo { name: value.name().to_owned(), shape })
}
