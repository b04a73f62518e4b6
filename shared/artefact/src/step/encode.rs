//! Encoders of categories with numeric input: OneHotEncoder, OrdinalEncoder.

use super::Missing;
use crate::RowRefusal;
use crate::matrix::Matrix;

/// What to do with a value that is not one of the categories.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unknown {
    Refuse,
    /// All zeros (one-hot), or this value (ordinal).
    Becomes(f64),
}

/// The categories of one column; NaN is included if missing values are a category.
#[derive(Debug, Clone)]
pub struct Category {
    pub values: Vec<f64>,
    /// Output column of each category, relative to the first of this input column; `None` for the dropped category.
    /// Infrequent categories share one.
    pub place: Vec<Option<usize>>,
    /// Output column of an unknown value, if it counts as infrequent.
    pub unknown: Option<usize>,
    /// Number of output columns of this input column.
    pub width: usize,
}

impl Category {
    fn find(&self, v: f64) -> Option<usize> {
        self.values.iter().position(|c| *c == v || (c.is_nan() && v.is_nan()))
    }

    fn knows_missing(&self) -> bool {
        self.values.iter().any(|c| c.is_nan())
    }
}

/// How missing values are treated: as a category if every column has it, otherwise rejected or unknown.
fn missing(categories: &[Category], unknown: Unknown) -> Missing {
    let known = categories.iter().all(Category::knows_missing) || unknown != Unknown::Refuse;
    if known { Missing::Gone } else { Missing::Refused }
}

fn refuse(column: usize, value: f64) -> RowRefusal {
    RowRefusal::at(column, format!("has {value}, which is not one of the encoder's categories"))
}

/// One 0/1 column per category.
#[derive(Debug, Clone)]
pub struct OneHot {
    pub categories: Vec<Category>,
    pub unknown: Unknown,
}

impl OneHot {
    pub(super) fn width(&self) -> usize {
        self.categories.iter().map(|c| c.width).sum()
    }

    pub(super) fn missing_values(&self) -> Missing {
        missing(&self.categories, self.unknown)
    }

    pub(super) fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        let mut refused = None;
        m.rebuild(self.width(), |row, out| {
            for (column, (v, category)) in row.iter().zip(&self.categories).enumerate() {
                let start = out.len();
                out.resize(start + category.width, 0.0);
                let place = match category.find(*v) {
                    Some(i) => category.place[i],
                    None => {
                        if self.unknown == Unknown::Refuse {
                            refused = Some(refuse(column, *v));
                        }
                        category.unknown
                    }
                };
                if let Some(place) = place {
                    out[start + place] = 1.0;
                }
            }
        });
        refused.map_or(Ok(()), Err)
    }
}

/// The index of the category, or of the group of infrequent ones.
#[derive(Debug, Clone)]
pub struct Ordinal {
    pub categories: Vec<Category>,
    pub unknown: Unknown,
    /// The code of a missing value that is a category, if it is not its index.
    pub encoded_missing: f64,
}

impl Ordinal {
    /// A missing value that is a category stays NaN unless it has a code.
    pub(super) fn missing_values(&self) -> Missing {
        match missing(&self.categories, self.unknown) {
            Missing::Gone if self.encoded_missing.is_nan() => Missing::Pass,
            other => other,
        }
    }

    pub(super) fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        for row in m.iter_mut() {
            for (column, (v, category)) in row.iter_mut().zip(&self.categories).enumerate() {
                *v = match (category.find(*v), self.unknown) {
                    (Some(_), _) if v.is_nan() => self.encoded_missing,
                    (Some(i), _) => category.place[i].unwrap_or(i) as f64,
                    (None, Unknown::Becomes(code)) => code,
                    (None, Unknown::Refuse) => return Err(refuse(column, *v)),
                };
            }
        }
        Ok(())
    }
}

/// TargetEncoder: numbers of each category, and those of an unknown one.
#[derive(Debug, Clone)]
pub struct TargetEncodings {
    /// For each column, for each class (one unless there are several), a number per category.
    pub encodings: Vec<Vec<Vec<f64>>>,
    /// One number per class.
    pub unknown: Vec<f64>,
}
