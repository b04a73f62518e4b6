//! The memo of a pickle. Python numbers the entries from 0 on, so most of them are in a list.

use std::collections::HashMap;

use super::graph::{Graph, Id};

/// Bytes of an entry of the list, with what growing takes, and of any other entry.
const DENSE_BYTES: usize = 12;
const SPARSE_BYTES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Memo {
    dense: Vec<Id>,
    sparse: HashMap<u64, Id>,
}

impl Memo {
    pub(super) fn len(&self) -> usize {
        self.dense.len() + self.sparse.len()
    }

    pub(super) fn get(&self, key: u64) -> Option<Id> {
        let dense = usize::try_from(key).ok().and_then(|key| self.dense.get(key));
        dense.or_else(|| self.sparse.get(&key)).copied()
    }

    /// Sets an entry, and accounts for it.
    pub(super) fn set(&mut self, key: u64, id: Id, graph: &Graph) -> Result<(), String> {
        let dense = usize::try_from(key).unwrap_or(usize::MAX);
        if let Some(entry) = self.dense.get_mut(dense) {
            *entry = id;
        } else if dense == self.dense.len() && self.sparse.is_empty() {
            graph.spend(DENSE_BYTES)?;
            self.dense.push(id);
        } else {
            graph.spend(SPARSE_BYTES)?;
            self.sparse.insert(key, id);
        }
        Ok(())
    }
}
