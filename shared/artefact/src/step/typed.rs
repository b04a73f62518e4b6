//! Categories that are text, numbers or booleans, and imputers of values of any type.

use std::collections::HashMap;
use std::sync::Arc;

use super::transform::apply_as_frame;
use super::{Missing, Transform};
use crate::matrix::Matrix;
use crate::{Cells, ColumnKind, Frame, RowRefusal, Value};

/// The categories of one column, by value; looking one up allocates nothing.
#[derive(Debug, Clone, Default)]
pub struct Categories {
    texts: HashMap<Arc<str>, usize>,
    integers: HashMap<i64, usize>,
    /// By the bits of the number.
    floats: HashMap<u64, usize>,
    pub(super) missing: Option<usize>,
    count: usize,
    booleans: bool,
    /// Whether the missing value is Python's `None`, which is a category like any other, not NaN.
    pub(super) none: bool,
}

impl Categories {
    /// The categories in their order; of equal ones the first counts.
    pub fn new(values: &[Value]) -> Self {
        let mut out = Self { count: values.len(), ..Self::default() };
        out.booleans = !values.is_empty() && values.iter().all(|v| matches!(v, Value::Boolean(_)));
        for (i, value) in values.iter().enumerate() {
            match value {
                Value::Missing => out.missing = out.missing.or(Some(i)),
                Value::Text(text) => {
                    out.texts.entry(text.clone()).or_insert(i);
                }
                Value::Integer(v) => {
                    out.integers.entry(*v).or_insert(i);
                }
                Value::Boolean(v) => {
                    out.integers.entry(i64::from(*v)).or_insert(i);
                }
                Value::Float(v) => {
                    match integer(*v) {
                        Some(whole) => out.integers.entry(whole).or_insert(i),
                        None => out.floats.entry(v.to_bits()).or_insert(i),
                    };
                }
            }
        }
        out
    }

    /// Says whether the missing value among them is Python's `None`.
    pub fn with_none(mut self, none: bool) -> Self {
        self.none = none;
        self
    }

    /// The index of a value.
    pub fn find(&self, value: &Value) -> Option<usize> {
        match value {
            Value::Missing => self.missing,
            Value::Text(text) => self.texts.get(&**text).copied(),
            Value::Integer(v) => self.integers.get(v).copied(),
            Value::Boolean(v) => self.integers.get(&i64::from(*v)).copied(),
            Value::Float(v) if v.is_nan() => self.missing,
            Value::Float(v) => match integer(*v) {
                Some(whole) => self.integers.get(&whole).copied(),
                None => self.floats.get(&v.to_bits()).copied(),
            },
        }
    }

    /// The first category that is not missing, if there is one.
    pub(super) fn first(&self) -> Option<Value> {
        let texts = self.texts.iter().map(|(text, at)| (*at, Value::Text(Arc::clone(text))));
        let whole = |value: i64| if self.booleans { Value::Boolean(value != 0) } else { Value::Integer(value) };
        let integers = self.integers.iter().map(|(value, at)| (*at, whole(*value)));
        let floats = self.floats.iter().map(|(bits, at)| (*at, Value::from(f64::from_bits(*bits))));
        texts.chain(integers).chain(floats).min_by_key(|(at, _)| *at).map(|(_, value)| value)
    }

    /// The number of categories.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What the values of the column are.
    pub fn kind(&self) -> ColumnKind {
        if !self.texts.is_empty() || (self.integers.is_empty() && self.floats.is_empty()) {
            ColumnKind::Text
        } else if self.booleans {
            ColumnKind::Boolean
        } else if self.floats.is_empty() && self.missing.is_none() {
            ColumnKind::Integer
        } else {
            ColumnKind::Float
        }
    }
}

/// The integer that a number is, if it is one; both zeros are 0.
fn integer(v: f64) -> Option<i64> {
    // beyond 2^63 no i64 is equal
    (v.fract() == 0.0 && v.abs() < 9.223_372_036_854_775e18).then_some(v as i64)
}

/// SimpleImputer on values of any type.
#[derive(Debug, Clone)]
pub struct ImputeValues {
    /// The value that counts as missing instead of those that are; `None` for the latter.
    pub marker: Option<Value>,
    /// `(input column, fill value)` of the columns that are kept, in order.
    pub kept: Vec<(usize, Value)>,
    pub indicator: Vec<usize>,
    /// What the input columns are.
    pub kinds: Vec<ColumnKind>,
    /// For each input column, whether missing values of text stay as they are: they were `None` in the training data,
    /// and the imputer's marker is NaN.
    pub keeps_none: Vec<bool>,
}

impl ImputeValues {
    fn is_missing(&self, value: &Value) -> bool {
        self.marker.as_ref().map_or_else(|| value.is_missing(), |marker| value == marker)
    }

    /// Whether a value of an input column is replaced.
    fn fills(&self, column: usize, value: &Value) -> bool {
        self.is_missing(value) && !self.keeps_none[column]
    }
}

impl Transform for ImputeValues {
    fn width(&self) -> usize {
        self.kept.len() + self.indicator.len()
    }

    fn name(&self) -> String {
        "Impute".to_owned()
    }

    fn missing(&self) -> Missing {
        if self.marker.is_none() && !self.keeps_none.contains(&true) { Missing::Gone } else { Missing::Pass }
    }

    fn missing_columns(&self, width: usize, later: &[bool]) -> Vec<bool> {
        let mut missing = vec![true; width];
        for ((column, _), may_be) in self.kept.iter().zip(later) {
            missing[*column] = *may_be || (self.marker.is_none() && !self.keeps_none[*column]);
        }
        missing
    }

    fn keeps_values(&self) -> bool {
        true
    }

    fn source(&self, column: usize) -> Option<usize> {
        self.kept.get(column).map(|(column, _)| *column)
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        apply_as_frame(self, m)
    }

    fn apply_frame(&self, frame: Frame) -> Result<Frame, RowRefusal> {
        let cells = frame.into_cells()?;
        let width = self.width();
        let mut data = Vec::with_capacity(cells.data.len() / cells.width.max(1) * width);
        for row in cells.iter() {
            let filled = |(column, fill): &(usize, Value)| {
                if self.fills(*column, &row[*column]) { fill.clone() } else { row[*column].clone() }
            };
            data.extend(self.kept.iter().map(filled));
            let flag = |c: &usize| f64::from(u8::from(self.fills(*c, &row[*c])));
            data.extend(self.indicator.iter().map(|c| Value::Float(flag(c))));
        }
        Ok(Frame::Values(Cells { width, data }))
    }

    fn takes(&self) -> Option<Vec<ColumnKind>> {
        Some(self.kinds.clone())
    }

    fn keeping_none(&self, columns: &[bool]) -> Option<Arc<dyn Transform>> {
        self.marker.is_none().then_some(())?;
        let mut keeping = self.clone();
        self.kept.iter().zip(columns).for_each(|((column, _), keeps)| keeping.keeps_none[*column] = *keeps);
        Some(Arc::new(keeping))
    }
}
