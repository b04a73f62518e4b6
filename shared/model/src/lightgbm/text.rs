//! LightGBM's text format: a header, then one block of `key=value` lines per tree.

use std::str::FromStr;

use forebay_artefact::{Allowance, OverBudget};

use crate::Fault;
use crate::mlmodel::MAX_WIDTH;

/// The most trees of a model.
const MAX_TREES: usize = 1 << 20;
/// The keys that are read, of the header and of trees.
const KEYS: [&str; 22] = [
    "max_feature_idx",
    "num_class",
    "num_tree_per_iteration",
    "feature_names",
    "average_output",
    "objective",
    "num_leaves",
    "num_cat",
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "cat_boundaries",
    "cat_threshold",
    "is_linear",
    "leaf_const",
    "num_features",
    "leaf_features",
    "leaf_coeff",
];

/// The header of a model.
#[derive(Debug)]
pub(super) struct Header<'t> {
    pub width: usize,
    pub trees_per_iteration: usize,
    pub objective: Option<&'t str>,
    /// Whether predictions are means over the rounds (random forests).
    pub averages: bool,
    pub features: Vec<String>,
}

/// The lines of a tree that are read.
#[derive(Debug, Default)]
pub(super) struct Block<'t> {
    lines: Vec<(&'static str, &'t str)>,
}

impl<'t> Block<'t> {
    /// Keeps a line; the last one of a key counts.
    fn add(&mut self, key: &str, value: &'t str, allowance: &Allowance) -> Result<(), OverBudget> {
        let Some(key) = KEYS.iter().find(|known| **known == key) else { return Ok(()) };
        match self.lines.iter_mut().find(|(known, _)| known == key) {
            Some((_, line)) => *line = value,
            None => allowance.push(&mut self.lines, (*key, value))?,
        }
        Ok(())
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'t str> {
        self.lines.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }

    /// The numbers of a key; `count` must be there.
    pub(super) fn numbers<N: FromStr>(&self, key: &str, count: usize) -> Result<Vec<N>, String> {
        let text = self.get(key).ok_or_else(|| format!("has no {key}"))?;
        // a list that grows would take up to three times as much
        let mut numbers = Vec::with_capacity(count.min(text.len() / 2 + 1));
        let mut words = text.split_ascii_whitespace();
        for word in words.by_ref().take(count) {
            numbers.push(word.parse().map_err(|_| format!("{key} has something else than numbers"))?);
        }
        let found = numbers.len() + words.count();
        if found == count { Ok(numbers) } else { Err(format!("{key} has {found} values of {count}")) }
    }

    /// A count of at most `most`; 0 if it is not there.
    pub(super) fn count(&self, key: &str, most: usize) -> Result<usize, String> {
        let Some(text) = self.get(key) else { return Ok(0) };
        let count = text.trim().parse::<usize>().ok().filter(|n| *n <= most);
        let shown = || text.chars().take(40).collect::<String>();
        count.ok_or_else(|| format!("{key} is {:?}, expected 0 to {most}", shown()))
    }
}

/// Reads the header and divides the rest into trees.
pub(super) fn read<'t>(text: &'t str, allowance: &Allowance) -> Result<(Header<'t>, Vec<Block<'t>>), Fault> {
    let over = |e: OverBudget| Fault::new("", e);
    let mut lines = text.lines();
    let (mut head, mut blocks) = (Block::default(), Vec::new());
    for line in lines.by_ref() {
        if line.starts_with("Tree=") {
            allowance.push(&mut blocks, Block::default()).map_err(over)?;
            break;
        }
        if line == "end of trees" {
            break;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        head.add(key, value, allowance).map_err(over)?;
    }
    if !blocks.is_empty() {
        for line in lines {
            if line == "end of trees" {
                break;
            }
            if line.starts_with("Tree=") {
                if blocks.len() == MAX_TREES {
                    return Err(Fault::new("", format!("more than {MAX_TREES} trees")));
                }
                allowance.push(&mut blocks, Block::default()).map_err(over)?;
            } else if let (Some((key, value)), Some(block)) = (line.split_once('='), blocks.last_mut()) {
                block.add(key, value, allowance).map_err(over)?;
            }
        }
    }
    let header = header(&head).map_err(|e| Fault::new("header", e))?;
    if !blocks.len().is_multiple_of(header.trees_per_iteration) {
        let reason = format!("{} trees for {} outputs", blocks.len(), header.trees_per_iteration);
        return Err(Fault::new("", reason));
    }
    Ok((header, blocks))
}

fn header<'t>(head: &Block<'t>) -> Result<Header<'t>, String> {
    let width = head.get("max_feature_idx").ok_or("has no max_feature_idx")?.trim().parse::<usize>();
    let width = width.ok().and_then(|w| w.checked_add(1)).filter(|w| *w <= MAX_WIDTH);
    let width = width.ok_or_else(|| format!("max_feature_idx is not below {MAX_WIDTH}"))?;
    let classes = head.count("num_class", MAX_WIDTH)?.max(1);
    let trees_per_iteration = match head.count("num_tree_per_iteration", MAX_WIDTH)? {
        0 => classes,
        trees => trees,
    };
    let names = head.get("feature_names").ok_or("has no feature_names")?;
    let count = names.split(' ').count();
    if count != width {
        return Err(format!("{count} feature_names for {width} features"));
    }
    let features: Vec<String> = names.split(' ').map(str::to_owned).collect();
    let averages = head.get("average_output").is_some();
    Ok(Header { width, trees_per_iteration, objective: head.get("objective"), averages, features })
}
