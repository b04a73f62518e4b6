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
use crate::sklearn::Estimators;
use crate::{Allowance, OverBudget};

/// Index of a node.
pub(super) type Id = u32;

/// Largest number of nodes in one artefact; a forest of 1000 trees has about 50,000.
const MAX_NODES: usize = 4_000_000;

/// Longest name of a class or function.
const MAX_NAME: usize = 1024;

/// Number of elements and attributes that one compilation may read, independent of the file's size. Artefacts refer to
/// shared objects, so a small file could otherwise describe a huge model.
const EFFORT_BASE: usize = 1 << 24;
/// Number of further elements and attributes allowed per byte of the file.
const EFFORT_RATIO: usize = 256;
/// Upper limit of elements and attributes for any file.
const MAX_EFFORT: usize = 1 << 27;
/// Bytes of a shared text or byte string besides its content.
pub(super) const SHARED_BYTES: usize = 32;
/// Bytes of an allocation besides its content.
const BOX_BYTES: usize = 8;
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
    Bytes(Box<Bytes>),
    List(Vec<Id>),
    /// Keys and values; keys that are not text have no name.
    #[expect(clippy::box_collection, reason = "a dict is rarer than the nodes that it would make larger")]
    Dict(Box<Vec<(Id, Id)>>),
    Object(Box<Object>),
    Global(Arc<str>),
    Array(Box<Array>),
}

/// An instance of a class: what a call was given, and the state that was set.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub class: Arc<str>,
    pub args: Option<Id>,
    pub state: Option<Id>,
}

// artefacts have millions of them, so that what is rare and large is boxed
const _: () = assert!(size_of::<Node>() <= 24);

impl Node {
    pub(super) fn object(class: Arc<str>, args: Option<Id>, state: Option<Id>) -> Self {
        Self::Object(Box::new(Object { class, args, state }))
    }

    /// The name that a node is as the key of a dict.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Str(text) | Self::Global(text) => text,
            _ => "",
        }
    }

    /// Bytes that this node holds besides itself. What it shares with another node is counted for both.
    fn content_bytes(&self) -> usize {
        match self {
            Self::Str(text) | Self::Global(text) => SHARED_BYTES + text.len(),
            // a part of the file, which is not counted here
            Self::Bytes(_) => BOX_BYTES + size_of::<Bytes>(),
            // an allocation takes at least this much
            Self::List(items) if items.capacity() > 0 => BOX_BYTES + (items.capacity() * size_of::<Id>()).max(24),
            Self::List(_) => 0,
            Self::Dict(pairs) => BOX_BYTES + size_of::<Vec<(Id, Id)>>() + pairs.capacity() * size_of::<(Id, Id)>(),
            Self::Object(_) => BOX_BYTES + size_of::<Object>(),
            Self::Array(array) => size_of::<Array>() + array.shape.len() * size_of::<usize>(),
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
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
    /// What reads estimators inside steps.
    pub(super) estimators: Option<&'static dyn Estimators>,
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
        // names of classes are searched and compared often
        if let Node::Global(name) = &node
            && name.len() > MAX_NAME
        {
            return Err(format!("name of a class of {} bytes", name.len()));
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

    /// Takes the node out, and gives back what it held: nothing was allocated since it was accounted for.
    pub(super) fn release(&mut self, id: Id) {
        if let Some(node) = self.nodes.get_mut(id) {
            let node = std::mem::take(node);
            self.allowance.give_back(node.content_bytes());
        }
    }

    /// Puts a node where one was released, and accounts for what it holds.
    pub(super) fn put(&mut self, id: Id, node: Node) -> Result<(), String> {
        self.spend(node.content_bytes())?;
        if let Some(to) = self.nodes.get_mut(id) {
            *to = node;
        }
        Ok(())
    }

    /// A further file of `bytes` bytes belongs to the artefact, and has been copied into it.
    pub(super) fn raise(&mut self, bytes: usize) {
        self.allowance.raise(bytes);
    }

    /// What reading the artefact may still allocate.
    pub(super) fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Accounts for `n` bytes that are about to be allocated.
    pub(super) fn spend(&self, n: usize) -> Result<(), OverBudget> {
        self.allowance.spend(n)
    }

    /// The name that a node is as the key of a dict.
    pub(super) fn key(&self, id: Id) -> &str {
        self.nodes.get(id).map_or("", Node::key)
    }

    /// The graph, in which `estimators` read those inside steps.
    #[must_use]
    pub fn with_estimators(mut self, estimators: &'static dyn Estimators) -> Self {
        self.estimators = Some(estimators);
        self
    }

    /// The root of the artefact.
    pub fn view(&self) -> View<'_> {
        View::of(self)
    }
}
