//! What the messages of a file hold, in tables that their reader needs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prost_reflect::{EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, Value};

use super::super::json_text::{FEATURES, JsonText};

/// The messages of a file and those that they hold.
#[derive(Debug)]
pub(in super::super) struct ProtobufSchema {
    pub(super) messages: Vec<MessageType>,
    /// The messages of the file by their positions: in the file, in the message there, and so on.
    pub(super) roots: BTreeMap<Vec<usize>, usize>,
}

/// One message.
#[derive(Debug)]
pub(super) struct MessageType {
    /// In the order of their numbers.
    pub fields: Vec<FieldType>,
    pub meaning: Meaning,
    pub has_features: bool,
    pub has_oneofs: bool,
}

/// What stands for a message in JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    /// An object of its fields.
    Object,
    /// The value of its only field, or of the only one that is set.
    Field,
    /// Microseconds of fields 1 and 2: seconds, and billionths of one.
    Time,
    /// A number of fields 1 and 3: its digits, and how many stand behind the point.
    Decimal,
}

/// One field.
#[derive(Debug)]
pub(super) struct FieldType {
    pub number: u32,
    pub name: String,
    pub kind: ValueType,
    pub shape: Shape,
    pub absent: Absent,
    /// The number of the oneof that holds it.
    pub oneof: Option<usize>,
}

/// How many values a field has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    One,
    List,
    /// Messages of a key and a value.
    Map,
}

/// What a field that is not set stands for.
#[derive(Debug, PartialEq)]
pub(super) enum Absent {
    /// A missing value.
    Missing,
    /// The JSON of a default that the schema gives.
    Default(Vec<u8>),
    /// The JSON of a default, which is written like no value at all.
    Implicit(Vec<u8>),
    /// The schema says that it has to be set.
    Refused,
}

/// The type of one value.
#[derive(Clone, Debug)]
pub(super) enum ValueType {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    Text,
    Bytes,
    /// `null`, however it is written.
    Null,
    /// Names by numbers, sorted; one list for all fields of the enum.
    Enum(Arc<[(i32, String)]>),
    /// An index into the messages of the schema.
    Message(usize),
}

impl ValueType {
    /// What errors call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Double => "double",
            Self::Float => "float",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Sint32 => "sint32",
            Self::Sint64 => "sint64",
            Self::Fixed32 => "fixed32",
            Self::Fixed64 => "fixed64",
            Self::Sfixed32 => "sfixed32",
            Self::Sfixed64 => "sfixed64",
            Self::Bool => "bool",
            Self::Text => "string",
            Self::Bytes => "bytes",
            Self::Null | Self::Enum(_) => "enum",
            Self::Message(_) => "message",
        }
    }
}

impl ProtobufSchema {
    /// The messages of `file`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of_file(file: &FileDescriptor) -> Result<Self, String> {
        let mut tables = Tables::default();
        let mut roots = BTreeMap::new();
        let mut nested: Vec<_> = vec![(Vec::new(), file.messages().collect::<Vec<_>>())];
        while let Some((path, messages)) = nested.pop() {
            let mut declared = 0;
            for (position, message) in messages.iter().enumerate() {
                // some serializers count the entries of maps, which are messages as well, and some do not
                if message.is_map_entry() {
                    continue;
                }
                let at = tables.index(message);
                let own = [&path[..], &[position]].concat();
                roots.entry([&path[..], &[declared]].concat()).or_insert(at);
                roots.insert(own.clone(), at);
                nested.push((own, message.child_messages().collect()));
                declared += 1;
            }
        }
        Ok(Self { messages: tables.build()?, roots })
    }
}

/// Messages that were met, their positions, and the names of enums.
#[derive(Default)]
struct Tables {
    met: Vec<MessageDescriptor>,
    positions: HashMap<String, usize>,
    enums: HashMap<String, Arc<[(i32, String)]>>,
}

impl Tables {
    fn index(&mut self, message: &MessageDescriptor) -> usize {
        let next = self.met.len();
        let position = *self.positions.entry(message.full_name().to_owned()).or_insert(next);
        if position == next {
            self.met.push(message.clone());
        }
        position
    }

    /// The tables of all messages, also of those that are met meanwhile.
    fn build(mut self) -> Result<Vec<MessageType>, String> {
        let mut built = Vec::new();
        while let Some(message) = self.met.get(built.len()).cloned() {
            let is_entry = message.is_map_entry();
            let fields: Result<Vec<_>, String> = message.fields().map(|field| self.field(&field, is_entry)).collect();
            let fields = fields.map_err(|why| format!("{}.{why}", message.full_name()))?;
            built.push(MessageType {
                meaning: meaning(message.full_name()),
                has_features: fields.iter().any(|field| field.name == FEATURES),
                has_oneofs: fields.iter().any(|field| field.oneof.is_some()),
                fields,
            });
        }
        Ok(built)
    }

    fn field(&mut self, field: &FieldDescriptor, of_entry: bool) -> Result<FieldType, String> {
        let name = field.name().to_owned();
        let kind = self.kind(&field.kind());
        let shape = match (field.is_map(), field.is_list()) {
            (true, _) => Shape::Map,
            (_, true) => Shape::List,
            _ => Shape::One,
        };
        let absent = absent(field, &kind, shape, of_entry).map_err(|why| format!("{name}: its default {why}"))?;
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        let oneof = oneof.and_then(|oneof| oneof.path().last().and_then(|index| usize::try_from(*index).ok()));
        Ok(FieldType { number: field.number(), name, kind, shape, absent, oneof })
    }

    fn kind(&mut self, kind: &Kind) -> ValueType {
        match kind {
            Kind::Double => ValueType::Double,
            Kind::Float => ValueType::Float,
            Kind::Int32 => ValueType::Int32,
            Kind::Int64 => ValueType::Int64,
            Kind::Uint32 => ValueType::Uint32,
            Kind::Uint64 => ValueType::Uint64,
            Kind::Sint32 => ValueType::Sint32,
            Kind::Sint64 => ValueType::Sint64,
            Kind::Fixed32 => ValueType::Fixed32,
            Kind::Fixed64 => ValueType::Fixed64,
            Kind::Sfixed32 => ValueType::Sfixed32,
            Kind::Sfixed64 => ValueType::Sfixed64,
            Kind::Bool => ValueType::Bool,
            Kind::String => ValueType::Text,
            Kind::Bytes => ValueType::Bytes,
            Kind::Message(message) => ValueType::Message(self.index(message)),
            Kind::Enum(of) if of.full_name() == "google.protobuf.NullValue" => ValueType::Null,
            Kind::Enum(of) => {
                let names = self.enums.entry(of.full_name().to_owned()).or_insert_with(|| names(of));
                ValueType::Enum(Arc::clone(names))
            }
        }
    }
}

/// The first of the names that share a number.
fn names(of: &EnumDescriptor) -> Arc<[(i32, String)]> {
    let declared = of.enum_descriptor_proto().value.iter();
    let mut names: Vec<_> = declared.map(|value| (value.number(), value.name().to_owned())).collect();
    names.sort_by_key(|(number, _)| *number);
    names.dedup_by_key(|(number, _)| *number);
    names.into()
}

fn meaning(full_name: &str) -> Meaning {
    let Some((package, name)) = full_name.rsplit_once('.') else { return Meaning::Object };
    match (package, name) {
        ("google.protobuf", "Timestamp" | "Duration") => Meaning::Time,
        ("google.protobuf", "Struct" | "ListValue" | "Value") => Meaning::Field,
        ("google.protobuf", "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value") => Meaning::Field,
        ("google.protobuf", "Int32Value" | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue") => {
            Meaning::Field
        }
        ("confluent.type", "Decimal") => Meaning::Decimal,
        _ => Meaning::Object,
    }
}

fn absent(field: &FieldDescriptor, kind: &ValueType, shape: Shape, of_entry: bool) -> Result<Absent, String> {
    match shape {
        Shape::Map => return Ok(Absent::Implicit(b"{}".to_vec())),
        Shape::List => return Ok(Absent::Implicit(b"[]".to_vec())),
        Shape::One if field.is_required() => return Ok(Absent::Refused),
        Shape::One => {}
    }
    let given = field.field_descriptor_proto().default_value.is_some();
    if matches!(kind, ValueType::Message(_)) || field.supports_presence() && !given && !of_entry {
        return Ok(Absent::Missing);
    }
    let mut json = JsonText::of_record(true, 0);
    match field.default_value() {
        Value::Bool(truth) => json.boolean(truth),
        Value::I32(integer) => json.integer(integer),
        Value::I64(integer) => json.integer(integer),
        Value::U32(integer) => json.integer(integer),
        Value::U64(integer) => json.integer(integer),
        Value::F32(number) => json.number(number.into())?,
        Value::F64(number) => json.number(number)?,
        Value::String(text) => json.text(&text),
        Value::EnumNumber(number) => match kind {
            ValueType::Enum(names) => match names.binary_search_by_key(&number, |(number, _)| *number) {
                Ok(at) => json.text(&names[at].1),
                Err(_) => return Err(format!("{number} is no name")),
            },
            _ => json.push(b"null"),
        },
        // no value of a row
        Value::Bytes(_) => return Ok(Absent::Implicit(Vec::new())),
        Value::Message(_) | Value::List(_) | Value::Map(_) => return Ok(Absent::Missing),
    }
    let json = json.into_request();
    Ok(if given { Absent::Default(json) } else { Absent::Implicit(json) })
}
