//! Any HTTP body is a request of finite or missing values, or a problem with a sentence; and what this door takes as one
//! labelled row, the record door takes for the same ask.
#![no_main]

use forebay_ingestion::parse::{parse_http, parse_record};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    match parse_http(body, 64) {
        Ok(ask) => {
            assert!(ask.features.rows().iter().flat_map(|row| &row.values).all(|value| !value.is_infinite()));
            if ask.request_id.is_some() && !ask.features.many() {
                let record = parse_record(body).expect("a labelled row is a record");
                assert_eq!(
                    (record.digest(), record.priority, record.timeout),
                    (ask.digest(), ask.priority, ask.timeout)
                );
            }
        }
        Err(problem) => assert!(!problem.message.is_empty()),
    }
});
