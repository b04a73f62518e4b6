//! LightGBM's text format: a header, then one block of `key=value` lines per tree.

use std::collections::HashMap;
use std::str::FromStr;

use crate::Fault;
use crate::mlmodel::MAX_WIDTH;

/// The most trees of a model.
const MAX_TREES: usize = 1 << 20;
/// The most lines of the header, or of a tree; LightGBM writes about twenty.
const MAX_LINES: usize = 256;

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

/// The lines of a tree.
#[derive(Debug, Default)]
pub(super) struct Block<'t> {
    lines: HashMap<&'t str, &'t str>,
}

impl<'t> Block<'t> {
    fn add(&mut self, key: &'t str, value: &'t str) -> Result<(), String> {
        if self.lines.len() == MAX_LINES && !self.lines.contains_key(key) {
            return Err(format!("more than {MAX_LINES} lines"));
        }
        self.lines.insert(key, value);
        Ok(())
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'t str> {
        self.lines.get(key).copied()
    }

    /// The numbers of a key; `count` must be there.
    pub(super) fn numbers<N: FromStr>(&self, key: &str, count: usize) -> Result<Vec<N>, String> {
        let text = self.get(key).ok_or_else(|| format!("has no {key}"))?;
        let numbers: Result<Vec<N>, _> = text.split_ascii_whitespace().map(N::from_str).collect();
        let numbers = numbers.map_err(|_| format!("{key} has something else than numbers"))?;
        if numbers.len() == count { Ok(numbers) } else { Err(format!("{key} has {} values of {count}", numbers.len())) }
    }

    /// A count of at most `most`; 0 if it is not there.
    pub(super) fn count(&self, key: &str, most: usize) -> Result<usize, String> {
        let Some(text) = self.get(key) else { return Ok(0) };
        let count = text.trim().parse::<usize>().ok().filter(|n| *n <= most);
        count.ok_or_else(|| format!("{key} is {text:?}, expected 0 to {most}"))
    }
}

/// Reads the header and divides the rest into trees.
pub(super) fn read(text: &str) -> Result<(Header<'_>, Vec<Block<'_>>), Fault> {
    let mut lines = text.lines();
    let (mut head, mut blocks) = (Block::default(), Vec::new());
    for line in lines.by_ref() {
        if line.starts_with("Tree=") {
            blocks.push(Block::default());
            break;
        }
        if line == "end of trees" {
            break;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        head.add(key, value).map_err(|e| Fault::new("header", e))?;
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
                blocks.push(Block::default());
            } else if let (Some((key, value)), Some(block)) = (line.split_once('='), blocks.last_mut()) {
                block.add(key, value).map_err(|e| Fault::new("tree", e))?;
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
    let features: Vec<String> = names.split(' ').map(str::to_owned).collect();
    if features.len() != width {
        return Err(format!("{} feature_names for {width} features", features.len()));
    }
    let averages = head.get("average_output").is_some();
    Ok(Header { width, trees_per_iteration, objective: head.get("objective"), averages, features })
}
