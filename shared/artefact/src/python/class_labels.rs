//! The labels of classes, which keep the type that they have in Python.

use std::sync::Arc;

use super::graph::Node;
use super::view::View;
use crate::{Fault, Label};

impl View<'_> {
    /// The labels of classes in an array or list, which keep their type.
    pub fn labels(&self) -> Result<Vec<Label>, Fault> {
        if let Node::Array(array) = self.node() {
            self.allocate(array.label_bytes())?;
            return self.array()?.labels().map_err(|e| self.fault(e));
        }
        self.each_item(size_of::<Label>(), Self::class_label)
    }

    fn class_label(&self) -> Result<Label, Fault> {
        Ok(match self.node() {
            Node::Bool(value) => Label::Boolean(*value),
            Node::Int(value) => Label::Integer(*value),
            Node::Float(value) => Label::Float(*value),
            Node::Str(text) => Label::Text(Arc::clone(text)),
            Node::Array(one) if one.len() == 1 => self.element(one)?,
            _ => return Err(self.fault(format!("is {}, not a label", self.kind()))),
        })
    }
}
