//! Any HTTP body is an ask of finite or missing values, or a problem with a sentence.
#![no_main]

use forebay_ingestion::parse::parse_http;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    match parse_http(body, 64) {
        Ok(ask) => assert!(ask.features.rows().iter().flat_map(|row| &row.values).all(|value| !value.is_infinite())),
        Err(problem) => assert!(!problem.message.is_empty()),
    }
});
