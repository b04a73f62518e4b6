//! Typed values of an artefact: categories and fill values, which may be text, numbers, booleans or missing.

use std::sync::Arc;

use super::View;
use super::graph::Node;
use crate::{Fault, Label, Value};

impl View<'_> {
    /// The values of an array or list; Python's `None`, NaN and pandas' `NA` are missing.
    ///
    /// # Errors
    /// A [`Fault`] for a value of another type, such as a date.
    pub fn values(&self) -> Result<Vec<Value>, Fault> {
        match self.node() {
            Node::Array(_) => Ok(self.labels()?.into_iter().map(of_label).collect()),
            _ => self.each_item(size_of::<Value>(), Self::value),
        }
    }

    /// One value.
    ///
    /// # Errors
    /// As [`View::values`].
    pub fn value(&self) -> Result<Value, Fault> {
        Ok(match self.node() {
            Node::None => Value::Missing,
            Node::Bool(b) => Value::Boolean(*b),
            Node::Int(i) => Value::Integer(*i),
            Node::Float(f) => Value::from(*f),
            Node::Str(text) => Value::Text(Arc::clone(text)),
            Node::Array(one) if one.len() == 1 => of_label(self.element(one)?),
            _ if self.class().starts_with("pandas._libs.missing.") => Value::Missing,
            _ => return Err(self.fault(format!("{} is not a category", self.kind()))),
        })
    }
}

fn of_label(label: Label) -> Value {
    match label {
        Label::Integer(i) => Value::Integer(i),
        Label::Boolean(b) => Value::Boolean(b),
        Label::Float(f) => Value::from(f),
        Label::Text(text) => Value::Text(text),
    }
}
