//! A table of bad inputs, and properties that hold for every input.

use forebay_contract::ErrorCode::{InvalidFeatures, InvalidRequest, PayloadTooLarge};
use forebay_contract::{ErrorCode, SplitKey, Value};
use proptest::prelude::*;

use super::*;
use crate::request::{FeatureRows, Row};

const MAX_ROWS: usize = 4;

fn http(text: &str) -> Result<ParsedRequest, Problem> {
    parse_http(text.as_bytes(), MAX_ROWS)
}

fn values(request: &ParsedRequest) -> Vec<Vec<f64>> {
    request.features.rows().iter().map(|row| row.values.clone()).collect()
}

#[test]
fn a_legacy_record_is_still_read() {
    let request =
        parse_record(br#"{"request_id": "req_1", "features": [0.1, -2, 3e-2], "model_version": "v1"}"#).unwrap();
    assert_eq!(request.request_id.as_deref(), Some("req_1"));
    assert_eq!(request.version, "v1");
    assert_eq!(request.priority, 1);
    assert_eq!(values(&request), [[0.1, -2.0, 3e-2]]);
    let bare = parse_record(br#"{"features":[1]}"#).unwrap();
    assert_eq!((bare.request_id, bare.model, bare.version), (None, String::new(), String::new()));
}

#[test]
fn every_field_and_every_shape_of_features_is_read() {
    let request = http(
        r#"{"features":{"bmi":1.5,"age":null},"request_id":"é\u0041","model":"m","model_version":2,"priority":-3,"timeout_ms":250,"key":"alice"}"#,
    )
    .unwrap();
    assert_eq!(request.request_id.as_deref(), Some("éA"));
    assert_eq!((request.model.as_str(), request.version.as_str(), request.priority), ("m", "v2", -3));
    assert_eq!(request.timeout, Some(std::time::Duration::from_millis(250)));
    assert_eq!(request.key, Some(SplitKey::of_text("alice")));
    assert!(http(r#"{"features":[1],"key":["alice"]}"#).unwrap_err().message.starts_with("key: expected a string"));
    let FeatureRows::One(Row { values: row, names, .. }) = &request.features else { panic!("one row") };
    assert_eq!(names, &["bmi", "age"]);
    assert!(row[0] == 1.5 && row[1].is_nan());

    let many = http(r#"{"features":[[1,2],[3,null]]}"#).unwrap();
    assert!(many.features.many() && many.features.rows()[1].values[1].is_nan());
    let named = http(r#"{"features":[{"a":1},[2]]}"#).unwrap();
    assert_eq!((named.features.rows()[0].names.len(), named.features.rows()[1].names.len()), (1, 0));
    assert!(http(r#"{"features":[[1]]}"#).unwrap().features.many());
    assert!(http(r#"{"features":[null,1]}"#).unwrap().features.rows()[0].values[0].is_nan());
}

#[test]
fn absent_is_null_and_a_number_may_be_the_id_of_a_record() {
    let request = http(
        r#"{"features":[1],"request_id":null,"model":null,"model_version":null,"priority":null,"timeout_ms":null,"key":null}"#,
    );
    assert_eq!(request, http(r#"{"features":[1]}"#));
    let id = |text: &str| parse_record(text.as_bytes()).unwrap().request_id.unwrap();
    assert_eq!(id(r#"{"request_id":17,"features":[1]}"#), "17");
    assert_eq!(id(r#"{"request_id":-1,"features":[1],"surplus":{"deep":[1,{}]}}"#), "-1");
}

#[test]
fn numbers_are_rounded_correctly() {
    for text in ["0.1", "2.2250738585072011e-308", "9007199254740992", "1e23", "-0.0", "5e-324", "0.038075906433423026"]
    {
        let request = http(&format!(r#"{{"features":[{text}]}}"#)).unwrap();
        let exact: f64 = text.parse().unwrap();
        assert_eq!(request.features.rows()[0].values[0].to_bits(), exact.to_bits(), "{text}");
    }
}

#[test]
fn text_and_booleans_keep_the_kind_of_every_value() {
    let request =
        http(r#"{"features":{"age":59,"bmi":32.0,"city":"\u0141\ud83d\ude00","active":true,"note":null},"output":"predict_proba","params":{"k":1}}"#)
            .unwrap();
    let row = &request.features.rows()[0];
    let expected = [Value::integer(59), Value::float(32.0), Value::text("Ł😀"), Value::boolean(true), Value::MISSING];
    assert_eq!((row.mixed.as_slice(), row.values.len(), row.names.len()), (expected.as_slice(), 0, 5));
    assert_eq!((request.output.as_str(), &request.params["k"]), ("predict_proba", &Value::integer(1)));
    let many = http(r#"{"features":[["a"],[1],[9007199254740993]]}"#).unwrap();
    let mixed: Vec<_> = many.features.rows().iter().map(|row| row.mixed.clone()).collect();
    assert_eq!(mixed, [vec![Value::text("a")], vec![], vec![Value::integer(9_007_199_254_740_993)]]);
    assert!(matches!(http(r#"{"features":["a",1]}"#).unwrap().features, FeatureRows::One(_)));
}

#[test]
fn a_text_has_a_byte_budget() {
    let text = |bytes: usize| http(&format!(r#"{{"features":{{"note":"{}"}}}}"#, "x".repeat(bytes)));
    assert_eq!(text(MAX_ROW_BYTES / 2).unwrap().features.rows()[0].len(), 1);
    let problem = text(1 << 20).unwrap_err();
    assert_eq!(problem, Problem::new(PayloadTooLarge, "features.note: one row holds at most 512 KiB"));
    let two = format!(r#"{{"features":["{0}","{0}"]}}"#, "é".repeat(MAX_ROW_BYTES / 3));
    assert_eq!(http(&two).unwrap_err().message, "features: one row holds at most 512 KiB");
}

/// Input, code, and a part of the message.
const BAD: &[(&str, ErrorCode, &str)] = &[
    ("", InvalidRequest, "the body is empty"),
    ("  ", InvalidRequest, "not JSON: EOF"),
    ("{", InvalidRequest, "line 1 column 1"),
    ("{\"features\":[1,\n 2", InvalidRequest, "features[2]: not JSON: EOF while parsing a list at line 2 column 2"),
    ("[1,2]", InvalidRequest, "expected a JSON object with the field features"),
    ("\"x\"", InvalidRequest, "invalid type: string"),
    ("{}", InvalidRequest, "features: missing"),
    (r#"{"features":[1]} {"#, InvalidRequest, "trailing characters at line 1 column 18"),
    (r#"{"features":[1],}"#, InvalidRequest, "trailing comma at line 1 column 17"),
    (r#"{"features":[1],"feature":[2]}"#, InvalidRequest, "unknown field \"feature\", expected one of request_id"),
    (r#"{"features":[1],"features":[2]}"#, InvalidRequest, "features: given twice"),
    (r#"{"features":[]}"#, InvalidFeatures, "features: empty"),
    (r#"{"features":{}}"#, InvalidFeatures, "features: empty"),
    (r#"{"features":[[1],[]]}"#, InvalidFeatures, "features[1]: empty"),
    (
        r#"{"features":[1,[2]]}"#,
        InvalidRequest,
        "features[1]: expected a number, a string, a boolean or null, got an array",
    ),
    (
        r#"{"features":[[1,2],[3,{}]]}"#,
        InvalidRequest,
        "features[1][1]: expected a number, a string, a boolean or null, got",
    ),
    (r#"{"features":{"city":"\ud800"}}"#, InvalidRequest, "features.city: not JSON: unexpected end of hex escape"),
    (r#"{"features":[1],"output":1}"#, InvalidRequest, "output: expected a string, got the number 1"),
    (r#"{"features":[1],"params":[]}"#, InvalidRequest, "params: expected an object of values, got an array"),
    (r#"{"features":[1],"params":{"k":[1]}}"#, InvalidRequest, "params.k: expected a number"),
    (
        r#"{"features":[[1],2]}"#,
        InvalidRequest,
        "features[1]: expected an array of values or an object of named values",
    ),
    (r#"{"features":{"bmi":{}}}"#, InvalidRequest, "features.bmi: expected a number, a string"),
    (
        r#"{"features":[{"a":1},{"bmi":[]}]}"#,
        InvalidRequest,
        "features[1].bmi: expected a number, a string, a boolean or null, got an array",
    ),
    (r#"{"features":{"a":1,"a":2}}"#, InvalidRequest, "features.a: given twice"),
    (r#"{"features":"1,2"}"#, InvalidRequest, "features: expected an array of values"),
    (r#"{"features":7}"#, InvalidRequest, "got the number 7"),
    (r#"{"features":null}"#, InvalidRequest, "got null"),
    (r#"{"features":[1,NaN]}"#, InvalidFeatures, "features[1]: NaN is not a finite number"),
    (r#"{"features":[1, -Infinity, 2]}"#, InvalidFeatures, "features[1]: -Infinity is not a finite number"),
    ("{\"features\":[1,\n\n nan]}", InvalidFeatures, "features[1]: nan is not a finite number"),
    (r#"{"features":[Infinity]}"#, InvalidFeatures, "features[0]: Infinity is not a finite number"),
    (r#"{"features":[[0],[1,2,1e400]]}"#, InvalidFeatures, "features[1][2]: the number is out of the range"),
    (r#"{"features":{"bmi":-1e400}}"#, InvalidFeatures, "features.bmi: the number is out of the range"),
    (r#"{"features":[[1],[NaN]]}"#, InvalidFeatures, "features[1][0]: NaN is not"),
    (r#"{"features":[01]}"#, InvalidRequest, "features[0]: not JSON: invalid number at line 1 column 15"),
    (r#"{"features":[+1]}"#, InvalidRequest, "features[0]: not JSON: expected value at line 1 column 14"),
    (r#"{"features":[1.]}"#, InvalidRequest, "features[0]: not JSON: invalid number"),
    (
        r#"{"features":[[1],[1],[1],[1],[1]]}"#,
        PayloadTooLarge,
        "more than 4 rows, the limit of one request (http.max_rows)",
    ),
    (r#"{"features":[1],"request_id":5}"#, InvalidRequest, "request_id: expected a string, got the number 5"),
    (r#"{"features":[1],"model":["m"]}"#, InvalidRequest, "model: expected a string, got an array"),
    (
        r#"{"features":[1],"model_version":1.5}"#,
        InvalidRequest,
        "model_version: expected a string such as \"v1\" or a number, got the number 1.5",
    ),
    (r#"{"features":[1],"model_version":-1}"#, InvalidRequest, "model_version: expected"),
    (
        r#"{"features":[1],"priority":"high"}"#,
        InvalidRequest,
        "priority: expected an integer from -2147483648 to 2147483647, got the string \"high\"",
    ),
    (r#"{"features":[1],"priority":1.5}"#, InvalidRequest, "priority: expected an integer"),
    (r#"{"features":[1],"priority":99999999999}"#, InvalidRequest, "priority: expected an integer"),
    (r#"{"features":[1],"timeout_ms":0}"#, InvalidRequest, "timeout_ms: expected an integer from 1"),
    (r#"{"features":[1],"timeout_ms":18446744073709551615}"#, InvalidRequest, "timeout_ms: expected an integer"),
    (r#"{"features":[1],"request_id":"\ud800"}"#, InvalidRequest, "not JSON: "),
    (r#"{"features":[1],"request_id":"\ud800\u0041"}"#, InvalidRequest, "not JSON: "),
];

#[test]
fn bad_input_is_refused_with_its_place() {
    for (text, code, part) in BAD {
        let problem = http(text).expect_err(text);
        assert_eq!(problem.code, *code, "{text}: {problem}");
        assert!(problem.message.contains(part), "{text}: {problem}");
    }
}

#[test]
fn deep_nesting_long_texts_and_broken_utf8_are_refused() {
    for deep in [format!(r#"{{"features":{}"#, "[".repeat(100_000)), format!(r#"{{"x":{}"#, "[".repeat(100_000))] {
        assert_eq!(http(&deep).unwrap_err().code, ErrorCode::InvalidRequest);
        assert_eq!(parse_record(deep.as_bytes()).unwrap_err().problem.code, ErrorCode::InvalidRequest);
    }
    let long = http(&format!(r#"{{"features":[1],"request_id":"{}"}}"#, "x".repeat(MAX_TEXT_BYTES + 1))).unwrap_err();
    assert_eq!(long.message, "request_id: 513 bytes, at most 512 are allowed");
    let wide = http(&format!(r#"{{"features":[{}1]}}"#, "1,".repeat(MAX_ROW_BYTES / 8))).unwrap_err();
    assert_eq!(wide, Problem::new(ErrorCode::PayloadTooLarge, "features: one row holds at most 512 KiB"));
    assert_eq!(parse_http(b"{\"request_id\":\"\xff\xfe\"}", 1).unwrap_err().code, ErrorCode::InvalidRequest);
    assert_eq!(parse_http(b"\xff\xfe\x00", 1).unwrap_err().code, ErrorCode::InvalidRequest);
    let many: String = (0..40).map(|i| format!("\"n{i}\":1,")).collect();
    let twice = http(&format!(r#"{{"features":{{{many}"n7":2}}}}"#)).unwrap_err();
    assert_eq!(twice.message, "features.n7: given twice");
}

#[test]
fn a_rejected_record_names_its_sender_where_it_can() {
    let table: &[(&str, Option<&str>, bool)] = &[
        (r#"{"request_id":"a","features":[1,[]]}"#, Some("a"), false),
        (r#"{"features":[1,[]],"request_id":"b"}"#, Some("b"), false),
        (r#"{"features":[NaN],"request_id" : 9}"#, Some("9"), false),
        (r#"{"features":[1,2 "request_id":"c"}"#, Some("c"), true),
        (r#"{"features":[1,2], "request_id": "trunc"#, None, true),
        (r#"{"features":[1"#, None, true),
        (r#"{"features":[[1],[2]],"request_id":"many"}"#, Some("many"), false),
        ("", None, true),
        ("null", None, true),
        ("not json at all", None, true),
    ];
    for (text, id, undecodable) in table {
        let rejected = parse_record(text.as_bytes()).expect_err(text);
        assert_eq!(rejected.request_id.as_deref(), *id, "{text}");
        assert_eq!(rejected.undecodable, *undecodable, "{text}: {}", rejected.problem);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_http(&bytes, MAX_ROWS);
        let _ = parse_record(&bytes);
    }

    #[test]
    fn no_mutation_of_a_request_makes_it_panic(at in 0usize..90, byte: u8, cut in 0usize..90) {
        let mut bytes = br#"{"request_id":"\u00e9","features":[{"a":1.5e3,"b":null},[-2,3]],"priority":1,"timeout_ms":5}"#.to_vec();
        bytes[at] = byte;
        let _ = parse_record(&bytes);
        let _ = parse_http(&bytes, MAX_ROWS);
        bytes.truncate(cut);
        prop_assert!(parse_http(&bytes, MAX_ROWS).is_err());
    }

    #[test]
    fn what_is_written_is_read_back_to_the_bit(
        rows in proptest::collection::vec(proptest::collection::vec(proptest::num::f64::NORMAL | proptest::num::f64::ZERO | proptest::num::f64::SUBNORMAL, 1..12), 1..=MAX_ROWS),
        id in ".{0,40}",
    ) {
        let text = serde_json::json!({ "request_id": id, "features": rows }).to_string();
        let request = http(&text).unwrap();
        let bits = |rows: &[Vec<f64>]| rows.iter().flatten().map(|value| value.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&values(&request)), bits(&rows));
        prop_assert_eq!(request.request_id, Some(id));
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_json() {
    let marked = [&b"\xef\xbb\xbf"[..], br#"{"request_id":"r","features":[1]}"#].concat();
    assert_eq!(parse_record(&marked).unwrap().request_id.as_deref(), Some("r"));
    assert!(parse_http(&marked, 1).is_ok());
    assert_eq!(parse_line(b"\xef\xbb\xbf[1, 2]").unwrap().row.values, [1.0, 2.0]);
    assert!(parse_record(b"\xef\xbb\xbf").unwrap_err().problem.message.contains("empty"));
}

#[test]
fn the_wire_format_of_confluent_is_named() {
    let record = [&[0, 0, 0, 1, 4][..], br#"{"request_id":"r","features":[1]}"#].concat();
    let rejected = parse_record(&record).unwrap_err();
    assert!(rejected.problem.message.contains("Confluent's serializers (schema id 260)"), "{rejected:?}");
    assert!(rejected.problem.message.contains("schemas.registry"), "{rejected:?}");
    assert_eq!((rejected.undecodable, rejected.request_id.as_deref()), (true, Some("r")));
    assert!(!parse_record(b"\0\0").unwrap_err().problem.message.contains("Confluent"));
}
