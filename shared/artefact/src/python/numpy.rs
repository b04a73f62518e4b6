//! Converts numpy's pickled objects to the arrays that they represent.

use super::array::{Array, Dtype, Field};
use super::graph::{Graph, Id, Node};

/// Largest number of fields in a record type.
const MAX_FIELDS: usize = 64;

/// The result of a call of `name`, if it is one of numpy's reconstruction functions or Python's encoding of bytes as
/// latin-1 text.
pub(super) fn called(graph: &mut Graph, name: &str, args: Id) -> Result<Option<Node>, String> {
    if name == "_codecs.encode" {
        return encoded(graph, args);
    }
    let Node::List(args) = node(graph, args) else { return Ok(None) };
    let arg = |i: usize| args.get(i).map(|id| node(graph, *id)).ok_or_else(|| format!("{name} lacks arguments"));
    match name {
        // protocol 2 has no opcode for bytes, and writes the empty ones like this
        "__builtin__.bytes" | "builtins.bytes" | "__builtin__.bytearray" | "builtins.bytearray" => match args.first() {
            None => Ok(Some(Node::Bytes(Box::default()))),
            Some(id) => Ok(matches!(node(graph, *id), Node::Bytes(_)).then(|| node(graph, *id).clone())),
        },
        "numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar" => {
            let Node::Bytes(data) = arg(1)? else { return Ok(None) };
            let dtype = dtype(graph, arg(0)?, false)?.ok_or("scalar of objects")?;
            let array = Array::new(dtype, Vec::new(), false, (**data).clone())?;
            Ok(Some(array.scalar().unwrap_or_else(|| Node::Array(Box::new(array)))))
        }
        "numpy.core.numeric._frombuffer" | "numpy._core.numeric._frombuffer" => {
            let data = match arg(0)? {
                Node::Bytes(data) => (**data).clone(),
                _ => return Err("array without its bytes (out-of-band buffers are not supported)".into()),
            };
            let dtype = dtype(graph, arg(1)?, false)?.ok_or("buffer of objects")?;
            let fortran = matches!(arg(3)?, Node::Str(order) if &**order == "F");
            Array::new(dtype, shape(graph, arg(2)?)?, fortran, data).map(|a| Some(Node::Array(Box::new(a))))
        }
        _ => Ok(None),
    }
}

/// Bytes written as latin-1 text.
fn encoded(graph: &mut Graph, args: Id) -> Result<Option<Node>, String> {
    let Node::List(args) = node(graph, args) else { return Ok(None) };
    let Some(Node::Str(text)) = args.first().map(|id| node(graph, *id)) else { return Ok(None) };
    let text = text.clone();
    graph.spend(text.len())?;
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    Ok(Some(Node::Bytes(Box::new(bytes.ok_or("text is not latin-1")?.into()))))
}

/// The value of an object of `class` once its state is set: an array, or a list for an array of objects.
pub(super) fn built(graph: &mut Graph, class: &str, state: Id) -> Result<Option<Node>, String> {
    if !matches!(class, "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct") {
        return Ok(None);
    }
    let Node::List(parts) = node(graph, state) else { return Err("array state is not a tuple".into()) };
    let &[_, shape_id, dtype_id, fortran, data] = parts.as_slice() else {
        return Err("array state has not five parts".into());
    };
    let shape = shape(graph, node(graph, shape_id))?;
    let fortran = matches!(node(graph, fortran), Node::Bool(true) | Node::Int(1));
    match (dtype(graph, node(graph, dtype_id), false)?, node(graph, data)) {
        (Some(dtype), Node::Bytes(data)) => {
            Array::new(dtype, shape, fortran, (**data).clone()).map(|a| Some(Node::Array(Box::new(a))))
        }
        (None, Node::List(_)) => {
            // moved, not copied: the list is part of the array's state and nothing else reads it
            let list = graph.nodes.get_mut(data).map(std::mem::take);
            let Some(Node::List(items)) = list else { return Err("array without its elements".into()) };
            nested(graph, items, &shape).map(Some)
        }
        _ => Err("array without its elements".into()),
    }
}

/// A flat list of objects as rows, when the array has two axes.
pub(super) fn nested(graph: &mut Graph, items: Vec<Id>, shape: &[usize]) -> Result<Node, String> {
    match *shape {
        [_] => Ok(Node::List(items)),
        [rows, columns] if columns > 0 && rows.checked_mul(columns) == Some(items.len()) => {
            let rows: Result<Vec<Id>, String> =
                items.chunks_exact(columns).map(|row| graph.push(Node::List(row.to_vec()))).collect();
            Ok(Node::List(rows?))
        }
        _ => Err(format!("array of objects has shape {shape:?}")),
    }
}

fn node(graph: &Graph, id: Id) -> &Node {
    graph.nodes.get(id).unwrap_or(&Node::None)
}

fn integer(node: &Node) -> Result<usize, String> {
    match node {
        Node::Int(i) => usize::try_from(*i).map_err(|_| "size is negative".to_owned()),
        _ => Err("size is not an integer".into()),
    }
}

/// A tuple of sizes.
pub(super) fn shape(graph: &Graph, tuple: &Node) -> Result<Vec<usize>, String> {
    match tuple {
        Node::List(axes) if axes.len() <= 32 => axes.iter().map(|id| integer(node(graph, *id))).collect(),
        Node::Int(_) => Ok(vec![integer(tuple)?]),
        _ => Err("shape is not a tuple".into()),
    }
}

/// Element type of a pickled `numpy.dtype`, which may be `nested` in a record; `None` for objects.
pub(super) fn dtype(graph: &Graph, of: &Node, nested: bool) -> Result<Option<Dtype>, String> {
    let Node::Object(of) = of else { return Err("element type is not a dtype".into()) };
    if &*of.class != "numpy.dtype" {
        return Err(format!("element type is {}", of.class));
    }
    let first = of.args.and_then(|a| match node(graph, a) {
        Node::List(items) => items.first().map(|id| node(graph, *id)),
        _ => None,
    });
    let Some(Node::Str(code)) = first else { return Err("dtype has no code".into()) };
    let state: &[Id] = match of.state.map(|s| node(graph, s)) {
        Some(Node::List(parts)) => parts,
        _ => &[],
    };
    let part = |i: usize| state.get(i).map_or(&Node::None, |id| node(graph, *id));
    if matches!(part(1), Node::Str(order) if &**order == ">") {
        return Err("big-endian arrays are not supported".into());
    }
    if code.starts_with('O') {
        return Ok(None);
    }
    let (Node::List(names), Node::Dict(fields)) = (part(3), part(4)) else { return Dtype::parse(code).map(Some) };
    let most = names.len().max(fields.len());
    if most > MAX_FIELDS {
        return Err(format!("{most} fields, at most {MAX_FIELDS}"));
    }
    if nested {
        return Err("records in records are not supported".into());
    }
    graph.spend(names.len() * size_of::<Field>())?;
    let size = integer(part(5))?;
    let mut out = Vec::with_capacity(names.len());
    for name in names {
        let Node::Str(name) = node(graph, *name) else { return Err("field name is not text".into()) };
        let (_, field) = fields.iter().find(|(n, _)| graph.key(*n) == &**name).ok_or("field is not described")?;
        let Node::List(pair) = node(graph, *field) else { return Err("field is not a tuple".into()) };
        let &[of, offset, ..] = pair.as_slice() else { return Err("field is not a (type, offset) tuple".into()) };
        let inner = dtype(graph, node(graph, of), true)?.ok_or("field of objects")?;
        let offset = integer(node(graph, offset))?;
        if offset.checked_add(inner.size()).is_none_or(|end| end > size) {
            return Err(format!("field {name} lies outside its record"));
        }
        out.push(Field { name: name.clone(), dtype: inner, offset });
    }
    Ok(Some(Dtype::Record { fields: out.into(), size }))
}
