//! The classes of what is wrong with a network: its file, its operators, its tensors. What goes wrong in work on a network is
//! the parent's; nothing is read, run or worded here.

use std::io;

use dnnshifter_network::{
    graph::UnsupportedNodes, network::InvalidModel, operator::Unsupported, tensor::InvalidTensor,
};

use super::Class;
use crate::external::{ExternalError, UnreadableModel};

pub(super) fn unreadable_class(error: &UnreadableModel) -> Class {
    match error {
        UnreadableModel::Model(error) => model_class(error),
        UnreadableModel::External(ExternalError::Read { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Class::NoInput
        }
        UnreadableModel::External(
            ExternalError::Read { .. } | ExternalError::Outside { .. } | ExternalError::Entry { .. },
        ) => Class::Data,
    }
}

pub(super) fn model_class(error: &InvalidModel) -> Class {
    match error {
        InvalidModel::Decode(_)
        | InvalidModel::NoGraph
        | InvalidModel::Undefined { .. }
        | InvalidModel::Rewritten { .. } => Class::Data,
        InvalidModel::Opset { .. } => Class::Unsupported,
        InvalidModel::NotFinite { .. } => Class::NotFinite,
        InvalidModel::ElementType { .. } => Class::Precision,
        InvalidModel::Shape { .. } => Class::OpenSizes,
        InvalidModel::Ends { .. } => Class::NotAClassifier,
        InvalidModel::Tensor(error) => tensor_class(error),
    }
}

pub(super) fn tensor_class(error: &InvalidTensor) -> Class {
    match error {
        InvalidTensor::ElementType { .. } => Class::Precision,
        InvalidTensor::External { .. } => Class::Unsupported,
        InvalidTensor::Length { .. } | InvalidTensor::Index { .. } => Class::Data,
    }
}

/// The class of the first node that is not understood: the message begins with it.
pub(super) fn nodes_class(error: &UnsupportedNodes) -> Class {
    match error.nodes.first() {
        Some((_, Unsupported::Quantised { .. })) => Class::Precision,
        Some((_, Unsupported::Tensor(error))) => tensor_class(error),
        Some((
            _,
            Unsupported::Operator { .. } | Unsupported::Form { .. } | Unsupported::ControlFlow { .. },
        ))
        | None => Class::Unsupported,
    }
}
