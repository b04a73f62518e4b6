//! Encoders of values of any type.

use super::transform::apply_as_frame;
use super::typed::Categories;
use super::{Missing, OneHot, Ordinal, Transform, Unknown};
use crate::matrix::Matrix;
use crate::{Cells, ColumnKind, Frame, RowRefusal, Sparse, Value};

/// What becomes of the index of a category.
#[derive(Debug, Clone)]
pub enum Coding {
    OneHot(OneHot),
    Ordinal(Ordinal),
    Target(TargetEncodings),
}

/// TargetEncoder: numbers of each category, and those of an unknown one.
#[derive(Debug, Clone)]
pub struct TargetEncodings {
    /// For each column, for each class (one unless there are several), a number per category.
    pub encodings: Vec<Vec<Vec<f64>>>,
    /// One number per class.
    pub unknown: Vec<f64>,
}

/// An encoder of columns of any type.
#[derive(Debug, Clone)]
pub struct Encoder {
    pub columns: Vec<Categories>,
    pub coding: Coding,
}

impl Encoder {
    fn encode(&self, row: &[Value], out: &mut Vec<f64>) -> Result<(), RowRefusal> {
        for (column, (value, categories)) in row.iter().zip(&self.columns).enumerate() {
            let found = categories.find(value);
            match &self.coding {
                Coding::OneHot(one_hot) => {
                    let category = &one_hot.categories[column];
                    let start = out.len();
                    out.resize(start + category.width, 0.0);
                    let place = match found {
                        Some(i) => category.place[i],
                        None if one_hot.unknown == Unknown::Refuse => return Err(refuse(column, value)),
                        None => category.unknown,
                    };
                    if let Some(place) = place {
                        out[start + place] = 1.0;
                    }
                }
                Coding::Ordinal(ordinal) => out.push(match (found, ordinal.unknown) {
                    (Some(_), _) if value.is_missing() && !categories.none => ordinal.encoded_missing,
                    (Some(i), _) => ordinal.categories[column].place[i].unwrap_or(i) as f64,
                    (None, Unknown::Becomes(code)) => code,
                    (None, Unknown::Refuse) => return Err(refuse(column, value)),
                }),
                Coding::Target(target) => {
                    for (class, numbers) in target.encodings[column].iter().enumerate() {
                        out.push(found.map_or(target.unknown[class], |i| numbers[i]));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Encoder {
    /// The rows of a one-hot encoder as sparse ones.
    fn one_hots(&self, one_hot: &OneHot, cells: &Cells) -> Result<Sparse, RowRefusal> {
        let mut out = Sparse { width: one_hot.width(), ..Sparse::default() };
        for row in cells.iter() {
            let mut start = 0;
            for (column, (value, categories)) in row.iter().zip(&self.columns).enumerate() {
                let category = &one_hot.categories[column];
                let place = match categories.find(value) {
                    Some(i) => category.place[i],
                    None if one_hot.unknown == Unknown::Refuse => return Err(refuse(column, value)),
                    None => category.unknown,
                };
                out.push(place.map(|place| start + place), 1.0);
                start += category.width;
            }
            out.end_row();
        }
        Ok(out)
    }
}

fn refuse(column: usize, value: &Value) -> RowRefusal {
    let shown = match value {
        Value::Missing => "a missing value".to_owned(),
        Value::Text(text) => format!("{:?}", text.chars().take(64).collect::<String>()),
        Value::Integer(v) => v.to_string(),
        Value::Boolean(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
    };
    RowRefusal::at(column, format!("has {shown}, which is not one of the encoder's categories"))
}

impl Transform for Encoder {
    fn width(&self) -> usize {
        match &self.coding {
            Coding::OneHot(one_hot) => one_hot.width(),
            Coding::Ordinal(_) => self.columns.len(),
            Coding::Target(target) => target.encodings.iter().map(Vec::len).sum(),
        }
    }

    fn name(&self) -> String {
        match &self.coding {
            Coding::OneHot(one_hot) => format!("OneHot({} columns)", one_hot.width()),
            Coding::Ordinal(_) => "Ordinal".to_owned(),
            Coding::Target(_) => format!("Target({} columns)", self.width()),
        }
    }

    fn missing(&self) -> Missing {
        Missing::Gone
    }

    fn missing_columns(&self, width: usize, later: &[bool]) -> Vec<bool> {
        match &self.coding {
            Coding::OneHot(one_hot) => one_hot.missing_columns(),
            Coding::Ordinal(ordinal) => {
                // Python's None is a category with a code
                let none = self.columns.iter().map(|c| c.missing.is_some() && c.none);
                ordinal.missing_columns(later).into_iter().zip(none).map(|(may_be, none)| may_be || none).collect()
            }
            Coding::Target(_) => vec![true; width],
        }
    }

    fn sample(&self) -> Vec<Option<Value>> {
        self.columns.iter().map(Categories::first).collect()
    }

    fn source(&self, column: usize) -> Option<usize> {
        matches!(self.coding, Coding::Ordinal(_)).then_some(column)
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        apply_as_frame(self, m)
    }

    fn apply_frame(&self, frame: Frame) -> Result<Frame, RowRefusal> {
        let cells = frame.into_cells()?;
        if let Coding::OneHot(one_hot) = &self.coding
            && one_hot.gives_sparse()
        {
            return self.one_hots(one_hot, &cells).map(Frame::Sparse);
        }
        let width = self.width();
        let mut data = Vec::with_capacity(cells.data.len() / cells.width.max(1) * width);
        cells.iter().try_for_each(|row| self.encode(row, &mut data))?;
        Ok(Frame::Numbers(Matrix { width, data }))
    }

    fn takes(&self) -> Option<Vec<ColumnKind>> {
        Some(self.columns.iter().map(Categories::kind).collect())
    }

    fn knows_missing(&self) -> Vec<bool> {
        self.columns.iter().map(|c| c.missing.is_some()).collect()
    }

    fn gives_sparse(&self) -> bool {
        matches!(&self.coding, Coding::OneHot(one_hot) if one_hot.gives_sparse())
    }

    fn sparse_after(&self, _sparse: bool) -> bool {
        matches!(&self.coding, Coding::OneHot(one_hot) if one_hot.sparse)
    }
}
