//! Any record of an inner topic is a batch or an error, whatever payload the topic carries.
#![no_main]

use forebay_contract::{Features, Outcome, Prediction, Request, decode};

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    let _ = decode::<Request>(record.to_vec());
    let _ = decode::<Features>(record.to_vec());
    let _ = decode::<Prediction>(record.to_vec());
    let _ = decode::<Outcome>(record.to_vec());
});
