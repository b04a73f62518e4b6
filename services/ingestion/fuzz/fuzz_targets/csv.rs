//! Any body in CSV makes rows or a problem with a message.
#![no_main]

use forebay_ingestion::fuzzing::csv;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    match csv(body) {
        Ok(rows) => assert!(rows <= 64),
        Err(problem) => assert!(!problem.message.is_empty()),
    }
});
