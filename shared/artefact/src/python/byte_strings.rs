//! Bytes and bytearrays.

use super::graph::Node;
use super::view::View;
use crate::Fault;

impl<'g> View<'g> {
    /// The content of bytes or of a bytearray.
    pub fn bytes(&self) -> Result<&'g [u8], Fault> {
        let inner = match self.node() {
            Node::Object(object) if &*object.class == "builtins.bytearray" && object.args.is_some() => {
                match object.args.and_then(|args| self.referred(args)) {
                    Some(Node::List(items)) => items.first().and_then(|id| self.referred(*id)),
                    _ => None,
                }
            }
            node => Some(node),
        };
        match inner {
            Some(Node::Bytes(bytes)) => {
                self.spend(bytes.len() / 8)?;
                Ok(bytes)
            }
            _ => Err(self.fault(format!("is {}, not bytes", self.kind()))),
        }
    }
}
