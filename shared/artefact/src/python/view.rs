//! A node of an artefact, with the path that led to it, and the values that are read from it. Reading is accounted for.

mod effort;

use super::array::Array;
use super::graph::{Graph, Id, Node, SHARED_BYTES};
use crate::{Fault, Label};

/// Bytes of an item of a list that grows.
const ITEM_BYTES: usize = 12;

/// Longest text that names one of a few things.
const MAX_WORD: usize = 256;

/// A node and the path that led to it, for error messages.
#[derive(Debug, Clone)]
pub struct View<'g> {
    pub(super) graph: &'g Graph,
    id: Id,
    path: String,
}

impl<'g> View<'g> {
    /// The root of `graph`.
    pub(super) fn of(graph: &'g Graph) -> Self {
        Self { graph, id: graph.root, path: String::new() }
    }

    pub(super) fn node(&self) -> &'g Node {
        self.graph.nodes.get(self.id).unwrap_or(&Node::None)
    }

    pub(super) fn at(&self, id: Id, step: &str) -> Self {
        Self { graph: self.graph, id, path: format!("{}{step}", self.path) }
    }

    /// The node that `id` refers to.
    pub(super) fn referred(&self, id: Id) -> Option<&'g Node> {
        self.graph.nodes.get(id)
    }

    /// A fault at this place.
    pub fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault::new(self.path.trim_start_matches('.'), reason)
    }

    /// `module.Class` of an object, `module.name` of a class or function, "" for plain data.
    pub fn class(&self) -> &'g str {
        match self.node() {
            Node::Object(object) => &object.class,
            Node::Global(class) => class,
            _ => "",
        }
    }

    /// Describes this node, for error messages.
    pub fn kind(&self) -> String {
        match self.node() {
            Node::None => "None".into(),
            Node::Bool(_) => "a bool".into(),
            Node::Int(_) | Node::Float(_) => "a number".into(),
            Node::Str(_) => "text".into(),
            Node::List(_) => "a sequence".into(),
            Node::Dict(_) => "a dict".into(),
            Node::Array(a) => format!("an array of shape {:?}", a.shape),
            Node::Bytes(_) => "bytes".into(),
            Node::Object(_) | Node::Global(_) => self.class().to_owned(),
        }
    }

    /// True for `None`.
    pub fn is_none(&self) -> bool {
        matches!(self.node(), Node::None)
    }

    /// Attribute of an object or value of a dict; `None` when absent or Python's `None`.
    pub fn opt(&self, name: &str) -> Option<Self> {
        let id = match self.node() {
            Node::Object(object) => object.state?,
            _ => self.id,
        };
        let Some(Node::Dict(pairs)) = self.graph.nodes.get(id) else { return None };
        self.search(pairs.len());
        // the last one wins, as in Python
        let (_, value) = pairs.iter().rev().find(|(k, _)| self.graph.key(*k) == name)?;
        let view = self.at(*value, &format!(".{name}"));
        (!view.is_none()).then_some(view)
    }

    /// A required attribute.
    pub fn attr(&self, name: &str) -> Result<Self, Fault> {
        self.spend(1)?;
        self.opt(name).ok_or_else(|| self.fault(format!("{} has no {name}", self.kind())))
    }

    /// The number of entries of a dict; 0 of anything else.
    pub fn entry_count(&self) -> usize {
        if let Node::Dict(pairs) = self.node() { pairs.len() } else { 0 }
    }

    /// Calls a function with the keys and values of a dict of numbers, in order; keys that are not text are empty.
    pub fn each_number(&self, mut f: impl FnMut(&'g str, f64) -> Result<(), String>) -> Result<(), Fault> {
        let Node::Dict(pairs) = self.node() else { return Err(self.fault(format!("is {}, not a dict", self.kind()))) };
        self.spend(pairs.len())?;
        for (key, value) in pairs.iter() {
            let key = self.graph.key(*key);
            // the path, which errors alone need, would be a copy of each key
            let at = || self.at(*value, &format!(".{key}"));
            let number = self.at(*value, "").number().map_err(|fault| at().fault(fault.reason))?;
            f(key, number).map_err(|e| at().fault(e))?;
        }
        Ok(())
    }

    /// Items of a list, a tuple or a named tuple.
    pub fn items(&self) -> Result<Vec<Self>, Fault> {
        match self.node() {
            // a named tuple: the class and its items; a call of a call has none, so that nothing recurses
            Node::Object(object)
                if object.state.is_none()
                    && matches!(object.args.and_then(|args| self.graph.nodes.get(args)), Some(Node::List(_))) =>
            {
                self.at(object.args.unwrap_or_default(), "").items()
            }
            Node::List(ids) => {
                self.spend(ids.len())?;
                self.allocate(ids.len().saturating_mul(size_of::<Self>() + self.path.len() + SHARED_BYTES))?;
                Ok(ids.iter().enumerate().map(|(i, id)| self.at(*id, &format!("[{i}]"))).collect())
            }
            _ => Err(self.fault(format!("is {}, not a sequence", self.kind()))),
        }
    }

    /// An array.
    pub fn array(&self) -> Result<&'g Array, Fault> {
        match self.node() {
            Node::Array(a) => {
                self.spend(a.bytes() / 8)?;
                self.allocate(a.read_bytes())?;
                Ok(a)
            }
            _ => Err(self.fault(format!("is {}, not an array", self.kind()))),
        }
    }

    /// Whether this is an array of numbers in single precision.
    pub fn is_single(&self) -> bool {
        matches!(self.node(), Node::Array(array) if array.is_single())
    }

    /// Text.
    pub fn text(&self) -> Result<&'g str, Fault> {
        match self.node() {
            Node::Str(s) => {
                self.spend(s.len())?;
                Ok(s)
            }
            _ => Err(self.fault(format!("is {}, not text", self.kind()))),
        }
    }

    /// Text that names one of a few things: errors quote it.
    pub fn word(&self) -> Result<&'g str, Fault> {
        let text = self.text()?;
        if text.len() > MAX_WORD {
            return Err(self.fault(format!("is a text of {} bytes", text.len())));
        }
        Ok(text)
    }

    /// True or False, also as a numpy scalar or number.
    pub fn flag(&self) -> Result<bool, Fault> {
        match self.node() {
            Node::Bool(b) => Ok(*b),
            _ => self.number().map(|n| n != 0.0),
        }
    }

    /// A number, also as a numpy scalar.
    pub fn number(&self) -> Result<f64, Fault> {
        match self.node() {
            Node::Int(i) => Ok(*i as f64),
            Node::Float(f) => Ok(*f),
            Node::Bool(b) => Ok(f64::from(u8::from(*b))),
            Node::Array(a) if a.len() == 1 => {
                a.numbers().map_err(|e| self.fault(e))?.first().copied().ok_or_else(|| self.fault("is empty"))
            }
            _ => Err(self.fault(format!("is {}, not a number", self.kind()))),
        }
    }

    /// A count or index: an integer of at most `max`.
    pub fn count(&self, max: usize) -> Result<usize, Fault> {
        let n = self.number()?;
        if n.fract() == 0.0 && n >= 0.0 && n <= max as f64 {
            return Ok(n as usize);
        }
        Err(self.fault(format!("is {n}, expected an integer from 0 to {max}")))
    }

    /// Numbers of an array or a list, in C order.
    pub fn numbers(&self) -> Result<Vec<f64>, Fault> {
        match self.node() {
            Node::Array(_) => self.array()?.numbers().map_err(|e| self.fault(e)),
            Node::List(ids) => {
                self.spend(ids.len())?;
                self.allocate(ids.len().saturating_mul(8))?;
                let mut out = Vec::with_capacity(ids.len());
                for item in self.each(ids) {
                    match item.node() {
                        Node::Array(a) => {
                            self.allocate(a.len().saturating_mul(2 * ITEM_BYTES))?;
                            out.extend(item.numbers()?);
                        }
                        _ => out.push(item.number()?),
                    }
                }
                Ok(out)
            }
            _ => self.number().map(|n| vec![n]),
        }
    }

    /// Numbers of an array or a list, all of which must be finite.
    pub fn finite(&self) -> Result<Vec<f64>, Fault> {
        let values = self.numbers()?;
        match values.iter().position(|v| !v.is_finite()) {
            Some(i) => Err(self.fault(format!("value {i} is {}, not finite", values[i]))),
            None => Ok(values),
        }
    }

    /// Exactly `n` finite numbers.
    pub fn vector(&self, n: usize) -> Result<Vec<f64>, Fault> {
        let values = self.finite()?;
        if values.len() == n {
            return Ok(values);
        }
        Err(self.fault(format!("has {} values, expected {n}", values.len())))
    }

    /// Names or labels of an array or list, as text.
    pub fn texts(&self) -> Result<Vec<String>, Fault> {
        if let Node::Array(array) = self.node() {
            self.allocate(array.text_bytes())?;
            return self.array()?.texts().map_err(|e| self.fault(e));
        }
        self.each_item(size_of::<String>(), |item| {
            let label = item.label()?;
            self.allocate(SHARED_BYTES + label.len())?;
            Ok(label)
        })
    }

    /// What a function makes of every item of a list, each of which takes `bytes` bytes besides what the function accounts
    /// for.
    pub(super) fn each_item<T>(
        &self,
        bytes: usize,
        mut f: impl FnMut(&Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let Node::List(ids) = self.node() else { return self.items()?.iter().map(f).collect() };
        self.spend(ids.len())?;
        self.allocate(ids.len().saturating_mul(bytes))?;
        let mut out = Vec::with_capacity(ids.len());
        for item in self.each(ids) {
            out.push(f(&item)?);
        }
        Ok(out)
    }

    /// The element of an array that has one, as a label.
    pub(super) fn element(&self, array: &Array) -> Result<Label, Fault> {
        self.allocate(array.read_bytes() + array.label_bytes())?;
        array.labels().map_err(|e| self.fault(e))?.pop().ok_or_else(|| self.fault("is empty"))
    }

    /// The items of this list one after the other.
    fn each<'v>(&'v self, ids: &'v [Id]) -> impl Iterator<Item = Self> + 'v {
        ids.iter().enumerate().map(|(i, id)| self.at(*id, &format!("[{i}]")))
    }

    /// One value as text.
    pub fn label(&self) -> Result<String, Fault> {
        Ok(match self.node() {
            Node::Str(_) => self.text()?.to_owned(),
            Node::Bool(b) => if *b { "True" } else { "False" }.to_owned(),
            Node::Int(i) => i.to_string(),
            Node::Float(f) => format!("{f:?}"),
            Node::Array(a) if a.len() == 1 => {
                self.allocate(a.read_bytes())?;
                a.texts().map_err(|e| self.fault(e))?.pop().ok_or_else(|| self.fault("is empty"))?
            }
            _ => return Err(self.fault(format!("is {}, not a label", self.kind()))),
        })
    }
}
