//! `.cbm` files: a FlatBuffers table with features and trees, then the tables of statistics.

use std::cell::Cell;
use std::collections::HashMap;

use forebay_artefact::Allowance;

use super::classes::Info;
use super::flat::Table;
use super::parts::{
    CatFeature, Combination, Counts, CtrFeature, CtrKind, CtrTable, FloatFeature, Missing, Node, OneHot, Parts, Step,
    Trees,
};
use crate::document;

/// The first bytes of a file.
pub(super) const MAGIC: &[u8] = b"CBM1";
/// The hash of an empty bucket.
const EMPTY: u64 = u64::MAX;
/// How many bytes may be read of each byte of a file. Combinations of features are shared.
const BUDGET_RATIO: usize = 8;
/// How many bytes may be read of any file.
const BUDGET_BASE: usize = 1 << 20;
/// Bytes of the name of a combination, for each of its parts and besides.
const PART_BYTES: usize = 48;
const NAME_BYTES: usize = 256;
/// The part of a file with the tables of statistics.
const STATISTICS: &str = "static_provider_v1";

/// Reads a file.
pub(super) fn read(bytes: &[u8], allowance: &Allowance) -> Result<Parts, String> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or("does not start with CBM1")?;
    let budget = Cell::new(bytes.len().saturating_mul(BUDGET_RATIO).saturating_add(BUDGET_BASE));
    let core = Table::root(block(&mut rest)?, &budget)?;
    let trees = core.table(1)?.ok_or("has no trees")?;
    let mut parts = features(&trees, allowance)?;
    parts.info = info(&core, allowance)?;
    read_trees(&trees, &mut parts)?;
    for part in core.texts(3)? {
        if part != STATISTICS {
            return Err(format!("part {part:?} is not supported (features of text and embeddings)"));
        }
        for _ in 0..size(&mut rest)? {
            let (name, table) = ctr_table(&Table::root(block(&mut rest)?, &budget)?, allowance)?;
            parts.tables.insert(name, table);
        }
    }
    Ok(parts)
}

fn info(core: &Table<'_>, allowance: &Allowance) -> Result<Info, String> {
    let mut texts = HashMap::new();
    for pair in core.tables(2)? {
        texts.insert(pair.text(0)?, pair.text(1)?);
    }
    let document = |key: &str| texts.get(key).map(|text| document::read(text.as_bytes(), allowance)).transpose();
    let classes = document("class_params")?.or(document("multiclass_params")?);
    let threshold = texts.get("binclass_probability_threshold").map(|t| t.parse::<f64>()).transpose();
    let threshold = threshold.map_err(|e| format!("binclass_probability_threshold: {e}"))?;
    Info::read(document("params")?.as_ref(), classes.as_ref(), threshold)
}

fn size(rest: &mut &[u8]) -> Result<usize, String> {
    let (head, tail) = rest.split_at_checked(4).ok_or("ends early")?;
    *rest = tail;
    let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    if size == u32::MAX { Err("has a part of more than 4 GiB".to_owned()) } else { Ok(size as usize) }
}

fn block<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let size = size(rest)?;
    let (head, tail) = rest.split_at_checked(size).ok_or("ends early")?;
    *rest = tail;
    Ok(head)
}

fn features(trees: &Table<'_>, allowance: &Allowance) -> Result<Parts, String> {
    for (field, name) in [(12, "text"), (18, "embedding"), (13, "estimated")] {
        if let Some(feature) = trees.tables(field)?.first() {
            let name = if field == 13 { name } else { &format!("{name} {:?}", feature.text(2)?) };
            return Err(format!("features of text and embeddings are not supported: {name}"));
        }
    }
    let column = |flat: i32| usize::try_from(flat).map_err(|_| format!("feature is in column {flat}"));
    let mut floats = Vec::new();
    for feature in trees.tables(5)? {
        let missing = if feature.u8(0, 0)? != 0 && feature.u8(5, 0)? == 2 { Missing::Above } else { Missing::Below };
        let (index, name) = (feature.i32(1, -1)?, feature.text(4)?.to_owned());
        floats.push(FloatFeature {
            index,
            column: column(feature.i32(2, -1)?)?,
            name,
            borders: feature.f32s(3)?,
            missing,
        });
    }
    let mut cats = Vec::new();
    for feature in trees.tables(4)? {
        let (index, name) = (feature.i32(0, -1)?, feature.text(2)?.to_owned());
        cats.push(CatFeature { index, column: column(feature.i32(1, -1)?)?, name });
    }
    let one_hot = |t: &Table<'_>| Ok::<_, String>(OneHot { index: t.i32(0, -1)?, values: t.i32s(1)? });
    let one_hots = trees.tables(6)?.iter().map(one_hot).collect::<Result<_, _>>()?;
    let ctrs = trees.tables(7)?.iter().map(|table| ctr_feature(table, allowance)).collect::<Result<_, _>>()?;
    let dimension = trees.i32(0, 1)?;
    let dimension = usize::try_from(dimension).map_err(|_| format!("has {dimension} outputs"))?;
    let mut bias = trees.f64s(16)?;
    if bias.is_empty() {
        bias = vec![trees.f64(15, 0.0)?; dimension.min(super::MAX_OUTPUTS)];
    }
    Ok(Parts {
        dimension,
        floats,
        cats,
        one_hots,
        ctrs,
        tables: HashMap::new(),
        trees: Trees::Symmetric(Vec::new()),
        leaves: trees.f64s(8)?,
        scale: trees.f64(14, 1.0)?,
        bias,
        info: Info::default(),
    })
}

fn read_trees(table: &Table<'_>, parts: &mut Parts) -> Result<(), String> {
    let (splits, sizes, starts) = (table.i32s(1)?, table.i32s(2)?, table.i32s(3)?);
    let steps = table.vector(10, 4)?;
    let split = |s: &i32| u32::try_from(*s).map_err(|_| format!("split {s}"));
    let splits: Vec<u32> = splits.iter().map(split).collect::<Result<_, _>>()?;
    if starts.len() != sizes.len() {
        return Err(format!("{} starts of {} trees", starts.len(), sizes.len()));
    }
    if steps.is_empty() {
        let mut at = 0;
        let mut trees = Vec::with_capacity(sizes.len());
        for size in &sizes {
            let size = usize::try_from(*size).map_err(|_| format!("tree of {size} splits"))?;
            let tree =
                splits.get(at..).and_then(|rest| rest.get(..size)).ok_or("trees have more splits than the file")?;
            trees.push(tree.to_vec());
            at += size;
        }
        parts.trees = Trees::Symmetric(trees);
        return Ok(());
    }
    let leaf_of = table.i32s(11)?;
    let count = steps.len() / 4;
    if splits.len() != count || leaf_of.len() != count {
        return Err(format!("{count} steps for {} splits and {} leaves", splits.len(), leaf_of.len()));
    }
    let mut nodes = Vec::with_capacity(count);
    for (at, step) in steps.chunks_exact(4).enumerate() {
        let side = |low: u8, high: u8| match u32::from(u16::from_le_bytes([low, high])) {
            0 => Step::Leaf(leaf_of[at] as u32),
            below => Step::Node(at as u32 + below),
        };
        nodes.push(Node { split: splits[at], left: side(step[0], step[1]), right: side(step[2], step[3]) });
    }
    let roots = starts.iter().map(split).collect::<Result<_, _>>()?;
    parts.trees = Trees::Any { nodes, roots };
    Ok(())
}

/// A combination, its kind, and the name of its table.
fn base(table: Option<Table<'_>>, allowance: &Allowance) -> Result<(Combination, CtrKind, String), String> {
    let table = table.ok_or("statistic has no combination")?;
    let kind = CtrKind::ALL.get(usize::from(table.u8(1, 0)?)).ok_or("statistic is of an unknown kind")?.0;
    let inner = table.table(0)?.ok_or("statistic has no combination")?;
    let word = |b: &[u8], at: usize| i32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
    let pairs = |field| Ok::<_, String>(inner.vector(field, 8)?.chunks_exact(8).map(|b| (word(b, 0), word(b, 4))));
    let floats = pairs(1)?.map(|(index, border)| (index, f32::from_bits(border as u32))).collect();
    let combination = Combination { cats: inner.i32s(0)?, floats, one_hots: pairs(2)?.collect() };
    let parts = combination.cats.len() + combination.floats.len() + combination.one_hots.len();
    allowance.spend(NAME_BYTES + parts * PART_BYTES)?;
    let name = format!("{combination:?} {kind:?} {}", table.i32(2, 0)?);
    Ok((combination, kind, name))
}

fn ctr_feature(table: &Table<'_>, allowance: &Allowance) -> Result<CtrFeature, String> {
    let ctr = table.table(0)?.ok_or("statistic has no description")?;
    let (combination, kind, name) = base(ctr.table(0)?, allowance)?;
    let target = ctr.i32(1, 0)?;
    Ok(CtrFeature {
        combination,
        kind,
        table: name,
        target: usize::try_from(target).map_err(|_| format!("statistic of target {target}"))?,
        prior: (ctr.f32(2, 0.0)?, ctr.f32(3, 1.0)?),
        shift: ctr.f32(4, 0.0)?,
        scale: ctr.f32(5, 1.0)?,
        borders: table.f32s(1)?,
    })
}

fn ctr_table(table: &Table<'_>, allowance: &Allowance) -> Result<(String, CtrTable), String> {
    let (_, kind, name) = base(table.table(0)?, allowance)?;
    let mut indices = HashMap::new();
    for bucket in table.vector(1, 1)?.chunks_exact(12) {
        let (hash, index) = bucket.split_at(8);
        let hash = hash.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        if hash != EMPTY {
            indices.insert(hash, u32::from_le_bytes([index[0], index[1], index[2], index[3]]));
        }
    }
    let blob = table.vector(2, 1)?;
    let words = || blob.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
    let counts = match kind {
        CtrKind::BinarizedTargetMean | CtrKind::FloatTargetMean => {
            let pairs = blob.chunks_exact(8);
            let mean =
                |b: &[u8]| (f32::from_le_bytes([b[0], b[1], b[2], b[3]]), i32::from_le_bytes([b[4], b[5], b[6], b[7]]));
            Counts::Means(pairs.map(mean).collect())
        }
        CtrKind::Counter | CtrKind::FeatureFrequency => {
            Counts::Totals(words().map(i32::from_le_bytes).collect(), table.i32(3, 0)?)
        }
        CtrKind::Borders | CtrKind::Buckets => {
            let classes = table.i32(4, 0)?;
            let classes = usize::try_from(classes).map_err(|_| format!("statistic of {classes} classes"))?;
            Counts::Classes(classes, words().map(i32::from_le_bytes).collect())
        }
    };
    Ok((name, CtrTable { indices, counts }))
}
