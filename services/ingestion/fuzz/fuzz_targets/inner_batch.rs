//! Any record of an inner topic is a batch or an error, whatever payload the topic carries; and a batch that was decoded is
//! encoded to the same bytes again.
#![no_main]

use forebay_contract::{Features, Outcome, Prediction, Request, decode, encode};
use prost::Message;

fn round_trip<P: Message + Default>(record: &[u8]) {
    let Ok(batch) = decode::<P>(record.to_vec()) else { return };
    let (mut sent, mut again) = (Vec::new(), Vec::new());
    encode(&batch, &mut sent);
    let back = decode::<P>(sent.clone()).expect("a decoded batch can be encoded");
    encode(&back, &mut again);
    assert_eq!(sent, again);
    assert!(batch.items.iter().zip(&back.items).all(|(a, b)| a.context.encoded() == b.context.encoded()));
}

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    round_trip::<Request>(record);
    round_trip::<Features>(record);
    round_trip::<Prediction>(record);
    round_trip::<Outcome>(record);
});
