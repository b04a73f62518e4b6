//! Any value of any Protobuf schema is JSON that the parser of requests takes or refuses, or an error with a text. The input
//! is the schema, a zero byte, and the value.
#![no_main]

use forebay_ingestion::fuzzing::protobuf;
use forebay_ingestion::parse::parse_record;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == 0) else { return };
    let Ok(schema) = std::str::from_utf8(&input[..end]) else { return };
    match protobuf(schema, &input[end + 1..]) {
        Ok(json) => {
            assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&json).is_ok());
            let _ = parse_record(&json);
        }
        Err(why) => assert!(!why.is_empty()),
    }
});
