//! Pickles, protocols 2 to 5, as inert data. A class or function is a name, a call is a record of it; nothing is
//! imported or executed, whatever the file says. Everything that an opcode allocates is accounted for before.

use std::sync::Arc;

use bytes::Bytes;

use super::graph::{Graph, Id, Node};
use super::memo::Memo;
use super::opcode as op;
use crate::Fault;

/// Number of stack entries that are accounted for at once.
const HELD: usize = 1024;
/// Bytes of a stack entry, with what growing takes.
const HELD_BYTES: usize = 12;
/// Highest supported protocol.
const MAX_PROTOCOL: u8 = 5;

/// Reads a pickle.
///
/// # Errors
/// A [`Fault`] with the byte offset, for a truncated or malformed pickle and for opcodes that need external data.
pub(crate) fn read(bytes: &Bytes) -> Result<Graph, Fault> {
    let mut graph = Graph::of_file(bytes.len());
    let mut machine = Machine::new(bytes, &mut graph);
    graph.root = machine.run().map_err(|e| Fault::new(format!("byte {}", machine.at), e))?;
    Ok(graph)
}

/// The pickle machine: a stack of node indices, marks into it, a memo.
pub(super) struct Machine<'b, 'g> {
    bytes: &'b Bytes,
    pub(super) at: usize,
    pub(super) graph: &'g mut Graph,
    stack: Vec<Id>,
    marks: Vec<usize>,
    /// The number of stack entries and marks that are accounted for.
    held: usize,
    memo: Memo,
    /// Number of enclosing pickles: joblib puts arrays of objects into separate pickles.
    depth: usize,
}

impl<'b, 'g> Machine<'b, 'g> {
    /// Starts at the beginning of `bytes`.
    fn new(bytes: &'b Bytes, graph: &'g mut Graph) -> Self {
        Self { bytes, at: 0, graph, stack: Vec::new(), marks: Vec::new(), held: 0, memo: Memo::default(), depth: 0 }
    }

    /// Runs a complete pickle that is nested at the current position, with a separate stack and memo.
    pub(super) fn nested(&mut self) -> Result<Id, String> {
        if self.depth > 0 {
            return Err("pickles are nested too deep".into());
        }
        let mut inner = Machine::new(self.bytes, self.graph);
        (inner.at, inner.depth) = (self.at, self.depth + 1);
        let root = inner.run()?;
        let (at, taken) = (inner.at, inner.held * HELD_BYTES + inner.memo.bytes);
        drop(inner);
        self.graph.allowance().give_back(taken);
        self.at = at;
        Ok(root)
    }

    /// Runs until STOP and returns the node on top of the stack.
    pub(super) fn run(&mut self) -> Result<Id, String> {
        loop {
            let code = self.take(1)?[0];
            match code {
                op::STOP => return self.pop(),
                op::PROTO => {
                    let version = self.take(1)?[0];
                    if version > MAX_PROTOCOL {
                        return Err(format!("protocol {version} is not supported"));
                    }
                }
                op::FRAME => {
                    self.take(8)?;
                }
                op::READONLY_BUFFER => {}
                op::FLOAT..=op::NONE | op::NEWTRUE..=op::LONG4 => self.scalar(code)?,
                op::BINSTRING..=op::BINUNICODE
                | op::BINBYTES
                | op::SHORT_BINBYTES
                | op::SHORT_BINUNICODE..=op::BINBYTES8
                | op::BYTEARRAY8 => self.text(code)?,
                op::GET..=op::BINGET | op::LONG_BINGET | op::PUT..=op::LONG_BINPUT | op::MEMOIZE => self.memo(code)?,
                op::REDUCE | op::BUILD | op::GLOBAL | op::NEWOBJ | op::NEWOBJ_EX | op::STACK_GLOBAL => {
                    self.object(code)?;
                }
                _ => self.container(code)?,
            }
        }
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: usize) -> Result<&'b [u8], String> {
        let end = self.at.checked_add(n).filter(|e| *e <= self.bytes.len());
        let taken = &self.bytes[self.at..end.ok_or("ends early")?];
        self.at += n;
        Ok(taken)
    }

    pub(super) fn shared(&self, taken: &'b [u8]) -> Bytes {
        self.bytes.slice_ref(taken)
    }

    fn unsigned(&mut self, n: usize) -> Result<u64, String> {
        Ok(self.take(n)?.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b)))
    }

    fn counted(&mut self, n: usize) -> Result<&'b [u8], String> {
        let length = self.unsigned(n)?;
        self.take(usize::try_from(length).map_err(|_| "ends early")?)
    }

    pub(super) fn line(&mut self) -> Result<&'b str, String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n').ok_or("line is not closed")?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|e| e.to_string())
    }

    pub(super) fn push(&mut self, node: Node) -> Result<(), String> {
        let id = self.graph.push(node)?;
        self.hold(id)
    }

    /// Pushes a reference to a node.
    pub(super) fn hold(&mut self, id: Id) -> Result<(), String> {
        self.account(self.stack.len() + 2 * self.marks.len())?;
        self.stack.push(id);
        Ok(())
    }

    /// Accounts for the stack and the marks, in blocks, where they get higher than before.
    fn account(&mut self, height: usize) -> Result<(), String> {
        if height >= self.held {
            self.graph.spend(HELD * HELD_BYTES)?;
            self.held += HELD;
        }
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Result<Id, String> {
        // nothing below an open mark may be popped
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("stack is empty".into());
        }
        self.stack.pop().ok_or_else(|| "stack is empty".into())
    }

    pub(super) fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "stack is empty".into())
    }

    pub(super) fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("no mark")?;
        Ok(self.stack.split_off(mark))
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        self.graph.nodes.get(id).unwrap_or(&Node::None)
    }

    fn scalar(&mut self, code: u8) -> Result<(), String> {
        let node = match code {
            op::NONE => Node::None,
            op::NEWTRUE => Node::Bool(true),
            op::NEWFALSE => Node::Bool(false),
            op::BININT => Node::Int(i64::from(self.unsigned(4)? as u32 as i32)),
            op::BININT1 => Node::Int(self.unsigned(1)? as i64),
            op::BININT2 => Node::Int(self.unsigned(2)? as i64),
            op::LONG1 => long(self.counted(1)?),
            op::LONG4 => long(self.counted(4)?),
            op::BINFLOAT => {
                let raw: [u8; 8] = self.take(8)?.try_into().map_err(|_| "ends early")?;
                Node::Float(f64::from_be_bytes(raw))
            }
            op::INT => match self.line()? {
                "00" => Node::Bool(false),
                "01" => Node::Bool(true),
                text => Node::Int(text.parse().map_err(|_| "INT is not an integer")?),
            },
            op::LONG => Node::Int(self.line()?.trim_end_matches('L').parse().map_err(|_| "LONG is not an integer")?),
            op::FLOAT => Node::Float(self.line()?.parse().map_err(|_| "FLOAT is not a number")?),
            other => return Err(op::unsupported(other)),
        };
        self.push(node)
    }

    fn text(&mut self, code: u8) -> Result<(), String> {
        let length_bytes = match code {
            op::SHORT_BINUNICODE | op::SHORT_BINSTRING | op::SHORT_BINBYTES => 1,
            op::BINUNICODE | op::BINSTRING | op::BINBYTES => 4,
            op::BINUNICODE8 | op::BINBYTES8 | op::BYTEARRAY8 => 8,
            other => return Err(op::unsupported(other)),
        };
        let bytes = self.counted(length_bytes)?;
        // what the node holds is accounted for with it; characters of Python 2 take up to two bytes
        let node = match code {
            op::SHORT_BINUNICODE | op::BINUNICODE | op::BINUNICODE8 => {
                Node::Str(std::str::from_utf8(bytes).map(Arc::from).map_err(|e| e.to_string())?)
            }
            op::SHORT_BINSTRING | op::BINSTRING => {
                self.graph.spend(2 * bytes.len())?;
                Node::Str(bytes.iter().map(|b| char::from(*b)).collect::<String>().into())
            }
            _ => Node::Bytes(Box::new(self.shared(bytes))),
        };
        self.push(node)
    }

    fn memo(&mut self, code: u8) -> Result<(), String> {
        let key = match code {
            op::GET | op::PUT => self.line()?.parse().map_err(|_| "memo index is not an integer")?,
            op::BINGET | op::BINPUT => self.unsigned(1)?,
            op::LONG_BINGET | op::LONG_BINPUT => self.unsigned(4)?,
            _ => self.memo.len() as u64,
        };
        if matches!(code, op::GET | op::BINGET | op::LONG_BINGET) {
            return self.hold(self.memo.get(key).ok_or("memo has no such entry")?);
        }
        let id = self.top()?;
        self.memo.set(key, id, self.graph)
    }

    fn container(&mut self, code: u8) -> Result<(), String> {
        match code {
            op::MARK => {
                // a mark is as large as two references
                self.account(self.stack.len() + 2 * self.marks.len())?;
                self.marks.push(self.stack.len());
            }
            op::POP => {
                self.pop()?;
            }
            op::POP_MARK => {
                self.since_mark()?;
            }
            op::DUP => {
                let id = self.top()?;
                self.hold(id)?;
            }
            op::EMPTY_TUPLE | op::EMPTY_LIST | op::EMPTY_SET => self.push(Node::List(Vec::new()))?,
            op::EMPTY_DICT => self.push(Node::Dict(Box::default()))?,
            op::TUPLE1..=op::TUPLE3 => {
                let mut items = Vec::with_capacity(usize::from(code - op::TUPLE1) + 1);
                for _ in op::TUPLE1..=code {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Node::List(items))?;
            }
            op::TUPLE | op::LIST | op::FROZENSET => {
                let items = self.since_mark()?;
                self.push(Node::List(items))?;
            }
            op::DICT => {
                let items = self.since_mark()?;
                let id = self.graph.push(Node::Dict(Box::default()))?;
                self.set_items(id, &items)?;
                self.hold(id)?;
            }
            op::APPEND => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            op::APPENDS | op::ADDITEMS => {
                let items = self.since_mark()?;
                self.append(&items)?;
            }
            op::SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(self.top()?, &[key, value])?;
            }
            op::SETITEMS => {
                let items = self.since_mark()?;
                self.set_items(self.top()?, &items)?;
            }
            other => return Err(op::unsupported(other)),
        }
        Ok(())
    }
}

/// A two's complement integer of any length; beyond 64 bits its value is of no use here.
fn long(bytes: &[u8]) -> Node {
    if bytes.len() > 8 {
        return Node::Global("int".into());
    }
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut raw = if negative { [0xff; 8] } else { [0; 8] };
    raw[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(raw))
}
