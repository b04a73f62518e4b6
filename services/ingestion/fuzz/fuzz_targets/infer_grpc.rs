//! Any message of a gRPC request for inference makes rows or a problem with a message.
#![no_main]

use forebay_ingestion::fuzzing::infer_grpc;

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    match infer_grpc(message) {
        Some(Ok(rows)) => assert!((1..=64).contains(&rows)),
        Some(Err(problem)) => assert!(!problem.message.is_empty()),
        None => {}
    }
});
