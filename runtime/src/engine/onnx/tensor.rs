//! Values as tensors of ONNX Runtime, and back; and whether a tensor is the one that was described.

use dnnshifter_portfolio::description::{Datatype, TensorDescription};
use ort::{
    session::SessionInputValue,
    value::{DynValue, Outlet, PrimitiveTensorElementType, Tensor, TensorElementType, TensorRef, ValueType},
};

use crate::values::{Part, of_any_type};

/// Some values as ONNX Runtime takes them: numbers without a copy.
pub(super) fn tensor(shape: Vec<i64>, part: Part<'_>) -> ort::Result<SessionInputValue<'_>> {
    let Part { values, range } = part;
    of_any_type!(
        values,
        values => {
            let values = values.get(range).unwrap_or_default();
            TensorRef::from_array_view((shape, values)).map(SessionInputValue::from)
        },
        texts => {
            let texts = texts.get(range).unwrap_or_default();
            Tensor::from_string_array((shape, texts)).map(SessionInputValue::from)
        }
    )
}

/// Appends the values of an output, if it has as many as expected, and says how many it has.
pub(super) fn append<T: PrimitiveTensorElementType + Copy>(
    value: &DynValue,
    expected: usize,
    values: &mut Vec<T>,
) -> ort::Result<usize> {
    let (_, given) = value.try_extract_tensor::<T>()?;
    if given.len() == expected {
        values.extend_from_slice(given);
    }
    Ok(given.len())
}

/// The same for texts.
pub(super) fn append_texts(value: &DynValue, expected: usize, texts: &mut Vec<String>) -> ort::Result<usize> {
    let (_, mut given) = value.try_extract_strings()?;
    let count = given.len();
    if count == expected {
        texts.append(&mut given);
    }
    Ok(count)
}

/// The first dimension of a network's tensor, where it is not free: the items of the only batch that it takes.
pub(super) fn fixed_items(outlet: &Outlet) -> Option<i64> {
    match outlet.dtype() {
        // What is free is -1.
        ValueType::Tensor { shape, .. } => shape.first().copied().filter(|items| *items >= 0),
        ValueType::Sequence(_) | ValueType::Map { .. } | ValueType::Optional(_) => None,
    }
}

/// Whether the network's tensor is the one that was described; its shape shows when it computes.
pub(super) fn is(outlet: &Outlet, described: &TensorDescription) -> bool {
    let expected = element_type(described.datatype);
    let typed = matches!(outlet.dtype(), ValueType::Tensor { ty, .. } if *ty == expected);
    outlet.name() == described.name && typed
}

fn element_type(datatype: Datatype) -> TensorElementType {
    match datatype {
        Datatype::Bool => TensorElementType::Bool,
        Datatype::Uint8 => TensorElementType::Uint8,
        Datatype::Uint16 => TensorElementType::Uint16,
        Datatype::Uint32 => TensorElementType::Uint32,
        Datatype::Uint64 => TensorElementType::Uint64,
        Datatype::Int8 => TensorElementType::Int8,
        Datatype::Int16 => TensorElementType::Int16,
        Datatype::Int32 => TensorElementType::Int32,
        Datatype::Int64 => TensorElementType::Int64,
        Datatype::Fp16 => TensorElementType::Float16,
        Datatype::Bf16 => TensorElementType::Bfloat16,
        Datatype::Fp32 => TensorElementType::Float32,
        Datatype::Fp64 => TensorElementType::Float64,
        Datatype::Bytes => TensorElementType::String,
    }
}
