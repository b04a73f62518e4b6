//! Different steps for different columns, side by side: ColumnTransformer.

use super::form::{RowForm, apply_frame, ends_sparse};
use super::{Step, apply_all, missing_columns, source, takes};
use crate::matrix::Matrix;
use crate::{ColumnKind, Frame, RowRefusal};

/// Some columns and the steps that transform them.
#[derive(Debug, Clone)]
pub struct Part {
    pub columns: Vec<usize>,
    pub steps: Vec<Step>,
    /// Number of output values of this part.
    pub width: usize,
    /// What its output is multiplied by.
    pub weight: Option<f64>,
}

/// Parts whose results are concatenated in order. Columns in no part are dropped.
#[derive(Debug, Clone)]
pub struct Columns {
    pub parts: Vec<Part>,
    /// Whether it was fitted to give sparse rows; `None` if it does so where one of its parts does (FeatureUnion).
    pub sparse: Option<bool>,
}

impl Part {
    /// The refusal of a row of this part's columns, as one of the whole row.
    fn traced(&self, refusal: RowRefusal) -> RowRefusal {
        refusal.traced(|column| self.columns.get(column).copied())
    }
}

impl Columns {
    /// Whether its parts select their columns, as a ColumnTransformer's do by their names; those of a FeatureUnion take
    /// all there are.
    pub fn selects(&self, width: usize) -> bool {
        self.sparse.is_some() || self.parts.iter().any(|part| !part.columns.iter().copied().eq(0..width))
    }

    /// The parts with their columns taken from other places; `None` for one that has no place.
    pub fn from_places(&self, places: &[Option<usize>]) -> Result<Self, usize> {
        let mut columns = self.clone();
        for column in columns.parts.iter_mut().flat_map(|part| &mut part.columns) {
            *column = places.get(*column).copied().flatten().ok_or(*column)?;
        }
        Ok(columns)
    }

    /// As [`super::Transform::source`].
    pub(super) fn source(&self, column: usize) -> Option<usize> {
        let mut start = 0;
        for part in &self.parts {
            if column < start + part.width {
                let own = source(&part.steps, column - start)?;
                return part.columns.get(own).copied();
            }
            start += part.width;
        }
        None
    }

    /// As [`super::Transform::is_partial`].
    pub(super) fn is_partial(&self) -> bool {
        self.parts.iter().any(|part| part.steps.iter().any(Step::is_partial))
    }

    pub(super) fn width(&self) -> usize {
        self.parts.iter().map(|p| p.width).sum()
    }

    /// A column may be missing where every part that takes it lets it be.
    pub(super) fn missing_columns(&self, width: usize, later: &[bool]) -> Vec<bool> {
        let mut missing = vec![true; width];
        let mut start = 0;
        for part in &self.parts {
            let after = &later[start..start + part.width];
            start += part.width;
            let may_be = missing_columns(&part.steps, part.columns.len(), after);
            part.columns.iter().zip(may_be).for_each(|(column, may_be)| missing[*column] &= may_be);
        }
        missing
    }

    pub(super) fn name(&self) -> String {
        let part = |p: &Part| p.steps.iter().map(Step::name).collect::<Vec<_>>().join("+");
        format!("Columns({})", self.parts.iter().map(part).collect::<Vec<_>>().join(", "))
    }

    pub(super) fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        let (rows, width) = (m.rows(), self.width());
        let mut out = Matrix { width, data: vec![0.0; rows * width] };
        let mut start = 0;
        for part in &self.parts {
            let mut taken = m.clone();
            taken.rebuild(part.columns.len(), |row, out| out.extend(part.columns.iter().map(|c| row[*c])));
            apply_all(&part.steps, &mut taken).map_err(|refusal| part.traced(refusal))?;
            for (to, from) in out.iter_mut().zip(taken.iter()) {
                to[start..start + part.width].copy_from_slice(from);
                if let Some(weight) = part.weight {
                    to[start..start + part.width].iter_mut().for_each(|x| *x *= weight);
                }
            }
            start += part.width;
        }
        *m = out;
        Ok(())
    }

    /// As [`Columns::apply`], for rows in any form.
    pub(super) fn apply_frame(&self, frame: &Frame, form: RowForm) -> Result<Frame, RowRefusal> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let done = apply_frame(&part.steps, frame.select(&part.columns), form);
            let mut done = done.map_err(|refusal| part.traced(refusal))?;
            if let Some(weight) = part.weight {
                match &mut done {
                    Frame::Sparse(sparse) => sparse.values.iter_mut().for_each(|v| *v *= weight),
                    other => {
                        let mut m = std::mem::replace(other, Frame::Numbers(Matrix::default())).into_numbers()?;
                        m.data.iter_mut().for_each(|v| *v *= weight);
                        *other = Frame::Numbers(m);
                    }
                }
            }
            parts.push(done);
        }
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => Frame::beside(parts),
        }
    }

    /// Whether it gave sparse rows when it was fitted on rows that were sparse or not.
    pub(super) fn is_sparse(&self, sparse: bool) -> bool {
        self.sparse.unwrap_or_else(|| self.parts.iter().any(|part| ends_sparse(&part.steps, sparse)))
    }

    /// What the values of the `width` input columns are, where the steps that follow take `then`; those that several
    /// parts take have the first kind but float.
    pub(super) fn takes(&self, width: usize, then: Option<Vec<ColumnKind>>) -> Option<Vec<ColumnKind>> {
        let mut kinds = vec![ColumnKind::Float; width];
        let (mut typed, mut start) = (false, 0);
        for part in &self.parts {
            let after = then.as_ref().and_then(|then| then.get(start..start + part.width)).map(<[_]>::to_vec);
            start += part.width;
            let taken = takes(&part.steps, part.columns.len(), after).unwrap_or_default();
            for (column, kind) in part.columns.iter().zip(taken) {
                typed |= kind != ColumnKind::Float;
                if kinds[*column] == ColumnKind::Float {
                    kinds[*column] = kind;
                }
            }
        }
        typed.then_some(kinds)
    }

    pub(super) fn gives_sparse(&self) -> bool {
        self.parts.iter().any(|p| p.steps.last().is_some_and(Step::gives_sparse))
    }

    /// Whether each of the `width` input columns is used, where the steps that follow use their own as in `later`.
    pub(super) fn reads(&self, width: usize, later: &[bool]) -> Vec<bool> {
        let mut reads = vec![false; width];
        let mut start = 0;
        for part in &self.parts {
            for (at, column) in part.columns.iter().enumerate() {
                reads[*column] |= !part.steps.is_empty() || later.get(start + at).is_none_or(|read| *read);
            }
            start += part.width;
        }
        reads
    }
}

/// The steps before the first that does not select columns, each with the width of its input, the width after them, and
/// the steps from there on.
pub(super) fn leading_columns(steps: &[Step], mut width: usize) -> (Vec<(&Columns, usize)>, usize, &[Step]) {
    let columns = steps.iter().map_while(|step| match step {
        Step::Columns(columns) => Some((columns, std::mem::replace(&mut width, columns.width()))),
        _ => None,
    });
    let leading: Vec<_> = columns.collect();
    let later = &steps[leading.len()..];
    (leading, width, later)
}
