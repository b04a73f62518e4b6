//! Any HTTP body is a request with finite or missing values, or a problem with a message; and a body that HTTP accepts as
//! one row with a request id is the same request as a record.
#![no_main]

use forebay_ingestion::parse::{parse_http, parse_record};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    match parse_http(body, 64) {
        Ok(request) => {
            assert!(request.features.rows().iter().flat_map(|row| &row.values).all(|value| !value.is_infinite()));
            if request.request_id.is_some() && !request.features.many() {
                let record = parse_record(body).expect("a row with a request id is a record");
                assert_eq!(
                    (record.digest(), record.priority, record.timeout),
                    (request.digest(), request.priority, request.timeout)
                );
            }
        }
        Err(problem) => assert!(!problem.message.is_empty()),
    }
});
