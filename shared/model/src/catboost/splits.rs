//! Every split of a CatBoost model as a byte per row: 255 if the row is above the border, or has the value.
//!
//! A model compares a feature with the same borders in many trees. They are compared once per row, so that a tree only
//! collects bytes. The splits are numbered as in the file: borders of numeric features, values of categories, borders of
//! statistics.

use std::collections::HashMap;

use super::ctr::Ctrs;
use super::parts::{FloatFeature, Missing, Parts};

/// The most splits that trees may choose from.
const MAX_SPLITS: usize = 1 << 22;

/// The borders of a numeric feature.
#[derive(Debug)]
struct Borders {
    column: usize,
    /// What a missing value is compared as.
    missing: f32,
    /// The number of the first split.
    first: usize,
    borders: Vec<f32>,
}

/// The values of a category.
#[derive(Debug)]
struct Values {
    column: usize,
    first: usize,
    values: Vec<i32>,
}

/// The splits of a model.
#[derive(Debug)]
pub(super) struct Splits {
    count: usize,
    borders: Vec<Borders>,
    values: Vec<Values>,
    ctrs: Ctrs,
}

/// The byte of a split that holds.
pub(super) const HOLDS: u8 = 0xff;

fn holds(condition: bool) -> u8 {
    if condition { HOLDS } else { 0 }
}

impl Splits {
    /// Numbers the splits of a model.
    pub(super) fn of(parts: &mut Parts) -> Result<Self, String> {
        let mut count = 0usize;
        let mut borders = Vec::new();
        let mut at_border = HashMap::new();
        for FloatFeature { index, column, borders: of, missing, .. } in &mut parts.floats {
            let missing = if *missing == Missing::Above { f32::INFINITY } else { f32::NEG_INFINITY };
            let of = std::mem::take(of);
            if of.is_empty() {
                continue;
            }
            let first = count;
            count = counted(count, of.len())?;
            at_border.extend(of.iter().enumerate().map(|(i, border)| ((*index, border.to_bits()), (first + i) as u32)));
            borders.push(Borders { column: *column, missing, first, borders: of });
        }
        let columns: HashMap<i32, usize> = parts.cats.iter().map(|cat| (cat.index, cat.column)).collect();
        let mut values = Vec::new();
        let mut at_value = HashMap::new();
        for one_hot in &mut parts.one_hots {
            let column =
                *columns.get(&one_hot.index).ok_or_else(|| format!("no category feature {}", one_hot.index))?;
            let of = std::mem::take(&mut one_hot.values);
            let first = count;
            count = counted(count, of.len())?;
            at_value.extend(of.iter().enumerate().map(|(i, value)| ((one_hot.index, *value), (first + i) as u32)));
            values.push(Values { column, first, values: of });
        }
        let ctrs = Ctrs::of(parts, &columns, &at_border, &at_value, count)?;
        let count = counted(count, ctrs.splits())?;
        Ok(Self { count, borders, values, ctrs })
    }

    /// The number of splits.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Fills the bytes of all splits for up to `L` rows of `width` values; `out` has `count()` entries.
    pub(super) fn fill<const L: usize>(&self, rows: &[f64], width: usize, out: &mut [[u8; L]]) {
        for feature in &self.borders {
            let mut x = [0f32; L];
            for (x, row) in x.iter_mut().zip(rows.chunks_exact(width)) {
                let value = row[feature.column] as f32;
                *x = if value.is_nan() { feature.missing } else { value };
            }
            for (out, border) in out[feature.first..].iter_mut().zip(&feature.borders) {
                out.iter_mut().zip(&x).for_each(|(out, x)| *out = holds(x > border));
            }
        }
        for feature in &self.values {
            for (out, value) in out[feature.first..].iter_mut().zip(&feature.values) {
                for (out, row) in out.iter_mut().zip(rows.chunks_exact(width)) {
                    *out = holds(row[feature.column] as u32 as i32 == *value);
                }
            }
        }
        self.ctrs.fill(rows, width, out);
    }
}

fn counted(count: usize, more: usize) -> Result<usize, String> {
    count.checked_add(more).filter(|n| *n <= MAX_SPLITS).ok_or_else(|| format!("more than {MAX_SPLITS} splits"))
}
