//! CatBoost's statistics of combinations of categories (CTRs): a hash of the combination, the counts that training left
//! for it, and a number from them that is compared with borders.

use std::collections::HashMap;

use super::parts::{Counts, CtrFeature, CtrKind, CtrTable, Parts};
use super::splits::HOLDS;

/// The factor of CatBoost's hash of combinations.
const FACTOR: u64 = 0x4906_ba49_4954_cb65;

/// What a combination is hashed from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Columns with the hashes of categories.
    columns: Vec<usize>,
    /// Splits.
    bits: Vec<u32>,
}

#[derive(Debug)]
struct Ctr {
    /// The number of the key.
    key: usize,
    table: usize,
    kind: CtrKind,
    target: usize,
    prior: (f32, f32),
    shift: f32,
    scale: f32,
    first: usize,
    borders: Vec<f32>,
}

/// The statistics of a model.
#[derive(Debug, Default)]
pub(super) struct Ctrs {
    keys: Vec<Key>,
    tables: Vec<CtrTable>,
    ctrs: Vec<Ctr>,
    splits: usize,
}

impl Ctrs {
    /// Resolves the names of features and tables. `count` is the number of splits before these.
    pub(super) fn of(
        parts: &mut Parts,
        columns: &HashMap<i32, usize>,
        at_border: &HashMap<(i32, u32), u32>,
        at_value: &HashMap<(i32, i32), u32>,
        count: usize,
    ) -> Result<Self, String> {
        let mut all = Self::default();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut known: HashMap<Key, usize> = HashMap::new();
        // one more than the highest index of every table
        let mut ends: Vec<usize> = Vec::new();
        for feature in std::mem::take(&mut parts.ctrs) {
            let combination = &feature.combination;
            let column = |cat: &i32| columns.get(cat).copied().ok_or_else(|| format!("no category feature {cat}"));
            let columns = combination.cats.iter().map(column).collect::<Result<_, String>>()?;
            let border = |(index, border): &(i32, f32)| at_border.get(&(*index, border.to_bits())).copied();
            let value = |pair: &(i32, i32)| at_value.get(pair).copied();
            let bits = combination.floats.iter().map(border).chain(combination.one_hots.iter().map(value));
            let bits = bits.collect::<Option<_>>().ok_or("a statistic combines a split that is not there")?;
            let key = Key { columns, bits };
            let key = *known.entry(key).or_insert_with_key(|key| {
                all.keys.push(key.clone());
                all.keys.len() - 1
            });
            let table = match numbers.get(&feature.table) {
                Some(table) => *table,
                None => {
                    let table = parts.tables.remove(&feature.table).ok_or("a statistic has no table")?;
                    ends.push(table.indices.values().max().map_or(0, |index| *index as usize + 1));
                    all.tables.push(table);
                    numbers.insert(feature.table.clone(), all.tables.len() - 1);
                    all.tables.len() - 1
                }
            };
            check(&feature, &all.tables[table], ends[table])?;
            let CtrFeature { kind, target, prior, shift, scale, borders, .. } = feature;
            let first = count + all.splits;
            all.splits += borders.len();
            all.ctrs.push(Ctr { key, table, kind, target, prior, shift, scale, first, borders });
        }
        Ok(all)
    }

    /// The number of splits.
    pub(super) fn splits(&self) -> usize {
        self.splits
    }

    /// Fills the bytes of these splits; those of features must be there.
    pub(super) fn fill<const L: usize>(&self, rows: &[f64], width: usize, out: &mut [[u8; L]]) {
        if self.ctrs.is_empty() {
            return;
        }
        let mut hashes = vec![[0u64; L]; self.keys.len()];
        for (hashes, key) in hashes.iter_mut().zip(&self.keys) {
            for (lane, (hash, row)) in hashes.iter_mut().zip(rows.chunks_exact(width)).enumerate() {
                // a category's hash is extended with its sign
                let categories = key.columns.iter().map(|column| row[*column] as u32 as i32 as i64 as u64);
                let bits = key.bits.iter().map(|split| u64::from(out[*split as usize][lane] == HOLDS));
                *hash = categories.chain(bits).fold(0, mix);
            }
        }
        for ctr in &self.ctrs {
            let mut values = [0f32; L];
            let lanes = rows.len() / width;
            for (value, hash) in values.iter_mut().zip(&hashes[ctr.key]).take(lanes) {
                *value = ctr.value(&self.tables[ctr.table], *hash);
            }
            for (out, border) in out[ctr.first..].iter_mut().zip(&ctr.borders) {
                out.iter_mut().zip(&values).for_each(|(out, x)| *out = if x > border { HOLDS } else { 0 });
            }
        }
    }
}

fn mix(hash: u64, value: u64) -> u64 {
    FACTOR.wrapping_mul(hash.wrapping_add(FACTOR.wrapping_mul(value)))
}

impl Ctr {
    fn value(&self, table: &CtrTable, hash: u64) -> f32 {
        let index = table.indices.get(&hash).map(|index| *index as usize);
        let (part, total) = match (&table.counts, index) {
            (Counts::Means(means), Some(index)) => (means[index].0, means[index].1 as f32),
            (Counts::Totals(totals, denominator), Some(index)) => (totals[index] as f32, *denominator as f32),
            (Counts::Totals(_, denominator), None) => (0.0, *denominator as f32),
            (Counts::Classes(classes, counts), Some(index)) => {
                let counts = &counts[index * classes..][..*classes];
                let total = counts.iter().fold(0i32, |sum, n| sum.wrapping_add(*n));
                let part = match self.kind {
                    CtrKind::Buckets => counts[self.target],
                    _ => counts[self.target + 1..].iter().fold(0i32, |sum, n| sum.wrapping_add(*n)),
                };
                (part as f32, total as f32)
            }
            (_, None) => (0.0, 0.0),
        };
        ((part + self.prior.0) / (total + self.prior.1) + self.shift) * self.scale
    }
}

/// Checks that every index, all of which are below `highest`, and every class that is looked up is there.
fn check(feature: &CtrFeature, table: &CtrTable, highest: usize) -> Result<(), String> {
    let (entries, fits) = match (&table.counts, feature.kind) {
        (Counts::Means(means), CtrKind::BinarizedTargetMean | CtrKind::FloatTargetMean) => (means.len(), true),
        (Counts::Totals(totals, _), CtrKind::Counter | CtrKind::FeatureFrequency) => (totals.len(), true),
        (Counts::Classes(classes, counts), CtrKind::Buckets) => {
            (counts.len() / (*classes).max(1), feature.target < *classes)
        }
        (Counts::Classes(classes, counts), CtrKind::Borders) => {
            (counts.len() / (*classes).max(1), feature.target + 1 < *classes)
        }
        _ => (0, false),
    };
    if !fits || highest > entries {
        return Err(format!("a statistic's table has {entries} entries for {highest} hashes, or not its class"));
    }
    Ok(())
}
