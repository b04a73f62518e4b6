//! The labels of classes, which keep the type that they have in Python.

use super::graph::Node;
use super::view::View;
use crate::{Fault, Label};

impl View<'_> {
    /// The labels of classes in an array or list, which keep their type.
    pub fn labels(&self) -> Result<Vec<Label>, Fault> {
        match self.node() {
            Node::Array(_) => self.array()?.labels().map_err(|e| self.fault(e)),
            _ => self.items()?.iter().map(Self::class_label).collect(),
        }
    }

    fn class_label(&self) -> Result<Label, Fault> {
        Ok(match self.node() {
            Node::Bool(value) => Label::Boolean(*value),
            Node::Int(value) => Label::Integer(*value),
            Node::Float(value) => Label::Float(*value),
            Node::Array(one) if one.len() == 1 => {
                one.labels().map_err(|e| self.fault(e))?.pop().ok_or_else(|| self.fault("is empty"))?
            }
            _ => Label::from(self.label()?.as_str()),
        })
    }
}
