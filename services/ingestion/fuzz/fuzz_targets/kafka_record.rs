//! Any record is a request, or is rejected with a message.
#![no_main]

use forebay_ingestion::parse::parse_record;

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    if let Err(rejected) = parse_record(record) {
        assert!(!rejected.problem.message.is_empty());
    }
});
