//! The binary format that XGBoost wrote until 2.0: structures of C in little-endian order, one after another.

use std::collections::HashMap;

use super::trees::Tree;

/// The first bytes of a file.
pub(super) const MAGIC: &[u8] = b"binf";
/// The first bytes of a pickled booster: the text, and the place where its configuration begins.
pub(super) const PICKLED: &[u8] = b"CONFIG-offset:";
/// The size of the parameters of a model.
const PARAMETERS: usize = 136;
/// The size of the parameters of `gbtree`.
const TREES: usize = 160;
/// The size of the parameters of `gblinear`.
const LINEAR: usize = 136;
/// The size of the parameters of a tree, and of a node and its statistics.
const TREE: usize = 148;
const NODE: usize = 20;
const STATISTICS: usize = 16;
/// A node that pruning has removed.
const DELETED: u32 = u32::MAX;

/// The content of a file.
#[derive(Debug)]
pub(super) struct Model<'a> {
    pub base_score: f32,
    pub width: usize,
    pub classes: usize,
    pub targets: usize,
    /// Before release 1, the base score is a margin.
    pub release: u32,
    pub objective: &'a str,
    pub booster: Booster<'a>,
    pub attributes: HashMap<&'a str, &'a str>,
}

#[derive(Debug)]
pub(super) enum Booster<'a> {
    Linear(Vec<f32>),
    Trees {
        /// The nodes of every tree.
        trees: Vec<&'a [u8]>,
        /// The group of every tree.
        info: Vec<i64>,
        /// The number of trees of a group in a round.
        parallel: usize,
        /// The weights of `dart`.
        weights: Option<Vec<f32>>,
    },
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or("ends early")?;
        self.rest = tail;
        Ok(head)
    }

    fn count(&mut self) -> Result<usize, String> {
        let raw = self.take(8)?;
        let count = u64::from_le_bytes([raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], raw[6], raw[7]]);
        usize::try_from(count).map_err(|_| "ends early".to_owned())
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let length = self.count()?;
        std::str::from_utf8(self.take(length)?).map_err(|e| e.to_string())
    }

    fn floats(&mut self) -> Result<Vec<f32>, String> {
        let bytes = self.count()?.checked_mul(4).ok_or("ends early")?;
        Ok(self.take(bytes)?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

/// Word `i` of a structure.
fn word(bytes: &[u8], i: usize) -> u32 {
    let raw = &bytes[4 * i..4 * i + 4];
    u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]])
}

fn small(name: &str, value: u32) -> Result<usize, String> {
    i32::try_from(value).ok().and_then(|v| usize::try_from(v).ok()).ok_or_else(|| format!("{name} is {value}"))
}

/// Reads a file.
pub(super) fn read(bytes: &[u8]) -> Result<Model<'_>, String> {
    let bytes = match bytes.strip_prefix(PICKLED) {
        Some(rest) => rest.get(8..).ok_or("ends early")?,
        None => bytes,
    };
    let mut reader = Reader { rest: bytes.strip_prefix(MAGIC).unwrap_or(bytes) };
    let parameters = reader.take(PARAMETERS)?;
    let field = |i| word(parameters, i);
    let (objective, name) = (reader.text()?, reader.text()?);
    let booster = match name {
        "gblinear" => {
            reader.take(LINEAR)?;
            Booster::Linear(reader.floats()?)
        }
        "gbtree" | "dart" => trees(&mut reader, name == "dart")?,
        _ => return Err(format!("booster {name:?} is not supported")),
    };
    let mut attributes = HashMap::new();
    if field(3) != 0 {
        for _ in 0..reader.count()? {
            attributes.insert(reader.text()?, reader.text()?);
        }
    }
    Ok(Model {
        base_score: f32::from_bits(field(0)),
        width: field(1) as usize,
        classes: small("num_class", field(2))?,
        targets: small("num_target", field(7))?.max(1),
        release: field(5),
        objective,
        booster,
        attributes,
    })
}

fn trees<'a>(reader: &mut Reader<'a>, dart: bool) -> Result<Booster<'a>, String> {
    let parameters = reader.take(TREES)?;
    let count = small("num_trees", word(parameters, 0))?;
    let parallel = small("num_parallel_tree", word(parameters, 1))?.max(1);
    let mut trees = Vec::new();
    for i in 0..count {
        let nodes = small("num_nodes", word(reader.take(TREE)?, 1))?;
        if nodes == 0 {
            return Err(format!("tree {i} has no nodes"));
        }
        trees.push(reader.take(nodes.checked_mul(NODE).ok_or("ends early")?)?);
        reader.take(nodes.checked_mul(STATISTICS).ok_or("ends early")?)?;
    }
    let info = reader.take(count.checked_mul(4).ok_or("ends early")?)?;
    let info = (0..count).map(|i| i64::from(word(info, i) as i32)).collect();
    let weights = if dart && count > 0 { Some(reader.floats()?) } else { None };
    Ok(Booster::Trees { trees, info, parallel, weights })
}

/// A tree from its nodes.
pub(super) fn tree(nodes: &[u8]) -> Tree {
    let mut tree = Tree::default();
    for node in nodes.chunks_exact(NODE) {
        let split = word(node, 3);
        tree.left.push(i64::from(word(node, 1) as i32));
        tree.right.push(i64::from(word(node, 2) as i32));
        tree.feature.push(if split == DELETED { 0 } else { i64::from(split & 0x7fff_ffff) });
        tree.below.push(f32::from_bits(word(node, 4)));
        tree.default_left.push(split >> 31 != 0);
    }
    tree.values.clone_from(&tree.below);
    tree
}
