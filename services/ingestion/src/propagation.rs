//! What the result of a Kafka request has of the record of its request.

use std::sync::Arc;

use bytes::Bytes;
use forebay_bus::kafka::RawRecord;
use forebay_contract::{ErrorCode, Problem, RecordHeader};

/// The most bytes of a key and headers, which travel with the request through every stage.
const MAX_BYTES: usize = 4096;
/// The name that stands for all headers.
const ALL: &str = "*";

/// Which parts of a record its result has again.
#[derive(Clone, Debug, Default)]
pub struct Propagation {
    key: bool,
    headers: Arc<[String]>,
}

/// Key and headers for a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PropagatedParts {
    pub key: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
}

impl PropagatedParts {
    /// Their size.
    pub(crate) fn bytes(&self) -> usize {
        let of_headers: usize = self.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len) + of_headers
    }
}

impl Propagation {
    /// The key if `key`, and the headers with these names; `*` is all of them.
    pub fn new(key: bool, headers: &[String]) -> Self {
        Self { key, headers: headers.into() }
    }

    /// The parts of `record`.
    ///
    /// # Errors
    /// `invalid_request` for more than 4 KiB.
    pub(crate) fn of(&self, record: &RawRecord) -> Result<PropagatedParts, Problem> {
        let key = record.key.clone().filter(|_| self.key);
        let wanted = |name: &String| self.headers.iter().any(|wanted| wanted == ALL || wanted == name);
        let headers = record.headers.iter().filter(|(name, _)| wanted(name));
        let headers = headers.map(|(name, value)| RecordHeader { name: name.clone(), value: value.clone() });
        let parts = PropagatedParts { key, headers: headers.collect() };
        let bytes = parts.bytes();
        if bytes > MAX_BYTES {
            let text = format!(
                "the key and the headers that the result should have are {bytes} bytes, at most {MAX_BYTES} \
                 (ingestion.propagate_headers)"
            );
            return Err(Problem::new(ErrorCode::InvalidRequest, text));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RawRecord {
        let headers = [("a", "1"), ("b", "2"), ("a", "3")];
        let headers = headers.map(|(name, value)| (name.to_owned(), Bytes::from_static(value.as_bytes())));
        let key = Some(Bytes::from_static(b"k"));
        RawRecord { payload: Bytes::new(), key, partition: 0, offset: 0, timestamp_ms: 0, headers: headers.into() }
    }

    fn values(propagation: &Propagation) -> (bool, Vec<u8>) {
        let parts = propagation.of(&record()).unwrap();
        (parts.key.is_some(), parts.headers.iter().flat_map(|header| header.value.to_vec()).collect())
    }

    #[test]
    fn what_the_settings_name_is_propagated_in_order() {
        assert_eq!(values(&Propagation::default()), (false, vec![]));
        assert_eq!(values(&Propagation::new(true, &["a".into()])), (true, b"13".to_vec()));
        assert_eq!(values(&Propagation::new(false, &["*".into()])), (false, b"123".to_vec()));
    }

    #[test]
    fn too_much_is_an_error() {
        let propagation = Propagation::new(true, &["a".into()]);
        let record = |bytes| RawRecord { key: Some(vec![0; bytes].into()), ..record() };
        // two headers of two bytes each
        assert!(propagation.of(&record(MAX_BYTES - 4)).is_ok());
        assert_eq!(propagation.of(&record(MAX_BYTES - 3)).unwrap_err().code, ErrorCode::InvalidRequest);
    }
}
