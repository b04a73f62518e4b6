//! Any JSON body of MLflow's scoring protocol makes rows or a problem with a message.
#![no_main]

use forebay_ingestion::fuzzing::invocations;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    match invocations(body) {
        Ok(rows) => assert!(rows <= 64),
        Err(problem) => assert!(!problem.message.is_empty()),
    }
});
