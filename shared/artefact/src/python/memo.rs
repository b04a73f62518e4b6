//! The memo of a pickle. Python numbers the entries from 0 on, so most of them are in a list.

use std::collections::HashMap;

use super::graph::{Graph, Id};

/// Bytes of an entry of the list, which grows block by block, and of any other entry.
const DENSE_BYTES: usize = size_of::<Id>();
const SPARSE_BYTES: usize = 64;
/// Number of entries in a block.
const BLOCK: usize = 1 << 12;

#[derive(Debug, Default)]
pub(super) struct Memo {
    dense: Vec<Vec<Id>>,
    sparse: HashMap<u64, Id>,
    /// Bytes that were accounted for.
    pub(super) bytes: usize,
}

impl Memo {
    pub(super) fn len(&self) -> usize {
        self.dense_len() + self.sparse.len()
    }

    fn dense_len(&self) -> usize {
        self.dense.last().map_or(0, |last| (self.dense.len() - 1) * BLOCK + last.len())
    }

    pub(super) fn get(&self, key: u64) -> Option<Id> {
        let dense = usize::try_from(key).ok().and_then(|key| self.dense.get(key / BLOCK)?.get(key % BLOCK));
        dense.or_else(|| self.sparse.get(&key)).copied()
    }

    fn spend(&mut self, bytes: usize, graph: &Graph) -> Result<(), String> {
        graph.spend(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Sets an entry, and accounts for it.
    pub(super) fn set(&mut self, key: u64, id: Id, graph: &Graph) -> Result<(), String> {
        let dense = usize::try_from(key).unwrap_or(usize::MAX);
        if let Some(entry) = self.dense.get_mut(dense / BLOCK).and_then(|block| block.get_mut(dense % BLOCK)) {
            *entry = id;
        } else if dense == self.dense_len() && self.sparse.is_empty() {
            if dense.is_multiple_of(BLOCK) {
                // the first block is small, as most pickles are
                let size = if dense == 0 { 64 } else { BLOCK };
                self.spend((size + 16) * DENSE_BYTES, graph)?;
                self.dense.push(Vec::with_capacity(size));
            } else if dense < BLOCK {
                self.spend(3 * DENSE_BYTES, graph)?;
            }
            if let Some(last) = self.dense.last_mut() {
                last.push(id);
            }
        } else {
            self.spend(SPARSE_BYTES, graph)?;
            self.sparse.insert(key, id);
        }
        Ok(())
    }
}
