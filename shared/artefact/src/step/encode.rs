//! Encoders of categories with numeric input: OneHotEncoder, OrdinalEncoder.

use crate::matrix::Matrix;
use crate::{RowRefusal, Sparse};

/// The most categories among which a value is looked up one by one.
const SCANNED: usize = 8;
/// The most columns of sparse rows that are dense where nothing tells the difference.
const NARROW: usize = 1024;

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
    /// Whether the values ascend, but for a missing one at the end.
    ascending: bool,
}

impl Category {
    /// Categories that have these places, all of them different.
    pub fn new(values: Vec<f64>, place: Vec<Option<usize>>) -> Self {
        let known = values.len() - usize::from(values.last().is_some_and(|last| last.is_nan()));
        let ascending = values[..known].windows(2).all(|pair| pair[0] < pair[1]);
        Self { width: values.len(), values, place, unknown: None, ascending }
    }

    fn find(&self, v: f64) -> Option<usize> {
        if self.ascending && self.values.len() > SCANNED && !v.is_nan() {
            let at = self.values.partition_point(|c| *c < v);
            return self.values.get(at).filter(|c| **c == v).map(|_| at);
        }
        self.values.iter().position(|c| *c == v || (c.is_nan() && v.is_nan()))
    }

    fn knows_missing(&self) -> bool {
        self.values.iter().any(|c| c.is_nan())
    }
}

fn refuse(column: usize, value: f64) -> RowRefusal {
    RowRefusal::at(column, format!("has {value}, which is not one of the encoder's categories"))
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

    /// Whether its rows are sparse wherever they are used: it was fitted so, and they have many columns.
    pub(super) fn gives_sparse(&self) -> bool {
        self.sparse && self.width() > NARROW
    }

    /// As [`OneHot::apply`], as sparse rows.
    pub(super) fn apply_sparse(&self, m: &Matrix) -> Result<Sparse, RowRefusal> {
        let mut out = Sparse { width: self.width(), ..Sparse::default() };
        for row in m.iter() {
            let mut start = 0;
            for (column, (v, category)) in row.iter().zip(&self.categories).enumerate() {
                let place = match category.find(*v) {
                    Some(i) => category.place[i],
                    None if self.unknown == Unknown::Refuse => return Err(refuse(column, *v)),
                    None => category.unknown,
                };
                out.push(place.map(|place| start + place), 1.0);
                start += category.width;
            }
            out.end_row();
        }
        Ok(out)
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
    /// A missing value is a category, which stays NaN unless it has a code, or unknown.
    pub(super) fn missing_columns(&self, later: &[bool]) -> Vec<bool> {
        let may_be = |(category, later): (&Category, &bool)| match self.unknown {
            _ if category.knows_missing() => *later || !self.encoded_missing.is_nan(),
            Unknown::Becomes(code) => *later || !code.is_nan(),
            Unknown::Refuse => false,
        };
        self.categories.iter().zip(later).map(may_be).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn category(count: usize, missing: bool) -> Category {
        let values = (0..count).map(|i| i as f64 * 0.5).chain(missing.then_some(f64::NAN)).collect::<Vec<f64>>();
        let place = (0..values.len()).map(Some).collect();
        Category::new(values, place)
    }

    #[test]
    fn values_are_found_among_few_and_many() {
        for (count, missing) in [(3, false), (3, true), (2000, false), (2000, true)] {
            let of = category(count, missing);
            let found: Vec<Option<usize>> = [0.0, -0.0, 1.0, 0.25, -1.0, 1e9].iter().map(|v| of.find(*v)).collect();
            assert_eq!(found, [Some(0), Some(0), Some(2), None, None, None], "{count}");
            assert_eq!(of.find(f64::NAN), missing.then_some(count));
        }
        let unsorted = Category::new((0..20).rev().map(f64::from).collect(), (0..20).map(Some).collect());
        assert_eq!(unsorted.find(19.0), Some(0));
    }

    #[test]
    fn wide_one_hot_rows_are_sparse() {
        let one_hot = |sparse| OneHot {
            categories: vec![category(3, false), category(1500, true)],
            unknown: Unknown::Becomes(0.0),
            sparse,
        };
        assert!(one_hot(true).gives_sparse() && !one_hot(false).gives_sparse());
        let rows = Matrix { width: 2, data: vec![0.5, 7.0, 9.0, f64::NAN, 1.0, 0.25] };
        let sparse = one_hot(true).apply_sparse(&rows).unwrap();
        assert_eq!(
            (sparse.columns.as_slice(), sparse.ends.as_slice()),
            ([1, 17, 1503, 2].as_slice(), [2, 3, 4].as_slice())
        );
        let mut dense = rows;
        one_hot(false).apply(&mut dense).unwrap();
        assert_eq!(crate::Frame::Sparse(sparse).into_numbers().unwrap().data, dense.data);
    }
}
