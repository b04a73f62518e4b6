//! Whatever is sent over an edge arrives equal, and whatever else arrives is an error.

use bytes::Bytes;
use forebay_contract::{
    Batch, Context, ContextFields, Features, Hex, Item, KafkaOrigin, Origin, Request, RequestId, Stage, StageTime,
    decode, encode, wire,
};
use proptest::prelude::*;
use prost::Message;

fn context(row: u32, request_id: Option<String>) -> Context {
    Context::new(ContextFields {
        request_id: RequestId([7; 16]),
        row,
        rows: row + 1,
        client_request_id: request_id,
        trace_id: [9; 16],
        trace_flags: 1,
        accepted_us: 1_000_000,
        deadline_us: 2_000_000,
        priority: -3,
        result_partition: 5,
        origin: Origin::Kafka(KafkaOrigin { partition: 2, offset: 77, timestamp_ms: -1, ..KafkaOrigin::default() }),
        idempotent: None,
    })
}

prop_compose! {
    fn item()(row in 0u32..9, id in proptest::option::of(".{0,12}"), span: u64, attempt in 0u32..4, features in proptest::collection::vec(any::<f64>(), 0..20), version in "v[0-9]{0,2}") -> Item<Request> {
        Item { context: context(row, id), parent_span: span, attempt, payload: Request { version, features, ..Request::default() } }
    }
}

proptest! {
    #[test]
    fn a_batch_reads_back_equal(batch_partition in 0u32..100, items in proptest::collection::vec(item(), 1..9)) {
        let stages = vec![StageTime { stage: Stage::Ingestion.into(), entered_us: 1, left_us: 2 }];
        let batch = Batch { batch_partition, stages, items };
        let mut record = Vec::new();
        encode(&batch, &mut record);
        // the hand-written encoder and the schema's own agree
        prop_assert!(wire::Batch::decode(record.as_slice()).is_ok());
        let back: Batch<Request> = decode(record).unwrap();
        prop_assert_eq!(back.batch_partition, batch.batch_partition);
        prop_assert_eq!(&back.stages, &batch.stages);
        for (a, b) in back.items.iter().zip(&batch.items) {
            prop_assert_eq!(a.context.encoded(), b.context.encoded());
            prop_assert_eq!(a.context.request_id(), b.context.request_id());
            prop_assert_eq!((a.parent_span, a.attempt), (b.parent_span, b.attempt));
            let bits = |r: &Request| r.features.iter().map(|f| f.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&a.payload), bits(&b.payload));
        }
        prop_assert_eq!(back.items.len(), batch.items.len());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode::<Request>(bytes.clone());
        let _ = decode::<Features>(bytes);
    }

    #[test]
    fn a_truncated_record_is_an_error_or_a_shorter_batch(items in proptest::collection::vec(item(), 1..4), cut in 0usize..200) {
        let batch = Batch { batch_partition: 1, stages: vec![], items };
        let mut record = Vec::new();
        encode(&batch, &mut record);
        let cut = cut.min(record.len().saturating_sub(1));
        if let Ok(back) = decode::<Request>(record[..cut].to_vec()) {
            prop_assert!(back.items.len() < batch.items.len());
        }
    }
}

#[test]
fn fields_of_a_newer_context_survive_an_older_stage() {
    let mut newer = context(0, None).encoded().to_vec();
    prost::encoding::string::encode(200, &"from the future".to_owned(), &mut newer);
    let item = Item {
        context: Context::decode(Bytes::from(newer.clone())).unwrap(),
        parent_span: 0,
        attempt: 0,
        payload: Request::default(),
    };
    let mut record = Vec::new();
    encode(&Batch { batch_partition: 0, stages: vec![], items: vec![item] }, &mut record);
    let back: Batch<Features> = {
        let requests: Batch<Request> = decode(record).unwrap();
        let mut onward = requests.onward();
        onward.items.extend(requests.items.into_iter().map(|i| i.with(Features::default())));
        let mut record = Vec::new();
        encode(&onward, &mut record);
        decode(record).unwrap()
    };
    assert_eq!(back.items[0].context.encoded().as_ref(), newer.as_slice());
}

#[test]
fn golden_bytes_of_the_first_schema() {
    let batch = Batch {
        batch_partition: 3,
        stages: vec![],
        items: vec![Item {
            context: context(0, Some("r1".into())),
            parent_span: 1,
            attempt: 0,
            payload: Request { model: "m".into(), version: "v1".into(), features: vec![0.5], ..Request::default() },
        }],
    };
    let mut record = Vec::new();
    encode(&batch, &mut record);
    assert_eq!(Hex(&record).to_string(), include_str!("golden_batch.hex").trim());
}

/// Written by the build before rows carried the digest of their version's content.
#[test]
fn features_without_a_digest_are_read_and_written_as_before() {
    let recorded = include_str!("golden_features.hex").trim();
    let bytes = |at: usize| u8::from_str_radix(&recorded[at..at + 2], 16).unwrap();
    let batch: Batch<Features> = decode((0..recorded.len()).step_by(2).map(bytes).collect::<Vec<u8>>()).unwrap();
    let features = &batch.items[0].payload;
    assert_eq!((features.model.as_str(), features.version, features.raw.as_slice()), ("m", 1, &[0.5][..]));
    assert!(features.is_for_content(&[1; 32]), "as the build before would store it");
    let mut record = Vec::new();
    encode(&batch, &mut record);
    assert_eq!(Hex(&record).to_string(), recorded);

    let digest = Features::digest_of(&[1; 32]);
    let newer = Features { digest, ..features.clone() };
    assert!(newer.is_for_content(&[1; 32]) && !newer.is_for_content(&[2; 32]));
    // a field that an older build does not know
    assert!(newer.encode_to_vec().starts_with(&features.encode_to_vec()));
}
