//! The operations of pickles on objects and containers: calls, which are only recorded, states and items.

use std::sync::Arc;

use super::graph::{Id, Node};
use super::pickle::Machine;
use super::{joblib, numpy, opcode as op};

/// Bytes of an item of a list, and of a pair of a dict, with what growing takes.
const ITEM_BYTES: usize = 12;
const PAIR_BYTES: usize = 3 * size_of::<(Id, Id)>();

impl Machine<'_, '_> {
    pub(super) fn append(&mut self, items: &[Id]) -> Result<(), String> {
        let id = self.top()?;
        self.graph.spend(items.len() * ITEM_BYTES)?;
        match self.graph.nodes.get_mut(id) {
            Some(Node::List(list)) => list.extend_from_slice(items),
            // list-like objects (deques, list subclasses) contain nothing that this reader needs
            Some(Node::Object(_)) => {}
            _ => return Err("append to something that is not a list".into()),
        }
        Ok(())
    }

    pub(super) fn set_items(&mut self, id: Id, items: &[Id]) -> Result<(), String> {
        self.graph.spend(items.len().div_ceil(2) * PAIR_BYTES)?;
        let mut pairs = Vec::with_capacity(items.len() / 2);
        for pair in items.chunks_exact(2) {
            // numbers are the names that they have as text
            let name = match self.node(pair[0]) {
                Node::Int(i) => Some(i.to_string()),
                _ => None,
            };
            let key = name.map_or(Ok(pair[0]), |name| self.graph.push(Node::Str(name.into())))?;
            pairs.push((key, pair[1]));
        }
        // a dict-like object keeps its items as state
        let target = match self.node(id) {
            Node::Object(object) => match object.state {
                Some(state) => state,
                None => {
                    let made = self.graph.push(Node::Dict(Box::default()))?;
                    if let Some(Node::Object(object)) = self.graph.nodes.get_mut(id) {
                        object.state = Some(made);
                    }
                    made
                }
            },
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
                self.call(class, args)
            }
            op::NEWOBJ_EX => {
                let (_, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(class, args)
            }
            _ => {
                let state = self.pop()?;
                let object = self.top()?;
                self.build(object, state)
            }
        }
    }

    /// Pushes what a call gives. Numbers and bytes are put where the arguments were, which nothing else needs: vocabularies
    /// have hundreds of thousands.
    fn call(&mut self, class: Id, args: Id) -> Result<(), String> {
        let node = self.called(class, args)?;
        let place = match node {
            Node::Int(_) | Node::Float(_) | Node::Bool(_) => 1,
            Node::Bytes(_) => 0,
            _ => return self.push(node),
        };
        let part = match self.node(args) {
            // (type, bytes) or (text, encoding)
            Node::List(parts) if parts.len() == 2 => parts.get(place).copied(),
            _ => None,
        };
        // Python has a byte string or a text of one character once, for all
        let own = |id: &Id| match self.node(*id) {
            Node::Bytes(bytes) if place == 1 => bytes.len() > 1,
            Node::Str(text) if place == 0 => text.chars().nth(1).is_some(),
            _ => false,
        };
        if let Some(part) = part.filter(own) {
            self.graph.release(part);
        }
        self.graph.release(args);
        self.graph.put(args, node)?;
        self.hold(args)
    }

    /// Records a call; calls of numpy's reconstruction functions become the values that they return.
    fn called(&mut self, class: Id, args: Id) -> Result<Node, String> {
        let name: Arc<str> = match self.node(class) {
            Node::Global(name) => name.clone(),
            // calling the result of a call: still only a record
            Node::Object(object) => object.class.clone(),
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
            return Ok(Node::object(inner.clone(), None, None));
        }
        Ok(Node::object(name, Some(args), None))
    }

    fn build(&mut self, object: Id, given: Id) -> Result<(), String> {
        let Node::Object(of) = self.node(object) else {
            return Err("state for something that is not an object".into());
        };
        let class = of.class.clone();
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
        } else if let Some(Node::Object(object)) = self.graph.nodes.get_mut(object) {
            object.state = Some(given);
        }
        Ok(())
    }

    fn replace(&mut self, id: Id, with: Node) {
        if let Some(node) = self.graph.nodes.get_mut(id) {
            *node = with;
        }
    }
}
