//! Typed access to a node's attributes. Knows no operator; [`crate::operator`] says what each attribute means.

use crate::onnx::{AttributeProto, NodeProto};

/// The attributes of one node.
pub(crate) struct Attributes<'a>(&'a NodeProto);

impl<'a> Attributes<'a> {
    pub(crate) fn of(node: &'a NodeProto) -> Self {
        Self(node)
    }

    fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.0.attribute.iter().find(|attribute| attribute.name() == name)
    }

    pub(crate) fn integer(&self, name: &str, default: i64) -> i64 {
        self.find(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> f32 {
        self.find(name).and_then(|attribute| attribute.f).unwrap_or(default)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a [u8]> {
        self.find(name).and_then(|attribute| attribute.s.as_deref())
    }

    pub(crate) fn integers(&self, name: &str) -> Option<&'a [i64]> {
        self.find(name).map(|attribute| attribute.ints.as_slice())
    }
}
