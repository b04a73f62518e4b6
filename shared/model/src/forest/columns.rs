//! The columns that the fast kernel compares: a copy of the row, or one column per feature and treatment of its missing
//! values, in which they are replaced by what sends them to the right side. A step then needs no test for them.

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
}

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

    /// Whether missing values go where they should.
    pub(super) fn know_missing(&self) -> bool {
        !matches!(self, Self::Copy { know_missing: false, .. })
    }

    /// The number of columns with the one for leaves, rounded up to what the kernel is compiled for.
    pub(super) fn padded(&self) -> usize {
        let columns = match self {
            Self::Copy { width, .. } => *width,
            Self::Replaced { columns, .. } => columns.len(),
        };
        (columns + 1).next_power_of_two().max(16)
    }

    /// The column that a split compares.
    pub(super) fn index(&self, node: FullNode) -> u32 {
        match self {
            Self::Copy { .. } => node.feature(),
            Self::Replaced { at, .. } => at.get(&key(node)).copied().unwrap_or(0),
        }
    }

    /// Fills the first columns of `out` from a row.
    #[inline(always)]
    pub(super) fn fill<const W: usize>(&self, row: &[f64], out: &mut [T; W]) {
        match self {
            Self::Copy { .. } => out.iter_mut().zip(row).for_each(|(out, v)| *out = T::of(*v)),
            Self::Replaced { columns, .. } => {
                for (out, column) in out.iter_mut().zip(columns) {
                    let x = row[column.feature as usize];
                    let near = if x.abs() <= column.near { column.zero } else { T::of(x) };
                    *out = if x.is_nan() { column.nan } else { near };
                }
            }
        }
    }
}
