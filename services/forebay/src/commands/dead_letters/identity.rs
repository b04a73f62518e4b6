//! Whose a dead letter is: the request ids and trace ids in its headers and bytes.

use forebay_bus::kafka::StoredDeadLetter;
use forebay_contract::{Hex, decode};
use forebay_ingestion::parse::recover_request_id;
use forebay_publishing::kafka_results::{REQUEST_ID_HEADER, TRACE_HEADER, parse_request_id_header};

/// The ids of a letter: of a request, of a result, or of each item of a batch between two stages.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) requests: Vec<String>,
    pub(super) traces: Vec<String>,
}

impl Identity {
    pub(super) fn of(letter: &StoredDeadLetter) -> Self {
        let mut identity = Self::default();
        let trace = letter.header(TRACE_HEADER).and_then(|value| std::str::from_utf8(value).ok());
        identity.traces.extend(trace.and_then(|trace| trace.split('-').nth(1)).map(str::to_owned));
        let answered = letter.header(REQUEST_ID_HEADER).and_then(|value| parse_request_id_header(value));
        identity.requests.extend(answered.map(|item| item.request_id.to_string()));
        identity.requests.extend(recover_request_id(letter.payload()));
        // whatever the items carry
        let items = decode::<()>(letter.payload().clone()).map(|batch| batch.items).unwrap_or_default();
        for context in items.into_iter().map(|item| item.context) {
            identity.requests.extend(context.client_request_id().map(str::to_owned));
            identity.requests.push(context.request_id().to_string());
            identity.traces.extend((context.trace_id() != [0; 16]).then(|| Hex(&context.trace_id()).to_string()));
        }
        for ids in [&mut identity.requests, &mut identity.traces] {
            let mut seen = std::collections::HashSet::new();
            ids.retain(|id| seen.insert(id.clone()));
        }
        identity
    }
}

#[cfg(test)]
mod tests {
    use forebay_bus::kafka::RawRecord;
    use forebay_contract::{Batch, RequestId, encode};
    use forebay_publishing::kafka_results::request_id_header;
    use forebay_testkit::{answer, kafka};

    use super::*;

    fn letter(payload: &[u8], headers: &[(&str, &[u8])]) -> StoredDeadLetter {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec().into())).collect();
        let payload = payload.to_vec().into();
        StoredDeadLetter::new(RawRecord { payload, key: None, partition: 0, offset: 0, timestamp_ms: 0, headers })
    }

    fn identity(letter: &StoredDeadLetter) -> (Vec<String>, Vec<String>) {
        let Identity { requests, traces } = Identity::of(letter);
        (requests, traces)
    }

    #[test]
    fn ids_are_found_in_headers_documents_and_batches() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let cut = letter(br#"{"request_id":"order-17","features":[1,"#, &[("traceparent", trace.as_bytes())]);
        let traced = vec!["0af7651916cd43dd8448eb211c80319c".to_owned()];
        assert_eq!(identity(&cut), (vec!["order-17".to_owned()], traced));

        let id = RequestId([0xab; 16]);
        let context = || kafka(id).client_request_id("mine").sampled();
        let result = letter(b"{}", &[("forebay-request-id", &request_id_header(context().build().item()))]);
        assert_eq!(identity(&result), (vec!["ab".repeat(16)], vec![]));

        let items = vec![context().item(answer(1.0)), context().row(1, 2).item(answer(2.0))];
        let mut bytes = Vec::new();
        encode(&Batch { batch_partition: 0, stages: vec![], items }, &mut bytes);
        let expected = (vec!["mine".to_owned(), "ab".repeat(16)], vec!["07".repeat(16)]);
        assert_eq!(identity(&letter(&bytes, &[])), expected, "each once");
        assert_eq!(identity(&letter(b"\xff\xfe", &[("traceparent", b"\xff")])), (vec![], vec![]));
    }
}
