//! The content of a Python artefact as an arena of inert nodes.
//!
//! Nodes refer to each other by index, so shared and even cyclic structures cost nothing and cannot recurse;
//! consumers walk attribute paths whose length they choose.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;

use super::arena::Arena;
use super::array::Array;
use super::view::View;
use crate::{Allowance, OverBudget};

/// Index of a node.
pub(super) type Id = u32;

/// Largest number of nodes in one artefact; a forest of 1000 trees has about 50,000.
const MAX_NODES: usize = 4_000_000;

/// Number of elements and attributes that one compilation may read, independent of the file's size. Artefacts refer to
/// shared objects, so a small file could otherwise describe a huge model.
const EFFORT_BASE: usize = 1 << 24;
/// Number of further elements and attributes allowed per byte of the file.
const EFFORT_RATIO: usize = 256;
/// Upper limit of elements and attributes for any file.
const MAX_EFFORT: usize = 1 << 27;
/// Bytes of a shared text or byte string besides its content.
pub(super) const SHARED_BYTES: usize = 32;
/// Integers from 0 up to here are one node each, however often they occur.
const SMALL: usize = 256;
/// One value. Classes and functions are represented by their names only.
#[derive(Debug, Clone, Default)]
pub(super) enum Node {
    #[default]
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    /// A part of the file, or of what was inflated; not a copy.
    Bytes(Bytes),
    List(Vec<Id>),
    Dict(Vec<(Arc<str>, Id)>),
    Object {
        class: Arc<str>,
        args: Option<Id>,
        state: Option<Id>,
    },
    Global(Arc<str>),
    Array(Box<Array>),
}

impl Node {
    /// Bytes that this node holds besides itself. What it shares with another node is counted for both.
    fn content_bytes(&self) -> usize {
        match self {
            Self::Str(text) | Self::Global(text) => SHARED_BYTES + text.len(),
            Self::Bytes(bytes) => SHARED_BYTES + bytes.len(),
            Self::List(items) => items.capacity() * size_of::<Id>(),
            Self::Dict(pairs) => pairs.capacity() * size_of::<(Arc<str>, Id)>(),
            Self::Array(array) => size_of::<Array>() + array.shape.len() * size_of::<usize>(),
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Object { .. } => 0,
        }
    }
}

/// All nodes of an artefact, and the index of the root.
#[derive(Debug, Default)]
pub struct Graph {
    pub(super) nodes: Arena,
    pub(super) root: Id,
    pub(super) effort: Cell<usize>,
    pub(super) max_effort: usize,
    allowance: Allowance,
    /// Nodes of None, False, True and small integers.
    scalars: Vec<Option<Id>>,
}

impl Graph {
    /// An empty graph for an artefact of `bytes` bytes.
    pub(super) fn of_file(bytes: usize) -> Self {
        let max_effort = bytes.saturating_mul(EFFORT_RATIO).saturating_add(EFFORT_BASE).min(MAX_EFFORT);
        Self { max_effort, allowance: Allowance::of_file(bytes), ..Self::default() }
    }

    /// Adds a node, and accounts for it and for what it holds. Scalars that are frequent are shared: nothing changes them.
    pub(super) fn push(&mut self, node: Node) -> Result<Id, String> {
        let scalar = match &node {
            Node::None => Some(0),
            Node::Bool(value) => Some(1 + usize::from(*value)),
            Node::Int(value) => usize::try_from(*value).ok().filter(|value| *value < SMALL).map(|value| 3 + value),
            _ => None,
        };
        if let Some(known) = scalar.and_then(|scalar| *self.scalars.get(scalar)?) {
            return Ok(known);
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(format!("more than {MAX_NODES} objects"));
        }
        self.spend(size_of::<Node>() + node.content_bytes())?;
        let id = self.nodes.push(node);
        if let Some(scalar) = scalar {
            self.scalars.resize(3 + SMALL, None);
            self.scalars[scalar] = Some(id);
        }
        Ok(id)
    }

    /// A further file of `bytes` bytes belongs to the artefact, and has been copied into it.
    pub(super) fn raise(&mut self, bytes: usize) {
        self.allowance.raise(bytes);
    }

    /// Accounts for `n` bytes that are about to be allocated.
    pub(super) fn spend(&self, n: usize) -> Result<(), OverBudget> {
        self.allowance.spend(n)
    }

    /// The root of the artefact.
    pub fn view(&self) -> View<'_> {
        View::of(self)
    }
}
