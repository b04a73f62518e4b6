//! Arrays as joblib stores them: a wrapper object in the pickle, followed by the raw elements in the file.

use super::array::Array;
use super::graph::{Id, Node};
use super::numpy;
use super::pickle::Machine;

/// Class of the wrapper object.
pub(super) const WRAPPER: &str = "joblib.numpy_pickle.NumpyArrayWrapper";

/// Reads the elements that follow a wrapper with this state.
pub(super) fn array(machine: &mut Machine<'_, '_>, state: Id) -> Result<Node, String> {
    let Node::Dict(pairs) = machine.node(state) else { return Err("array wrapper has no attributes".into()) };
    if pairs.len() > 32 {
        return Err("array wrapper has too many attributes".into());
    }
    let pairs = pairs.clone();
    let named: Vec<(String, Id)> = pairs.iter().map(|(k, id)| (machine.node(*k).key().to_owned(), *id)).collect();
    let find = |name: &str| named.iter().find(|(k, _)| k == name).map(|(_, id)| *id);
    let attr = |name: &str| find(name).ok_or_else(|| format!("array wrapper has no {name}"));
    let shape = numpy::shape(machine.graph, machine.node(attr("shape")?))?;
    let fortran = matches!(machine.node(attr("order")?), Node::Str(order) if &**order == "F");
    let dtype = numpy::dtype(machine.graph, machine.node(attr("dtype")?), false)?;
    let Some(dtype) = dtype else {
        // an array of objects is a separate plain pickle
        let inner = machine.nested()?;
        return match machine.graph.nodes.get_mut(inner) {
            Some(Node::List(items)) => Ok(Node::List(std::mem::take(items))),
            _ => Err("array of objects is not a list".into()),
        };
    };
    let aligned = find("numpy_array_alignment_bytes").is_some_and(|id| !matches!(machine.node(id), Node::None));
    if aligned {
        let padding = machine.take(1)?[0];
        machine.take(usize::from(padding))?;
    }
    let count = shape.iter().try_fold(dtype.size(), |n, d| n.checked_mul(*d)).ok_or("ends early")?;
    let data = machine.take(count)?;
    let data = machine.shared(data);
    Array::new(dtype, shape, fortran, data).map(|array| Node::Array(Box::new(array)))
}
