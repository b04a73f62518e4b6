//! The nodes of an artefact, in blocks: growing copies nothing, so that the peak is what the nodes need.

use super::graph::{Id, Node};

/// Number of nodes in a block.
const BLOCK: usize = 1 << 12;

#[derive(Debug, Default)]
pub(super) struct Arena {
    blocks: Vec<Vec<Node>>,
    len: usize,
}

impl Arena {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a node and returns its index.
    pub(super) fn push(&mut self, node: Node) -> Id {
        match self.blocks.last_mut().filter(|block| block.len() < BLOCK) {
            Some(block) => block.push(node),
            None => {
                let mut block = Vec::with_capacity(if self.len == 0 { 64 } else { BLOCK });
                block.push(node);
                self.blocks.push(block);
            }
        }
        self.len += 1;
        (self.len - 1) as Id
    }

    pub(super) fn get(&self, id: Id) -> Option<&Node> {
        self.blocks.get(id as usize / BLOCK)?.get(id as usize % BLOCK)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Node> {
        self.blocks.get_mut(id as usize / BLOCK)?.get_mut(id as usize % BLOCK)
    }
}
