//! The operations of pickles on objects and containers: calls, which are only recorded, states and items.

use std::sync::Arc;

use super::graph::{Id, Node};
use super::pickle::Machine;
use super::{joblib, numpy, opcode as op};

/// Bytes of an item of a list, and of a pair of a dict, with what growing takes; a pair may have a key of its own.
const ITEM_BYTES: usize = 12;
const PAIR_BYTES: usize = 120;

impl Machine<'_, '_> {
    pub(super) fn append(&mut self, items: &[Id]) -> Result<(), String> {
        let id = self.top()?;
        self.graph.spend(items.len() * ITEM_BYTES)?;
        match self.graph.nodes.get_mut(id) {
            Some(Node::List(list)) => list.extend_from_slice(items),
            // list-like objects (deques, list subclasses) contain nothing that this reader needs
            Some(Node::Object { .. }) => {}
            _ => return Err("append to something that is not a list".into()),
        }
        Ok(())
    }

    pub(super) fn set_items(&mut self, id: Id, items: &[Id]) -> Result<(), String> {
        let label = |key: &Node| -> Arc<str> {
            match key {
                Node::Str(text) | Node::Global(text) => text.clone(),
                Node::Int(i) => i.to_string().into(),
                _ => "".into(),
            }
        };
        self.graph.spend(items.len().div_ceil(2) * PAIR_BYTES)?;
        let pairs: Vec<(Arc<str>, Id)> = items.chunks_exact(2).map(|p| (label(self.node(p[0])), p[1])).collect();
        // a dict-like object keeps its items as state
        let target = match *self.node(id) {
            Node::Object { state: Some(state), .. } => state,
            Node::Object { state: None, .. } => {
                let made = self.graph.push(Node::Dict(Vec::new()))?;
                if let Some(Node::Object { state, .. }) = self.graph.nodes.get_mut(id) {
                    *state = Some(made);
                }
                made
            }
            _ => id,
        };
        match self.graph.nodes.get_mut(target) {
            Some(Node::Dict(dict)) => dict.extend(pairs),
            _ => return Err("items set on something that is not a dict".into()),
        }
        Ok(())
    }

    pub(super) fn object(&mut self, code: u8) -> Result<(), String> {
        match code {
            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Node::Global(format!("{module}.{name}").into()))
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Str(module), Node::Str(name)) = (self.node(module), self.node(name)) else {
                    return Err("class name is not text".into());
                };
                let global: Arc<str> = format!("{module}.{name}").into();
                self.push(Node::Global(global))
            }
            op::REDUCE | op::NEWOBJ => {
                let (args, class) = (self.pop()?, self.pop()?);
                let node = self.called(class, args)?;
                self.push(node)
            }
            op::NEWOBJ_EX => {
                let (_, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                let node = self.called(class, args)?;
                self.push(node)
            }
            _ => {
                let state = self.pop()?;
                let object = self.top()?;
                self.build(object, state)
            }
        }
    }

    /// Records a call; calls of numpy's reconstruction functions become the values that they return.
    fn called(&mut self, class: Id, args: Id) -> Result<Node, String> {
        let name: Arc<str> = match self.node(class) {
            Node::Global(name) => name.clone(),
            // calling the result of a call: still only a record
            Node::Object { class, .. } => class.clone(),
            _ => return Err("call of something that is not a name".into()),
        };
        if let Some(node) = numpy::called(self.graph, &name, args)? {
            return Ok(node);
        }
        let made_of = |id: Id| match self.node(id) {
            Node::List(items) => items.first().copied(),
            _ => None,
        };
        // the class is among the arguments
        if (&*name == "copyreg._reconstructor" || &*name == "copyreg.__newobj__")
            && let Some(Node::Global(inner)) = made_of(args).map(|id| self.node(id))
        {
            return Ok(Node::Object { class: inner.clone(), args: None, state: None });
        }
        Ok(Node::Object { class: name, args: Some(args), state: None })
    }

    fn build(&mut self, object: Id, given: Id) -> Result<(), String> {
        let Node::Object { class, .. } = self.node(object) else {
            return Err("state for something that is not an object".into());
        };
        let class = class.clone();
        if let Some(array) = numpy::built(self.graph, &class, given)? {
            self.replace(object, array);
            return Ok(());
        }
        // (attributes, slots): the attributes are used
        let given = match self.node(given) {
            Node::List(pair) if pair.len() == 2 && matches!(self.node(pair[0]), Node::Dict(_)) => pair[0],
            _ => given,
        };
        if &*class == joblib::WRAPPER {
            let array = joblib::array(self, given)?;
            self.replace(object, array);
        } else if let Some(Node::Object { state, .. }) = self.graph.nodes.get_mut(object) {
            *state = Some(given);
        }
        Ok(())
    }

    fn replace(&mut self, id: Id, with: Node) {
        if let Some(node) = self.graph.nodes.get_mut(id) {
            *node = with;
        }
    }
}
