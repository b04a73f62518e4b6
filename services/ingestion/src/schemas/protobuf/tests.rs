//! Bytes by hand and by another implementation, and what becomes of them.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::{Strategy, any};
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value};
use serde_json::{Value as Json, json};

use super::*;

/// Field `number` with a wire type, and its value.
fn field(number: u32, wire_type: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost_reflect::prost::encoding::encode_varint(u64::from(number << 3) | u64::from(wire_type), &mut bytes);
    if wire_type == 2 {
        prost_reflect::prost::encoding::encode_varint(value.len() as u64, &mut bytes);
    }
    [&bytes, value].concat()
}

fn schema(source: &str) -> ProtobufSchema {
    compile(source, &[]).unwrap()
}

fn read(schema: &ProtobufSchema, bytes: &[u8]) -> Result<String, String> {
    request(schema, bytes, false).map(|json| String::from_utf8(json).unwrap())
}

/// What a message of `fields` becomes, the first of its file.
fn json_of(fields: &str, parts: &[Vec<u8>]) -> Result<String, String> {
    let source = format!("syntax = \"proto3\"; {IMPORTS} message M {{ {fields} }}");
    read(&schema(&source), &[&[0], parts.concat().as_slice()].concat())
}

const IMPORTS: &str = r#"
    import "google/protobuf/wrappers.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/struct.proto";
    import "google/protobuf/duration.proto"; import "confluent/type/decimal.proto";"#;

#[test]
fn the_fields_of_a_message_are_the_columns_of_a_row() {
    let fields =
        "enum Size { S = 0; L = 5; } double bmi = 1; sint32 age = 2; string city = 3; bool young = 4; Size size = 5;
        float f = 6; uint64 u = 7; fixed32 g = 8; sfixed64 h = 9; optional int64 i = 10;";
    let parts = [
        field(2, 0, &[1]),
        field(1, 1, &1.5_f64.to_le_bytes()),
        field(3, 2, b"a\""),
        field(4, 0, &[1]),
        field(5, 0, &[5]),
        field(6, 5, &f32::NAN.to_le_bytes()),
        field(7, 0, &[&[0xff; 9][..], &[1]].concat()),
        field(8, 5, &7_u32.to_le_bytes()),
        field(9, 1, &(-8_i64).to_le_bytes()),
        field(200, 2, b"unknown"),
    ];
    let expected = r#"{"features":{"bmi":1.5,"age":-1,"city":"a\"","young":true,"size":"L","f":null,"u":18446744073709551615,"g":7,"h":-8,"i":null}}"#;
    assert_eq!(json_of(fields, &parts).unwrap(), expected);
    let empty =
        r#"{"features":{"bmi":0.0,"age":0,"city":"","young":false,"size":"S","f":0.0,"u":0,"g":0,"h":0,"i":null}}"#;
    assert_eq!(json_of(fields, &[]).unwrap(), empty, "what is not set has its default");
    let whole = parts[..9].concat();
    for end in 1..whole.len() {
        let cut =
            read(&schema(&format!("syntax = \"proto3\"; message M {{ {fields} }}")), &[&[0], &whole[..end]].concat());
        let boundary = (0..parts.len()).any(|count| parts[..count].concat().len() == end);
        assert_eq!(cut.is_ok(), boundary, "{end}: {cut:?}");
    }
}

#[test]
fn a_message_with_features_is_a_request() {
    let head = "string request_id = 1; string model = 2; optional string model_version = 3; int32 priority = 4; int64 timeout_ms = 5;
        map<string, string> params = 6; bytes raw = 7;";
    let list = field(9, 2, &[1.5_f64.to_le_bytes(), f64::NAN.to_le_bytes()].concat());
    let one_more = field(9, 1, &2.0_f64.to_le_bytes());
    let named = [field(1, 2, b"r"), field(3, 2, b""), list, one_more];
    let expected = r#"{"request_id":"r","model_version":"","features":[1.5,null,2.0]}"#;
    assert_eq!(json_of(&format!("{head} repeated double features = 9;"), &named).unwrap(), expected);
    let entry = |key: &[u8], value: f64| field(9, 2, &[field(1, 2, key), field(2, 1, &value.to_le_bytes())].concat());
    let entries = [entry(b"b", 1.0), entry(b"a", 2.0), entry(b"b", 3.0)];
    let map = json_of(&format!("{head} map<string, double> features = 9;"), &entries);
    assert_eq!(map.unwrap(), r#"{"features":{"a":2.0,"b":3.0}}"#, "of a key the last value counts");
    let row = format!("{head} message Row {{ int32 age = 1; google.protobuf.DoubleValue bmi = 2; }} Row features = 9;");
    assert_eq!(json_of(&row, &[field(9, 2, &[8, 7])]).unwrap(), r#"{"features":{"age":7,"bmi":null}}"#);
    let twice = [field(9, 2, &[8, 7]), field(9, 2, &field(2, 2, &field(1, 1, &1.5_f64.to_le_bytes())))];
    assert_eq!(json_of(&row, &twice).unwrap(), r#"{"features":{"age":7,"bmi":1.5}}"#, "parts of one message");
    assert_eq!(json_of(&row, &[]).unwrap(), "{}", "the parser says that features are missing");
    assert_eq!(json_of("repeated double features = 9;", &[]).unwrap(), r#"{"features":[]}"#);
    assert_eq!(json_of(&row, &[field(7, 2, b"x")]).unwrap_err(), "raw: bytes are no value of a row");
}

#[test]
fn messages_of_google_and_confluent_stand_for_values() {
    let one = |kind: &str, value: &[u8]| json_of(&format!("{kind} x = 1;"), &[field(1, 2, value)]);
    let x = |json: &str| Ok(format!(r#"{{"features":{{"x":{json}}}}}"#));
    assert_eq!(one("google.protobuf.DoubleValue", &[]), x("0.0"));
    assert_eq!(one("google.protobuf.BoolValue", &[8, 1]), x("true"));
    assert_eq!(one("google.protobuf.StringValue", &field(1, 2, b"a")), x("\"a\""));
    assert_eq!(json_of("google.protobuf.Int64Value x = 1;", &[]), x("null"));
    // 10.000001999 seconds
    assert_eq!(one("google.protobuf.Timestamp", &[8, 10, 16, 0xcf, 0x0f]), x("10000001"));
    assert_eq!(one("google.protobuf.Duration", &[8, 10]), x("10000000"));
    assert_eq!(json_of("google.protobuf.Timestamp x = 1;", &[]), x("null"));
    let late = [&[8][..], &[0xff; 8], &[0x7f]].concat();
    assert_eq!(one("google.protobuf.Timestamp", &late), Err("x: is no time".into()));
    let decimal = [field(1, 2, &[0xff, 0x85]), field(3, 0, &[2])].concat();
    assert_eq!(one("confluent.type.Decimal", &decimal), x("-1.23"));
    let value = |of: Vec<u8>| [field(1, 2, b"k"), field(2, 2, &of)].concat();
    let fields = [
        field(1, 2, &value(field(2, 1, &1.5_f64.to_le_bytes()))),
        field(1, 2, &[field(1, 2, b"l"), field(2, 2, &field(1, 0, &[0]))].concat()),
        field(1, 2, &[field(1, 2, b"m"), field(2, 2, &[])].concat()),
    ];
    let of_struct = json_of("google.protobuf.Struct features = 1;", &[field(1, 2, &fields.concat())]);
    assert_eq!(of_struct, Ok(r#"{"features":{"k":1.5,"l":null,"m":null}}"#.into()));
    let list = field(1, 2, &[field(1, 2, &field(3, 2, b"a")), field(1, 2, &field(4, 0, &[1]))].concat());
    assert_eq!(json_of("google.protobuf.ListValue features = 1;", &[list]), Ok(r#"{"features":["a",true]}"#.into()));
}

#[test]
fn proto2_has_its_own_defaults() {
    let source = r#"syntax = "proto2"; message M { optional int32 a = 1; optional int32 b = 2 [default = -7]; optional string c = 3
        [default = "x"]; required bool d = 4; optional group Row = 5 { optional int32 e = 1; } repeated sint64 f = 6 [packed = true];
        optional E g = 7; enum E { option allow_alias = true; A = 3; B = 3; C = 1; } extensions 100 to 200; }
        extend M { optional int32 h = 100; }"#;
    let schema = schema(source);
    let set = [&[0, 0x20, 1, 0x2b, 8, 9, 0x2c][..], &field(6, 2, &[1, 4]), &field(100, 0, &[1])].concat();
    let expected = r#"{"features":{"a":null,"b":-7,"c":"x","d":true,"row":{"e":9},"f":[-1,2],"g":null}}"#;
    assert_eq!(read(&schema, &set).unwrap(), expected);
    assert_eq!(read(&schema, &[0]).unwrap_err(), "d: is required and not set");
    assert!(read(&schema, &[0, 0x20, 1, 0x38, 3]).unwrap().contains(r#""g":"A""#));
    assert_eq!(read(&schema, &[0, 0x20, 1, 0x38, 2]).unwrap_err(), "g: 2 is none of its names");
}

#[test]
fn of_a_oneof_the_last_member_counts() {
    let fields = "oneof it { int32 a = 1; string b = 2; N n = 3; } message N { int32 c = 1; int32 d = 2; }";
    let (a, b) = (field(1, 0, &[1]), field(2, 2, b"x"));
    let (c, d) = (field(3, 2, &[8, 1]), field(3, 2, &[16, 2]));
    let json =
        |parts: &[&Vec<u8>]| json_of(fields, &parts.iter().map(|part| (*part).clone()).collect::<Vec<_>>()).unwrap();
    assert_eq!(json(&[&a, &b]), r#"{"features":{"a":null,"b":"x","n":null}}"#);
    assert_eq!(json(&[&b, &a]), r#"{"features":{"a":1,"b":null,"n":null}}"#);
    assert_eq!(json(&[&c, &d]), r#"{"features":{"a":null,"b":null,"n":{"c":1,"d":2}}}"#);
    assert_eq!(json(&[&c, &a, &d]), r#"{"features":{"a":null,"b":null,"n":{"c":0,"d":2}}}"#);
}

#[test]
fn indexes_lead_to_a_message() {
    let schema = schema(
        "syntax = \"proto3\"; message A { map<string, int32> m = 1; message B { int32 b = 1; message C { int32 c = 1; } } }
         message D { int32 d = 1; }",
    );
    let named = |indexes: &[u8]| read(&schema, indexes).map(|json| json[14..15].to_owned());
    assert_eq!((named(&[0]), named(&[2, 0]), named(&[2, 2])), (Ok("m".into()), Ok("m".into()), Ok("d".into())));
    // the entry of a map is the first message of A, which not every serializer counts
    assert_eq!(
        (named(&[4, 0, 2]), named(&[4, 0, 0]), named(&[6, 0, 2, 0])),
        (Ok("b".into()), Ok("b".into()), Ok("c".into()))
    );
    for (indexes, why) in [
        (&[][..], "the record ends inside a value"),
        (&[4, 0], "the record ends inside a value"),
        (&[2, 4], "the schema has no message [2]"),
        (&[4, 2, 0], "the schema has no message [1, 0]"),
        (&[2, 1], "the message index -1 is negative"),
        (&[1], "-1 message indexes, expected at most 32"),
        (&[66], "33 message indexes"),
        (&[0xff; 12], "a number has more than 64 bits"),
    ] {
        let error = named(indexes).unwrap_err();
        assert!(error.contains(why), "{indexes:?}: {error}");
    }
}

#[test]
fn what_no_row_holds_is_named() {
    let of = |kind: &str, bytes: Vec<u8>| json_of(&format!("enum E {{ A = 0; }} {kind} x = 1;"), &[bytes]).unwrap_err();
    assert_eq!(of("double", field(1, 1, &f64::INFINITY.to_le_bytes())), "x: is not finite");
    assert_eq!(of("bytes", vec![]), "x: bytes are no value of a row");
    assert_eq!(of("bytes", field(1, 2, b"x")), "x: bytes are no value of a row");
    assert_eq!(of("google.protobuf.BytesValue", field(1, 2, &field(1, 2, b"x"))), "x: bytes are no value of a row");
    assert_eq!(of("E", field(1, 0, &[3])), "x: 3 is none of its names");
    assert_eq!(of("string", field(1, 2, &[0xff])), "x: a string is not valid UTF-8");
    assert_eq!(of("double", field(1, 0, &[3])), "x: is written as a varint, which is no double");
    assert_eq!(of("google.protobuf.DoubleValue", field(1, 0, &[3])), "x: is written as a varint, which is no message");
    assert_eq!(of("int32", vec![8]), "x: the record ends inside a value");
    assert_eq!(of("int32", vec![0xff, 0xff, 0xff]), "the record ends inside a value");
    assert_eq!(of("int32", field(9, 2, b"")[..1].to_vec()), "the unknown field 9: the record ends inside a value");
    assert_eq!(
        of("map<string, double>", field(1, 2, &field(1, 0, &[1]))),
        "x: a key is written as a varint, which is no string"
    );
}

#[test]
fn a_record_cannot_fill_the_memory() {
    let deep = (0..200).fold(Vec::new(), |inner, _| field(1, 2, &inner));
    assert!(json_of("M x = 1;", &[deep]).unwrap_err().contains("nested deeper than 32"));
    let packed = field(1, 2, &vec![0; 3 << 20]);
    assert!(json_of("repeated int32 x = 1;", std::slice::from_ref(&packed)).unwrap_err().contains("bytes as JSON"));
    let many = [8, 0].repeat(MAX_VALUES + 1);
    assert!(json_of("repeated int32 x = 1;", &[many]).unwrap_err().contains("more than 131072 values"));
    let texts = [8, 0].repeat(MAX_VALUES);
    assert!(
        json_of("repeated E x = 1; enum E { A_NAME_OF_SOME_LENGTH_THAT_IS_WRITTEN = 0; }", &[texts])
            .unwrap_err()
            .contains("bytes as JSON")
    );
}

#[test]
fn what_is_no_schema_is_refused() {
    let deep = format!("syntax = \"proto3\"; {} {}", "message A { ".repeat(100), "}".repeat(100));
    let hidden = deep.replace("message A {", "message A { /* } */ // }\n option x = '}\\'}';");
    let many = (0..17_000).fold(String::new(), |mut text, at| {
        write!(text, "message A{at}{{}}").unwrap();
        text
    });
    let long = format!("//{}", " ".repeat(600 << 10));
    for (source, why) in [
        ("", "the schema has no message"),
        ("message {", "is no Protobuf: line:1:9"),
        ("syntax = \"proto3\"; message M { City c = 1; }", "is no Protobuf: name 'City' is not defined"),
        ("import \"x/y.proto\"; message M { required x.City c = 1; }", "it has no reference to x/y.proto"),
        ("edition = \"2023\"; message M { int32 a = 1; }", "is no Protobuf"),
        ("syntax = \"proto3\"; message M { int32 a = 1; int32 b = 1; }", "field number '1' is already used"),
        (&deep, "is nested deeper than 64 braces"),
        (&hidden, "is nested deeper than 64 braces"),
        (&format!("package {}a; message M {{}}", "a.".repeat(1 << 17)), "a full name of more than 512 bytes"),
        (
            &format!("syntax = \"proto3\"; message {} {{ int32 a = 1; }}", "M".repeat(510)),
            "a full name of more than 512 bytes",
        ),
        (&many, "defines more than 16384"),
        (&long, "has more than 512 KiB"),
    ] {
        let error =
            compile(source, &[]).map_err(|why| why.to_string()).and_then(|schema| read(&schema, &[0])).unwrap_err();
        assert!(error.contains(why), "{source:.60}: {error}");
    }
    let imports = [("a.proto".to_owned(), "nonsense".to_owned())];
    assert!(compile("import \"a.proto\";", &imports).unwrap_err().starts_with("imports a.proto, which is no Protobuf"));
}

#[test]
fn the_fields_of_an_enum_share_its_names() {
    let source = "syntax = \"proto3\"; enum E { A = 0; } message M { E a = 1; repeated E b = 2; }";
    let schema = schema(source);
    let [ValueType::Enum(one), ValueType::Enum(other)] = [0, 1].map(|at| &schema.messages[0].fields[at].kind) else {
        panic!("{schema:?}")
    };
    assert!(Arc::ptr_eq(one, other), "thousands of names times thousands of fields would fill the memory");
}

#[test]
fn schemas_at_the_limits_are_compiled() {
    let messages = |source: &str| compile(source, &[]).map(|schema| schema.messages.len());
    let deep = format!("syntax = \"proto3\"; {} {}", "message A { ".repeat(64), "}".repeat(64));
    assert_eq!(messages(&deep), Ok(64));
    let nested = |inner: DescriptorProto| DescriptorProto { nested_type: vec![inner], ..DescriptorProto::default() };
    let named = |message: DescriptorProto| DescriptorProto { name: Some("A".into()), ..message };
    // deeper than this no descriptor is decoded
    let deepest = (0..96).fold(named(DescriptorProto::default()), |inner, _| named(nested(inner)));
    let syntax = Some("proto3".into());
    let file = FileDescriptorProto { message_type: vec![deepest], syntax, ..FileDescriptorProto::default() };
    assert_eq!(messages(&STANDARD.encode(file.encode_to_vec())), Ok(97));
    let wide = (1..16_000).fold("syntax = \"proto3\"; message M { ".to_owned(), |mut text, at| {
        write!(text, "int32 a{at} = {at};").unwrap();
        text
    });
    assert_eq!(messages(&format!("{wide} }}")), Ok(1));
}

#[test]
fn options_and_the_imports_that_declare_them_do_not_matter() {
    let source = r#"syntax = "proto3"; package shop; import "confluent/meta.proto"; import public "town.proto";
        import "google/api/annotations.proto"; option (confluent.file_meta).doc = "x"; option go_package = "a/b";
        message M { option (confluent.message_meta) = { doc: "y" tags: ["a"] };
            int32 n = 1 [(confluent.field_meta) = { tags: "PII" }, debug_redact = true]; Town town = 2; oneof o { int32 p = 3; } }
        service S { rpc Get (Absent) returns (M) { option (google.api.http) = { get: "/x" }; } }"#;
    let town = "syntax = \"proto3\"; package shop; enum Town { A = 0; B = 1; }".to_owned();
    let schema = compile(source, &[("town.proto".to_owned(), town)]).unwrap();
    assert_eq!(read(&schema, &[0, 8, 1, 16, 1]).unwrap(), r#"{"features":{"n":1,"town":"B","p":null}}"#);
}

#[test]
fn a_serialised_descriptor_is_a_schema_as_well() {
    let source = "syntax = \"proto3\"; message A {} message M { map<string, int32> features = 1; }";
    let file = protox_parse::parse("its_own_name.proto", source).unwrap();
    let schema = compile(&STANDARD.encode(file.encode_to_vec()), &[]).unwrap();
    assert_eq!(
        read(&schema, &[&[2, 2][..], &field(1, 2, &[10, 1, b'k', 16, 5])].concat()).unwrap(),
        r#"{"features":{"k":5}}"#
    );
    let hostile = |change: fn(&mut FieldDescriptorProto)| {
        let mut file = file.clone();
        change(&mut file.message_type[1].field[0]);
        compile(&STANDARD.encode(file.encode_to_vec()), &[]).unwrap_err()
    };
    assert!(hostile(|field| field.oneof_index = Some(7)).contains("invalid oneof index"));
    assert!(hostile(|field| field.type_name = None).contains("missing required field"));
    assert!(hostile(|field| field.number = Some(-1)).contains("invalid field number"));
}

const EVERYTHING: &str = r#"syntax = "proto3"; package p; import "google/protobuf/wrappers.proto";
    enum E { A = 0; B = 1; C = 2; D = -1; }
    message M { double a = 1; float b = 2; int32 c = 3; int64 d = 4; uint32 e = 5; uint64 f = 6; sint32 g = 7; sint64 h = 8;
        fixed32 i = 9; fixed64 j = 10; sfixed32 k = 11; sfixed64 l = 12; bool m = 13; string n = 14; E o = 15; M p = 16;
        repeated int32 q = 17; repeated double r = 18; repeated string s = 19; map<string, int32> t = 20; map<int32, M> u = 21;
        oneof v { int32 w = 22; string x = 23; M y = 24; } optional sint64 z = 25; repeated M aa = 26; repeated E bb = 27;
        google.protobuf.DoubleValue cc = 28; map<bool, google.protobuf.StringValue> dd = 29; }"#;

static OURS: LazyLock<ProtobufSchema> = LazyLock::new(|| schema(EVERYTHING));

static THEIRS: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let mut pool = DescriptorPool::global();
    pool.add_file_descriptor_proto(protox_parse::parse("m.proto", EVERYTHING).unwrap()).unwrap();
    pool.get_message_by_name("p.M").unwrap()
});

/// What a value of another implementation is in JSON; `None` if no row holds it.
fn expected(value: &Value, kind: &Kind) -> Option<Json> {
    Some(match value {
        Value::Bool(truth) => json!(truth),
        Value::I32(number) => json!(number),
        Value::I64(number) => json!(number),
        Value::U32(number) => json!(number),
        Value::U64(number) => json!(number),
        Value::F32(number) => expected(&Value::F64((*number).into()), kind)?,
        Value::F64(number) if number.is_infinite() => return None,
        Value::F64(number) => json!(number),
        Value::String(text) => json!(text),
        Value::EnumNumber(number) => json!(kind.as_enum()?.get_value(*number)?.name()),
        Value::List(values) => values.iter().map(|value| expected(value, kind)).collect::<Option<Vec<_>>>()?.into(),
        Value::Map(values) => {
            let kind = kind.as_message()?.map_entry_value_field().kind();
            let text = |key: &MapKey| match key {
                MapKey::Bool(truth) => truth.to_string(),
                MapKey::I32(number) => number.to_string(),
                MapKey::String(text) => text.clone(),
                other => panic!("{other:?}"),
            };
            let entries = values.iter().map(|(key, value)| Some((text(key), expected(value, &kind)?)));
            entries.collect::<Option<serde_json::Map<_, _>>>()?.into()
        }
        Value::Message(message) if message.descriptor().full_name().starts_with("google.protobuf.") => {
            let field = message.descriptor().get_field(1)?;
            expected(&message.get_field(&field), &field.kind())?
        }
        Value::Message(message) => {
            let fields = message.descriptor();
            let fields = fields.fields().map(|field| {
                let unset = field.supports_presence() && !message.has_field(&field);
                let value = (!unset).then(|| expected(&message.get_field(&field), &field.kind()));
                Some((field.name().to_owned(), value.unwrap_or(Some(Json::Null))?))
            });
            fields.collect::<Option<serde_json::Map<_, _>>>()?.into()
        }
        Value::Bytes(_) => return None,
    })
}

/// Bytes that are often a message of everything.
fn plausible(depth: u32) -> proptest::strategy::BoxedStrategy<Vec<u8>> {
    let number = proptest::prop_oneof![
        proptest::num::u8::ANY.prop_map(|byte| vec![byte & 0x7f]),
        any::<[u8; 8]>().prop_map(|bytes| {
            let mut varint = Vec::new();
            prost_reflect::prost::encoding::encode_varint(u64::from_le_bytes(bytes), &mut varint);
            varint
        })
    ];
    let varints = (proptest::sample::select(vec![3, 4, 5, 6, 7, 8, 13, 15, 17, 22, 25, 27, 90]), number)
        .prop_map(|(at, value)| field(at, 0, &value));
    let fixed = (proptest::sample::select(vec![1, 10, 12, 18, 91]), any::<[u8; 8]>())
        .prop_map(|(at, value)| field(at, 1, &value));
    let half =
        (proptest::sample::select(vec![2, 9, 11]), any::<[u8; 4]>()).prop_map(|(at, value)| field(at, 5, &value));
    let texts = (proptest::sample::select(vec![14, 17, 19, 23, 27, 92]), "[ -~]{0,9}")
        .prop_map(|(at, text)| field(at, 2, text.as_bytes()));
    let entries = (0..3_u8, any::<bool>()).prop_map(|(key, whole)| {
        let key = field(1, 2, &[b'a' + key]);
        field(20, 2, &if whole { [key, field(2, 0, &[7])].concat() } else { key })
    });
    let run = proptest::collection::vec(any::<[u8; 8]>(), 0..4).prop_map(|run| field(18, 2, &run.concat()));
    let flags = (0..3_u8).prop_map(|flag| field(29, 2, &field(1, 0, &[flag])));
    let leaf =
        proptest::prop_oneof![6 => varints, 2 => fixed, 1 => half, 3 => texts, 2 => entries, 1 => flags, 1 => run]
            .boxed();
    let one = if depth == 0 {
        leaf
    } else {
        let inner = (proptest::sample::select(vec![16, 24, 26, 28]), plausible(depth - 1))
            .prop_map(|(at, inner)| field(at, 2, &inner));
        let of_map = (0..3_u8, plausible(depth - 1))
            .prop_map(|(key, inner)| field(21, 2, &[field(2, 2, &inner), field(1, 0, &[key])].concat()));
        proptest::prop_oneof![6 => leaf, 2 => inner, 1 => of_map].boxed()
    };
    proptest::collection::vec(one, 0..8).prop_map(|parts| parts.concat()).boxed()
}

proptest::proptest! {
    #[test]
    fn messages_mean_what_another_reader_takes_them_for(bytes in plausible(2), noise in any::<(u16, u8)>(), spoil in 0..10) {
        let mut bytes = bytes;
        if spoil == 0 && !bytes.is_empty() {
            let at = usize::from(noise.0) % bytes.len();
            bytes[at] = noise.1;
        }
        let ours = read(&OURS, &[&[0], bytes.as_slice()].concat());
        let theirs = DynamicMessage::decode(THEIRS.clone(), bytes.as_slice());
        let theirs = theirs.ok().and_then(|message| expected(&Value::Message(message), &Kind::Message(THEIRS.clone())));
        match (ours, theirs) {
            (Ok(ours), Some(theirs)) => {
                let ours: Json = serde_json::from_str(&ours).unwrap();
                proptest::prop_assert_eq!(&ours["features"], &theirs);
            }
            (Err(_), None) => {}
            // a value that cannot be read may be one that another value replaces
            (ours, theirs) => proptest::prop_assert!(spoil == 0, "{ours:?} {theirs:?}"),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(json) = read(&OURS, &bytes) {
            proptest::prop_assert!(serde_json::from_str::<Json>(&json).is_ok(), "{json}");
        }
    }

    #[test]
    fn any_text_is_a_schema_or_refused(text in "[a-z{}\\[\\]=;.<>\"'/*\\\\ 0-9\n]{0,80}") {
        let whole = format!("syntax = \"proto3\"; message M {{ {text} }}");
        drop((compile(&text, &[]), compile(&whole, &[])));
    }
}
