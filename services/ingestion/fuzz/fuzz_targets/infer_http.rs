//! Any body of a request for inference over HTTP, wherever its JSON is said to end, makes rows or a problem with a message.
#![no_main]

use forebay_ingestion::fuzzing::infer_http;

libfuzzer_sys::fuzz_target!(|input: (u16, &[u8])| {
    let (length, body) = input;
    // half of the bodies are JSON alone
    let length = if length % 2 == 0 { body.len() } else { usize::from(length / 2) };
    match infer_http(body, length) {
        Ok(rows) => assert!((1..=64).contains(&rows)),
        Err(problem) => assert!(!problem.message.is_empty()),
    }
});
