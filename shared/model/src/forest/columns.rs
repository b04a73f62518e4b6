//! The columns that the fast kernel compares: a copy of the row, or one column per feature and treatment of its missing
//! values, in which they are replaced by what sends them to the right side. A step then needs no test for them. In large
//! forests that compare f64, columns are ranks among the thresholds, which f32 holds exactly: nodes are half as large.

use std::collections::BTreeMap;

use super::lane::Lane;
use super::walk::{FullNode, FullTables};
use super::{MissingRule, ZERO};

/// A feature, which of its values are missing, and whether they go left.
type Key = (u32, MissingRule, bool);

#[derive(Debug)]
pub(super) enum Columns<T> {
    /// The values of the row as they are: missing values go right.
    Copy { width: usize, know_missing: bool },
    /// One column per feature and treatment that a split has.
    Replaced { columns: Vec<Column<T>>, at: BTreeMap<Key, u32> },
    /// As `Replaced`, then the number of the column's thresholds that are below the value.
    Ranks { columns: Vec<(Column<f64>, Vec<f64>)>, at: BTreeMap<Key, u32> },
}

/// The most thresholds of a column of ranks: f32 holds integers exactly up to here.
const MAX_RANKS: usize = 1 << 24;

#[derive(Debug)]
pub(super) struct Column<T> {
    feature: u32,
    /// Values up to this far from zero are replaced by `zero`; negative if none are.
    near: f64,
    zero: T,
    /// What NaN is replaced by.
    nan: T,
}

impl<T: Lane> Column<T> {
    fn of((feature, rule, left): Key) -> Self {
        let missing = if left { T::LOWEST } else { T::NAN };
        match rule {
            MissingRule::Nan => Self { feature, near: -1.0, zero: missing, nan: missing },
            MissingRule::NanAndZero => Self { feature, near: ZERO, zero: missing, nan: missing },
            MissingRule::NanIsZero => Self { feature, near: -1.0, zero: missing, nan: T::of(0.0) },
        }
    }
}

impl<T: Lane> Column<T> {
    /// The value of a row, replaced if it is missing.
    #[inline(always)]
    fn value(&self, row: &[f64]) -> T {
        let x = row[self.feature as usize];
        let near = if x.abs() <= self.near { self.zero } else { T::of(x) };
        if x.is_nan() { self.nan } else { near }
    }
}

/// The number of thresholds below a value. `x <= t` holds for the values whose rank is at most that of `t`.
#[inline(always)]
fn rank(thresholds: &[f64], x: f64) -> usize {
    thresholds.partition_point(|t| *t < x)
}

fn key(node: FullNode) -> Key {
    // without missing values the direction does not matter
    (node.feature(), node.rule(), node.missing_left() && node.rule() != MissingRule::NanIsZero)
}

impl<T: Lane> Columns<T> {
    /// The columns of the splits of `full`, at most `most` and one for leaves; `None` if they are more.
    pub(super) fn of(full: &FullTables, width: usize, most: usize) -> Option<Self> {
        let splits = || full.nodes.iter().filter(|node| !node.is_leaf()).map(|node| key(*node));
        if splits().all(|(_, rule, left)| rule == MissingRule::Nan && !left) {
            return (width <= most).then_some(Self::Copy { width, know_missing: true });
        }
        let mut at: BTreeMap<Key, u32> = BTreeMap::new();
        for key in splits() {
            let next = at.len() as u32;
            at.entry(key).or_insert(next);
        }
        if at.len() <= most {
            let mut keys: Vec<(&Key, &u32)> = at.iter().collect();
            keys.sort_by_key(|(_, at)| **at);
            let columns = keys.into_iter().map(|(key, _)| Column::of(*key)).collect();
            return Some(Self::Replaced { columns, at });
        }
        let plain = splits().all(|(_, rule, _)| rule == MissingRule::Nan);
        (plain && width <= most).then_some(Self::Copy { width, know_missing: false })
    }

    /// Columns of ranks for the splits of `full`, at most `most`; `None` if they are more.
    pub(super) fn ranks(full: &FullTables, most: usize) -> Option<Self> {
        let mut thresholds: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
        for node in full.nodes.iter().filter(|node| !node.is_leaf()) {
            thresholds.entry(key(*node)).or_default().push(node.threshold);
        }
        if thresholds.len() > most {
            return None;
        }
        let at = thresholds.keys().enumerate().map(|(i, key)| (*key, i as u32)).collect();
        let mut columns = Vec::with_capacity(thresholds.len());
        for (key, mut thresholds) in thresholds {
            thresholds.sort_by(f64::total_cmp);
            thresholds.dedup();
            thresholds.shrink_to_fit();
            if thresholds.len() >= MAX_RANKS {
                return None;
            }
            columns.push((Column::of(key), thresholds));
        }
        Some(Self::Ranks { columns, at })
    }

    /// What the kernel compares a split's column with.
    pub(super) fn threshold(&self, node: FullNode) -> T {
        match self {
            Self::Copy { .. } | Self::Replaced { .. } => T::floor(node.threshold),
            Self::Ranks { columns, .. } => {
                let thresholds = columns.get(self.index(node) as usize).map_or([].as_slice(), |(_, of)| of);
                T::of(rank(thresholds, node.threshold) as f64)
            }
        }
    }

    /// Whether missing values go where they should.
    pub(super) fn know_missing(&self) -> bool {
        !matches!(self, Self::Copy { know_missing: false, .. })
    }

    /// The number of columns with the one for leaves, rounded up to what the kernel is compiled for.
    pub(super) fn padded(&self) -> usize {
        let columns = match self {
            Self::Copy { width, .. } => *width,
            Self::Replaced { columns, .. } => columns.len(),
            Self::Ranks { columns, .. } => columns.len(),
        };
        (columns + 1).next_power_of_two().max(16)
    }

    /// The column that a split compares.
    pub(super) fn index(&self, node: FullNode) -> u32 {
        match self {
            Self::Copy { .. } => node.feature(),
            Self::Replaced { at, .. } | Self::Ranks { at, .. } => at.get(&key(node)).copied().unwrap_or(0),
        }
    }

    /// Fills the first columns of `out` from a row.
    #[inline(always)]
    pub(super) fn fill<const W: usize>(&self, row: &[f64], out: &mut [T; W]) {
        match self {
            Self::Copy { .. } => out.iter_mut().zip(row).for_each(|(out, v)| *out = T::of(*v)),
            Self::Replaced { columns, .. } => {
                for (out, column) in out.iter_mut().zip(columns) {
                    *out = column.value(row);
                }
            }
            Self::Ranks { columns, .. } => {
                for (out, (column, thresholds)) in out.iter_mut().zip(columns) {
                    let x = column.value(row);
                    *out = if x.is_nan() { T::NAN } else { T::of(rank(thresholds, x) as f64) };
                }
            }
        }
    }
}
