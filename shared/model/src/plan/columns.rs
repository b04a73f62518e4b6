//! The columns of a plan: how rows find them, and what their values are rounded to.

use std::collections::HashMap;

use forebay_artefact::{Frame, RowRefusal};

use super::Plan;
use crate::head::Head;
use crate::step::{self, Part, Step, takes};
use crate::{Column, ColumnKind, ModelError, TypedRows, Value};

/// The columns of a plan: their names, or their number for a member of an ensemble, which needs none.
pub(crate) enum Columns {
    Named(Vec<String>),
    Unnamed(usize),
}

impl Columns {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Named(names) => names.len(),
            Self::Unnamed(width) => *width,
        }
    }
}

impl From<Vec<String>> for Columns {
    fn from(names: Vec<String>) -> Self {
        Self::Named(names)
    }
}

impl Plan {
    /// Replaces the feature names by those of the model's description, which must be as many.
    pub(crate) fn rename_features(&mut self, features: Vec<String>) {
        debug_assert_eq!(features.len(), self.width);
        self.columns.iter_mut().zip(&features).for_each(|(column, name)| column.name.clone_from(name));
        self.signature.features = features;
    }

    /// Rounds the values of columns to 32 bits: one flag a column, or no flags.
    pub(crate) fn with_singles(mut self, singles: Vec<bool>) -> Self {
        self.singles = singles;
        self
    }

    /// Whether the model takes its columns by their places alone.
    pub(crate) fn ignores_names(&self) -> bool {
        self.steps.is_empty() && matches!(&self.head, Head::Booster(booster) if booster.ignores_names())
    }

    /// Whether the model takes its columns by their names, wherever they stand and whatever stands beside them.
    pub(crate) fn selects_by_name(&self) -> bool {
        match self.steps.first() {
            Some(Step::Columns(columns)) => columns.selects(self.width),
            Some(_) => false,
            None => self.head.selects_by_name(),
        }
    }

    /// Takes rows with these columns, in which the model's own are found by their names.
    ///
    /// # Errors
    /// The name of a column that the model reads and that is not there.
    pub(crate) fn take_columns(&mut self, features: Vec<String>) -> Result<(), String> {
        let places: HashMap<&str, usize> = features.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let own = &self.signature.features;
        let places: Vec<Option<usize>> = own.iter().map(|name| places.get(name.as_str()).copied()).collect();
        let absent = |column: usize| own[column].clone();
        if self.selects_by_name()
            && let Some(Step::Columns(columns)) = self.steps.first()
        {
            self.steps[0] = Step::Columns(columns.from_places(&places).map_err(absent)?);
        } else {
            let taken = places.iter().enumerate().map(|(column, place)| place.ok_or_else(|| absent(column)));
            let columns: Vec<usize> = taken.collect::<Result<_, _>>()?;
            let part = Part { width: columns.len(), columns, steps: Vec::new(), weight: None };
            self.steps.insert(0, Step::Columns(step::Columns { parts: vec![part], sparse: None }));
        }
        self.width = features.len();
        self.signature.features = features;
        let (kinds, read) = (takes(&self.steps, self.width, self.head.takes()), self.reads());
        self.columns = kinds.map_or_else(Vec::new, |kinds| self.typed_columns(&kinds, &read));
        Ok(())
    }

    /// Rounds numbers, the first of which is in the first column, as the columns say.
    pub(super) fn round<'v>(&self, numbers: impl Iterator<Item = Option<&'v mut f64>>) -> Result<(), ModelError> {
        for (at, number) in numbers.enumerate() {
            let column = at % self.singles.len();
            let Some(number) = number.filter(|_| self.singles[column]) else { continue };
            let single = f64::from(*number as f32);
            if single.is_infinite() && number.is_finite() {
                let reason = format!("has {number}, which is too large for 32 bits");
                return Err(ModelError::Row(RowRefusal::at(column, reason)));
            }
            *number = single;
        }
        Ok(())
    }

    pub(super) fn frame(&self, rows: TypedRows<'_>) -> Result<Frame, ModelError> {
        let mut frame = Frame::from(rows);
        if !self.singles.is_empty()
            && let Frame::Values(cells) = &mut frame
        {
            self.round(cells.data.iter_mut().map(|value| match value {
                Value::Float(number) => Some(number),
                _ => None,
            }))?;
        }
        Ok(frame)
    }

    /// The columns of a model that takes typed values. A column that no step reads need not be given, and neither need one
    /// that may be missing where others may not.
    pub(super) fn typed_columns(&self, kinds: &[ColumnKind], read: &[bool]) -> Vec<Column> {
        let missing = self.missing_columns();
        let all = missing.iter().all(|may_be| *may_be);
        let column = |(i, kind): (usize, &ColumnKind)| Column {
            name: self.signature.features.get(i).cloned().unwrap_or_default(),
            kind: *kind,
            optional: !read[i] || (missing[i] && !all),
        };
        kinds.iter().enumerate().map(column).collect()
    }
}
