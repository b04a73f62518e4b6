//! Any value of any Protobuf schema is JSON that the parser of requests takes or refuses, or an error with a text. The input
//! is the schema, a zero byte, and the value.
#![no_main]

use forebay_ingestion::fuzzing::protobuf;
use forebay_ingestion::parse::parse_record;

/// Lets panics of the compiler of schemas pass, which are caught where it is called: it asserts what some schemas break.
fn except_the_compiler() {
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|location| location.file().contains("/protox-parse-")) {
            end(panic);
        }
    }));
}

libfuzzer_sys::fuzz_target!(init: except_the_compiler(), |input: &[u8]| {
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
