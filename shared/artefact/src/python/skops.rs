//! skops files: a zip with `schema.json`, a tree of typed nodes, and one npy file per array.
//!
//! The schema is parsed directly into the arena; arrays are inflated when a node refers to them. The size of the file
//! limits the number of inflated bytes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::graph::{Graph, Id, Node};
use super::zip_entries::Files;
use crate::{Fault, LoadBudget};

/// Supported versions of the schema, which have the same layout.
const PROTOCOLS: std::ops::RangeInclusive<i64> = 0..=2;
/// Bytes of a pair of a dict besides its key and its value, with what growing takes.
const PAIR_BYTES: usize = 3 * size_of::<(Id, Id)>();
/// Largest number of bytes of the schema; a tree needs about 22 KiB, a term of a vocabulary 600 bytes.
const SCHEMA_MAX: u64 = 1 << 30;

/// The attributes of a sparse matrix, and the files that hold them.
const ARRAYS_OF_SPARSE: &[(&str, &str)] =
    &[("indptr", "indptr.npy"), ("indices", "indices.npy"), ("data", "data.npy"), ("_shape", "shape.npy")];

/// Reads a skops file.
///
/// # Errors
/// A [`Fault`] for a broken zip, a schema that is not a skops schema, missing or malformed arrays, or a file that
/// exceeds the limit of inflated bytes.
pub(crate) fn read(bytes: &Bytes, budget: &LoadBudget) -> Result<Graph, Fault> {
    let mut files = Files::open(bytes, budget).map_err(|e| Fault::new("", e))?;
    let schema = files.inflate("schema.json", SCHEMA_MAX).map_err(|e| Fault::new("schema.json", e))?;
    let mut loader = Loader { graph: Graph::of_file(schema.len()), ids: HashMap::new(), files, protocol: None };
    let mut json = serde_json::Deserializer::from_slice(&schema);
    let part = PartSeed(&mut loader).deserialize(&mut json).map_err(|e| Fault::new("schema.json", e.to_string()))?;
    json.end().map_err(|e| Fault::new("schema.json", e.to_string()))?;
    let Part::Node(root) = part else { return Err(Fault::new("schema.json", "root is not an object")) };
    match loader.protocol {
        Some(protocol) if PROTOCOLS.contains(&protocol) => {}
        Some(protocol) => return Err(Fault::new("schema.json", format!("protocol {protocol} is not supported"))),
        None => return Err(Fault::new("schema.json", "names no protocol")),
    }
    loader.graph.root = root;
    Ok(loader.graph)
}

struct Loader<'b> {
    graph: Graph,
    ids: HashMap<i64, Id>,
    files: Files<'b>,
    protocol: Option<i64>,
}

/// A piece of JSON: plain data, or something already in the arena.
enum Part {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Id>),
    Node(Id),
}

/// The keys of a JSON object that may be a skops node.
#[derive(Default)]
struct Raw {
    class: Option<String>,
    module: Option<String>,
    loader: Option<String>,
    content: Option<Part>,
    file: Option<String>,
    id: Option<i64>,
    /// Names and values.
    children: Vec<(Id, Id)>,
}

impl Loader<'_> {
    fn node_of(&mut self, part: Part) -> Result<Id, String> {
        let node = match part {
            Part::Node(id) => return Ok(id),
            Part::Null => Node::None,
            Part::Bool(b) => Node::Bool(b),
            Part::Int(i) => Node::Int(i),
            Part::Float(f) => Node::Float(f),
            Part::Str(s) => Node::Str(s.into()),
            Part::List(ids) => Node::List(ids),
        };
        self.graph.push(node)
    }

    /// Converts a JSON object to a node: a typed one when it names a loader, otherwise a dict.
    fn finish(&mut self, raw: Raw) -> Result<Id, String> {
        let Some(loader) = raw.loader.as_deref() else {
            return self.graph.push(Node::Dict(Box::new(raw.children)));
        };
        let class: Arc<str> = match (&raw.module, &raw.class) {
            (Some(module), Some(class)) => format!("{module}.{class}").into(),
            _ => "".into(),
        };
        let id = match loader {
            "CachedNode" => {
                let known = raw.id.and_then(|id| self.ids.get(&id).copied());
                return known.ok_or_else(|| "CachedNode refers to nothing".to_owned());
            }
            "JsonNode" => match raw.content {
                Some(Part::Str(text)) => self.graph.push(json_scalar(&text)?)?,
                _ => return Err("JsonNode without text".to_owned()),
            },
            "NdArrayNode" => match (raw.file, raw.content) {
                (Some(file), _) => {
                    let array = self.files.array(&file)?;
                    self.graph.raise(std::mem::take(&mut self.files.fresh));
                    self.graph.push(Node::Array(Box::new(array)))?
                }
                (None, Some(content)) => self.node_of(content)?,
                (None, None) => return Err("NdArrayNode without content".to_owned()),
            },
            "BytesNode" | "BytearrayNode" => {
                let name = raw.file.ok_or("bytes without a file")?;
                let bytes = self.files.inflate(&name, u64::MAX).map_err(|e| format!("{name}: {e}"))?;
                self.graph.raise(bytes.len());
                self.graph.push(Node::Bytes(Box::new(bytes)))?
            }
            "SparseMatrixNode" => {
                let state = self.sparse(&raw.file.ok_or("sparse matrix without a file")?)?;
                self.graph.push(Node::object(class, None, Some(state)))?
            }
            "DictNode" | "DefaultDictNode" | "ListNode" | "TupleNode" | "SetNode" => {
                self.node_of(raw.content.unwrap_or(Part::Null))?
            }
            "TypeNode" | "FunctionNode" | "OperatorFuncNode" => self.graph.push(Node::Global(class))?,
            _ => {
                let state = raw.content.map(|c| self.node_of(c)).transpose()?;
                self.graph.push(Node::object(class, None, state))?
            }
        };
        if let Some(known_as) = raw.id {
            self.ids.insert(known_as, id);
        }
        Ok(id)
    }
}

impl Loader<'_> {
    /// The attributes of a sparse matrix, whose arrays are in a zip of their own.
    fn sparse(&mut self, name: &str) -> Result<Id, String> {
        let bytes = self.files.inflate(name, u64::MAX).map_err(|e| format!("{name}: {e}"))?;
        self.graph.raise(bytes.len());
        let mut inner = self.files.nested(&bytes).map_err(|e| format!("{name}: {e}"))?;
        let mut attributes = Vec::new();
        for (attribute, file) in ARRAYS_OF_SPARSE {
            let array = inner.array(file).map_err(|e| format!("{name}: {e}"))?;
            self.graph.raise(std::mem::take(&mut inner.fresh));
            let key = self.graph.push(Node::Str((*attribute).into()))?;
            attributes.push((key, self.graph.push(Node::Array(Box::new(array)))?));
        }
        self.graph.push(Node::Dict(Box::new(attributes)))
    }
}

/// The JSON text inside a JsonNode. Python also writes NaN and Infinity.
fn json_scalar(text: &str) -> Result<Node, String> {
    Ok(match text {
        "null" => Node::None,
        "true" => Node::Bool(true),
        "false" => Node::Bool(false),
        "NaN" => Node::Float(f64::NAN),
        "Infinity" => Node::Float(f64::INFINITY),
        "-Infinity" => Node::Float(f64::NEG_INFINITY),
        text if text.starts_with('"') => {
            Node::Str(serde_json::from_str::<String>(text).map_err(|e| e.to_string())?.into())
        }
        text => match text.parse::<i64>() {
            Ok(i) => Node::Int(i),
            Err(_) => Node::Float(text.parse().map_err(|_| "JsonNode holds no scalar".to_owned())?),
        },
    })
}

/// Reads any JSON value into the arena.
struct PartSeed<'l, 'b>(&'l mut Loader<'b>);

impl<'de> DeserializeSeed<'de> for PartSeed<'_, '_> {
    type Value = Part;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Part, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PartSeed<'_, '_> {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a skops node")
    }

    fn visit_unit<E>(self) -> Result<Part, E> {
        Ok(Part::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Part, E> {
        Ok(Part::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Part, E> {
        Ok(Part::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Part, E> {
        Ok(i64::try_from(v).map_or(Part::Float(v as f64), Part::Int))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Part, E> {
        Ok(Part::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Part, E> {
        Ok(Part::Str(v.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Part, A::Error> {
        let mut ids = Vec::new();
        while let Some(part) = seq.next_element_seed(PartSeed(self.0))? {
            self.0.graph.spend(2 * size_of::<Id>()).map_err(A::Error::custom)?;
            ids.push(self.0.node_of(part).map_err(A::Error::custom)?);
        }
        Ok(Part::List(ids))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
        let mut raw = Raw::default();
        while let Some(key) = map.next_key::<String>()? {
            if key == "key_types" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let part = map.next_value_seed(PartSeed(self.0))?;
            match (key.as_str(), part) {
                ("__class__", Part::Str(s)) => raw.class = Some(s),
                ("__module__", Part::Str(s)) => raw.module = Some(s),
                ("__loader__", Part::Str(s)) => raw.loader = Some(s),
                ("file", Part::Str(s)) => raw.file = Some(s),
                ("__id__", Part::Int(i)) => raw.id = Some(i),
                ("protocol", Part::Int(i)) => self.0.protocol = Some(i),
                // how Python would construct the object; its content is sufficient
                ("__reduce__", _) => {}
                // an attribute named content is a typed node inside an untyped object
                ("content", part) if raw.loader.is_some() || !matches!(part, Part::Node(_)) => raw.content = Some(part),
                (_, part) => {
                    let id = self.0.node_of(part).map_err(A::Error::custom)?;
                    self.0.graph.spend(PAIR_BYTES).map_err(A::Error::custom)?;
                    let key = self.0.graph.push(Node::Str(key.into())).map_err(A::Error::custom)?;
                    raw.children.push((key, id));
                }
            }
        }
        // the content may come before the loader
        if raw.loader.is_some()
            && raw.content.is_none()
            && let Some(at) = raw.children.iter().position(|(k, _)| self.0.graph.key(*k) == "content")
        {
            raw.content = Some(Part::Node(raw.children.swap_remove(at).1));
        }
        self.0.finish(raw).map(Part::Node).map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use zip::CompressionMethod;
    use zip::write::SimpleFileOptions;

    use super::*;

    /// A file of one array of doubles, stored or deflated.
    fn file(method: CompressionMethod) -> Bytes {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (256,), }\n";
        let mut npy =
            [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
        npy.extend((0..256).flat_map(|value| f64::from(value).to_le_bytes()));
        let schema = br#"{"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy",
            "file": "1.npy", "__id__": 1, "protocol": 2}"#;
        for (name, content) in [("schema.json", schema.as_slice()), ("1.npy", npy.as_slice())] {
            zip.start_file(name, options).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner().into()
    }

    #[test]
    fn a_stored_array_is_a_part_of_the_file_and_is_checked() {
        let expected: Vec<f64> = (0..256).map(f64::from).collect();
        for (method, taken) in [(CompressionMethod::Stored, 0), (CompressionMethod::Deflated, 2_000)] {
            let (bytes, budget) = (file(method), LoadBudget::new(1 << 20));
            let graph = read(&bytes, &budget).unwrap();
            assert_eq!(graph.view().array().unwrap().numbers().unwrap(), expected);
            let inflated = (1 << 20) - budget.left();
            assert!(if taken == 0 { inflated == 0 } else { inflated > taken }, "{method:?}: {inflated} bytes inflated");
        }
        let mut bytes = file(CompressionMethod::Stored).to_vec();
        let middle = bytes.windows(8).position(|window| window == 200f64.to_le_bytes()).unwrap();
        bytes[middle] ^= 1;
        let error = read(&bytes.into(), &LoadBudget::default()).unwrap_err();
        assert!(error.to_string().contains("checksum"), "{error}");
    }
}
