//! Encoders of categories with numeric input: OneHotEncoder, OrdinalEncoder.

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

fn refuse(column: usize, value: f64) -> String {
    format!("value {value} of column {column} is not one of the encoder's categories")
}

/// One 0/1 column per category.
#[derive(Debug, Clone)]
pub struct OneHot {
    pub categories: Vec<Category>,
    pub unknown: Unknown,
    /// Whether it was fitted to give sparse rows.
    pub sparse: bool,
}

impl OneHot {
    pub(super) fn width(&self) -> usize {
        self.categories.iter().map(|c| c.width).sum()
    }

    /// A missing value is a category, or unknown.
    pub(super) fn missing_columns(&self) -> Vec<bool> {
        self.categories.iter().map(|c| c.knows_missing() || self.unknown != Unknown::Refuse).collect()
    }

    pub(super) fn apply(&self, m: &mut Matrix) -> Result<(), String> {
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
    /// A missing value is a category, which stays NaN unless it has a code, or unknown.
    pub(super) fn missing_columns(&self, later: &[bool]) -> Vec<bool> {
        let may_be = |(category, later): (&Category, &bool)| match self.unknown {
            _ if category.knows_missing() => *later || !self.encoded_missing.is_nan(),
            Unknown::Becomes(code) => *later || !code.is_nan(),
            Unknown::Refuse => false,
        };
        self.categories.iter().zip(later).map(may_be).collect()
    }

    pub(super) fn apply(&self, m: &mut Matrix) -> Result<(), String> {
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
