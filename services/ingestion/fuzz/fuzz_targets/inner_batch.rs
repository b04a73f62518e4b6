//! Any record of an inner topic is a batch or an error, whatever payload the topic carries; and a batch that was read is
//! handed on as it was.
#![no_main]

use forebay_contract::{Features, Outcome, Prediction, Request, decode, encode};
use prost::Message;

fn onward<P: Message + Default>(record: &[u8]) {
    let Ok(batch) = decode::<P>(record.to_vec()) else { return };
    let (mut sent, mut again) = (Vec::new(), Vec::new());
    encode(&batch, &mut sent);
    let back = decode::<P>(sent.clone()).expect("what was read can be sent");
    encode(&back, &mut again);
    assert_eq!(sent, again);
    assert!(batch.items.iter().zip(&back.items).all(|(a, b)| a.context.encoded() == b.context.encoded()));
}

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    onward::<Request>(record);
    onward::<Features>(record);
    onward::<Prediction>(record);
    onward::<Outcome>(record);
});
