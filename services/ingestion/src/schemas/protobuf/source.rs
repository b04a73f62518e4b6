//! Schemas of Protobuf as a registry has them: a file's source or its descriptor, and the files that it imports.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumOptions, FileDescriptorProto, MessageOptions,
};
use prost_reflect::{DescriptorError, DescriptorPool, FileDescriptor};

use super::schema::ProtobufSchema;

/// The most that a schema and those to which it refers may have, in bytes.
const MAX_SOURCE: usize = 512 << 10;
/// The most messages, fields and names of enums that they may define.
const MAX_DEFINITIONS: usize = 1 << 14;
/// The longest full name of any of them, in bytes: each is kept whole.
const MAX_NAME: usize = 512;
/// Braces nested deeper than this are refused, before the compiler calls itself for each.
const MAX_DEPTH: usize = 64;
/// The file of the schema itself, a name that no import has.
const ROOT: &str = "(schema)";
/// Imported beside Google's own files without being registered.
const DECIMAL: (&str, &str) = (
    "confluent/type/decimal.proto",
    "syntax = \"proto3\"; package confluent.type; message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
);

/// Compiles a schema; `imports` are the names and texts of the files to which it refers, each behind those that it needs.
///
/// # Errors
/// What is wrong with it.
pub(in super::super) fn compile(schema: &str, imports: &[(String, String)]) -> Result<ProtobufSchema, String> {
    let size = imports.iter().map(|(_, source)| source.len()).sum::<usize>() + schema.len();
    if size > MAX_SOURCE {
        return Err(format!("has more than {} KiB", MAX_SOURCE / 1024));
    }
    // the compiler is not ours, and without this thread no schema would be read any more
    let compiled = catch_unwind(AssertUnwindSafe(|| {
        ProtobufSchema::of_file(&link(schema, imports)?).map_err(|why| format!("is of no use: {why}"))
    }));
    compiled.unwrap_or_else(|_| Err("is refused by the compiler".to_owned()))
}

fn link(schema: &str, imports: &[(String, String)]) -> Result<FileDescriptor, String> {
    let mut pool = DescriptorPool::global();
    let mut left = MAX_DEFINITIONS;
    let imports = imports.iter().map(|(name, source)| (name.as_str(), source.as_str()));
    for (name, source) in std::iter::once(DECIMAL).chain(imports).chain([(ROOT, schema)]) {
        // one of Google's or one that is imported twice
        if pool.get_file_by_name(name).is_some() {
            continue;
        }
        let in_file = |why: String| if name == ROOT { why } else { format!("imports {name}, which {why}") };
        let mut file = parse(name, source).map_err(in_file)?;
        measure(&file, &mut left).map_err(in_file)?;
        let absent = drop_absent_imports(&mut file, &pool);
        let unknown = |why: DescriptorError| match absent.is_empty() {
            true => in_file(format!("is no Protobuf: {why}")),
            false => in_file(format!("is no Protobuf: {why}; it has no reference to {}", absent.join(", "))),
        };
        pool.add_file_descriptor_proto(file).map_err(unknown)?;
    }
    pool.get_file_by_name(ROOT).ok_or_else(|| "is of no use".to_owned())
}

/// Removes the imports that the registry does not have, which often declare options alone; returns their names.
fn drop_absent_imports(file: &mut FileDescriptorProto, pool: &DescriptorPool) -> Vec<String> {
    let positions = std::mem::take(&mut file.public_dependency);
    let public = positions.iter().filter_map(|at| file.dependency.get(usize::try_from(*at).ok()?).cloned());
    let public: Vec<String> = public.collect();
    let (known, absent) =
        std::mem::take(&mut file.dependency).into_iter().partition(|import| pool.get_file_by_name(import).is_some());
    file.dependency = known;
    let again = (0..).zip(&file.dependency).filter(|(_, import)| public.contains(import)).map(|(at, _)| at);
    file.public_dependency = again.collect();
    file.weak_dependency.clear();
    absent
}

/// A file without what no message needs: options, services, extensions and the places of its definitions.
fn parse(name: &str, source: &str) -> Result<FileDescriptorProto, String> {
    let mut file = match descriptor(source) {
        Some(file) => file,
        None if depth(source) > MAX_DEPTH => return Err(format!("is nested deeper than {MAX_DEPTH} braces")),
        None => protox_parse::parse("line", source).map_err(|why| format!("is no Protobuf: {why:?}"))?,
    };
    file.name = Some(name.to_owned());
    file.source_code_info = None;
    file.service.clear();
    file.extension.clear();
    file.options = None;
    file.message_type.iter_mut().for_each(strip);
    file.enum_type.iter_mut().for_each(strip_enum);
    Ok(file)
}

fn strip(message: &mut DescriptorProto) {
    message.extension.clear();
    message.extension_range.clear();
    let map_entry = message.options.take().and_then(|options| options.map_entry);
    message.options = map_entry.map(|entry| MessageOptions { map_entry: Some(entry), ..MessageOptions::default() });
    message.field.iter_mut().for_each(|field| field.options = None);
    message.oneof_decl.iter_mut().for_each(|oneof| oneof.options = None);
    message.enum_type.iter_mut().for_each(strip_enum);
    message.nested_type.iter_mut().for_each(strip);
}

fn strip_enum(of: &mut EnumDescriptorProto) {
    of.options = Some(EnumOptions { allow_alias: Some(true), ..EnumOptions::default() });
    of.value.iter_mut().for_each(|value| value.options = None);
}

/// Checks the sizes of what a file defines; `left` is how much more it may.
fn measure(file: &FileDescriptorProto, left: &mut usize) -> Result<(), String> {
    let package = name_within(0, file.package())?;
    file.message_type.iter().try_for_each(|message| measure_message(message, package, left))?;
    file.enum_type.iter().try_for_each(|of| measure_enum(of, package, left))
}

fn measure_message(message: &DescriptorProto, outer: usize, left: &mut usize) -> Result<(), String> {
    let own = name_within(outer, message.name())?;
    message.field.iter().try_for_each(|field| name_within(own, field.name()).map(drop))?;
    message.oneof_decl.iter().try_for_each(|oneof| name_within(own, oneof.name()).map(drop))?;
    take(left, 1 + message.field.len() + message.oneof_decl.len())?;
    message.enum_type.iter().try_for_each(|of| measure_enum(of, own, left))?;
    message.nested_type.iter().try_for_each(|nested| measure_message(nested, own, left))
}

fn measure_enum(of: &EnumDescriptorProto, outer: usize, left: &mut usize) -> Result<(), String> {
    name_within(outer, of.name())?;
    of.value.iter().try_for_each(|value| name_within(outer, value.name()).map(drop))?;
    take(left, 1 + of.value.len())
}

fn take(left: &mut usize, definitions: usize) -> Result<(), String> {
    let too_many = || format!("defines more than {MAX_DEFINITIONS} messages, fields and names");
    *left = left.checked_sub(definitions).ok_or_else(too_many)?;
    Ok(())
}

/// The length of a name with those around it.
fn name_within(outer: usize, name: &str) -> Result<usize, String> {
    let length = outer + 1 + name.len();
    if length > MAX_NAME { Err(format!("has a full name of more than {MAX_NAME} bytes")) } else { Ok(length) }
}

/// A serialised descriptor, which some registries keep as the serializer gave it; a source always has other characters.
fn descriptor(source: &str) -> Option<FileDescriptorProto> {
    let bytes = STANDARD.decode(source.trim()).ok()?;
    FileDescriptorProto::decode(bytes.as_slice()).ok()
}

/// How deep braces nest, without those in comments and texts.
fn depth(source: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = source.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b'/' if rest.first() == Some(&b'/') => rest = behind_line(rest),
            b'/' if rest.first() == Some(&b'*') => {
                let end = rest.get(1..).and_then(|comment| memchr::memmem::find(comment, b"*/"));
                rest = end.and_then(|end| rest.get(end + 3..)).unwrap_or_default();
            }
            b'"' | b'\'' => rest = behind_text(rest, *first),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn behind_line(rest: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', rest).and_then(|end| rest.get(end..)).unwrap_or_default()
}

/// What stands behind the end of a text, which is at the latest that of its line.
fn behind_text(mut rest: &[u8], quote: u8) -> &[u8] {
    while let Some((first, behind)) = rest.split_first() {
        match first {
            b'\n' => break,
            b'\\' if behind.first() != Some(&b'\n') => rest = behind.get(1..).unwrap_or_default(),
            first if *first == quote => return behind,
            _ => rest = behind,
        }
    }
    rest
}
