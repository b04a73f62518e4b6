//! Arrays of records, by field: how scikit-learn stores the nodes of trees.

use super::View;
use super::array::Array;
use super::graph::Node;
use crate::Fault;

/// An array of records, whose fields are read one at a time.
#[derive(Debug)]
pub struct Records<'v, 'g> {
    view: &'v View<'g>,
    array: &'g Array,
}

impl<'g> View<'g> {
    /// The records of an array.
    ///
    /// # Errors
    /// A [`Fault`] for something else than an array.
    pub fn records(&self) -> Result<Records<'_, 'g>, Fault> {
        match self.node() {
            Node::Array(array) => Ok(Records { view: self, array }),
            _ => Err(self.fault(format!("is {}, not an array", self.kind()))),
        }
    }
}

impl Records<'_, '_> {
    /// A field of every record, as integers.
    ///
    /// # Errors
    /// A [`Fault`] when the records have no such field, or one of another type.
    pub fn integers(&self, name: &str) -> Result<Vec<i64>, Fault> {
        self.account()?;
        self.required(name, self.array.field_integers(name))
    }

    /// A field of every record, as numbers.
    ///
    /// # Errors
    /// As [`Records::integers`].
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>, Fault> {
        self.account()?;
        self.required(name, self.array.field_numbers(name))
    }

    /// As [`Records::integers`], empty when the records have no such field.
    ///
    /// # Errors
    /// A [`Fault`] when the field has another type.
    pub fn integers_if_any(&self, name: &str) -> Result<Vec<i64>, Fault> {
        self.account()?;
        Ok(self.array.field_integers(name).map_err(|e| self.view.fault(e))?.unwrap_or_default())
    }

    /// Accounts for one field of all records.
    fn account(&self) -> Result<(), Fault> {
        self.view.spend(self.array.len())?;
        self.view.allocate(self.array.len().saturating_mul(size_of::<f64>()))
    }

    fn required<T>(&self, name: &str, found: Result<Option<Vec<T>>, String>) -> Result<Vec<T>, Fault> {
        found.map_err(|e| self.view.fault(e))?.ok_or_else(|| self.view.fault(format!("has no field {name}")))
    }
}
