//! Reading results: the JSON of the result topic and of HTTP bodies.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::run::{ResultOwner, RunId};

/// The fields of a result that a load test looks at; all others are ignored.
#[derive(Debug, Deserialize)]
pub struct ReceivedResult<'a> {
    /// The request id, as the client sent it.
    #[serde(borrow, default)]
    pub request_id: Option<Cow<'a, str>>,
    /// `null` for an error; one number or an array of them.
    #[serde(borrow, default)]
    pub prediction: Option<&'a RawValue>,
    /// The predictions of a request with several rows, from endpoints that list them.
    #[serde(borrow, default, alias = "results")]
    pub predictions: Option<Vec<&'a RawValue>>,
    /// Which version answered.
    #[serde(borrow, default)]
    pub model_version: Option<Cow<'a, str>>,
    /// Whether the prediction came out of the cache.
    #[serde(default)]
    pub cached: Option<bool>,
    /// Why there is no prediction.
    #[serde(borrow, default)]
    pub error: Option<ReceivedError<'a>>,
}

/// The error of a result.
#[derive(Debug, Deserialize)]
pub struct ReceivedError<'a> {
    /// One of the documented codes.
    #[serde(borrow)]
    pub code: Cow<'a, str>,
}

/// Whether a result holds a prediction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultStatus {
    /// A prediction for every row.
    Predicted {
        /// Whether it came out of the cache.
        cached: bool,
    },
    /// An error, by its code.
    Failed(String),
}

impl<'a> ReceivedResult<'a> {
    /// Reads one result.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The status of the result, as that of a request with `rows` rows.
    #[must_use]
    pub fn status(&self, rows: usize) -> ResultStatus {
        if let Some(error) = &self.error {
            return ResultStatus::Failed(error.code.to_string());
        }
        let null = |raw: &RawValue| raw.get() == "null";
        let answered = match (&self.predictions, self.prediction) {
            (Some(list), _) => list.iter().filter(|raw| !null(raw)).count(),
            (None, Some(raw)) if raw.get().starts_with('[') => {
                serde_json::from_str::<Vec<Option<f64>>>(raw.get()).map_or(0, |list| list.into_iter().flatten().count())
            }
            (None, Some(raw)) if !null(raw) => 1,
            _ => 0,
        };
        if answered == rows.max(1) {
            ResultStatus::Predicted { cached: self.cached.unwrap_or(false) }
        } else {
            ResultStatus::Failed(format!("{answered}_of_{rows}_rows"))
        }
    }

    /// A fingerprint of the prediction for comparing to the bit: the number's bits for one row, a hash of the texts for
    /// several.
    #[must_use]
    pub fn fingerprint(&self) -> Option<u64> {
        if let Some(list) = &self.predictions {
            return Some(list.iter().fold(7, |sum, raw| mix(sum, raw.get())));
        }
        let text = self.prediction?.get();
        match serde_json::from_str::<f64>(text) {
            Ok(value) => Some(value.to_bits()),
            Err(_) if text == "null" => None,
            Err(_) => Some(mix(7, text)),
        }
    }
}

fn mix(sum: u64, text: &str) -> u64 {
    text.bytes().fold(sum, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Reads the number of our request out of a result that begins as documented,
/// `{"request_id":"<run>-<i>","prediction":<number>`, without parsing the rest. `None` means: parse it properly.
#[must_use]
pub(crate) fn quick_index(run: &RunId, bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(b"{\"request_id\":\"")?.strip_prefix(run.as_str().as_bytes())?.strip_prefix(b"-")?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).filter(|digits| (1..=18).contains(digits))?;
    let first = rest.get(digits..)?.strip_prefix(b"\",\"prediction\":")?.first()?;
    let number = rest[..digits].iter().fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'));
    (first.is_ascii_digit() || *first == b'-').then_some(number)
}

/// Which run the result belongs to.
#[must_use]
pub(crate) fn owner(run: &RunId, answer: &ReceivedResult<'_>) -> ResultOwner {
    answer.request_id.as_deref().map_or(ResultOwner::Foreign, |id| run.owner(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunId {
        RunId::parse("ab12cd34").unwrap()
    }

    #[test]
    fn the_quick_reader_agrees_with_the_full_one_or_declines() {
        let ok = br#"{"request_id":"ab12cd34-77","prediction":-1.5,"model_version":"v1","timestamp":1}"#;
        assert_eq!(quick_index(&run(), ok), Some(77));
        let answer = ReceivedResult::parse(ok).unwrap();
        assert_eq!(owner(&run(), &answer), ResultOwner::Ours(77));
        assert_eq!(answer.status(1), ResultStatus::Predicted { cached: false });
        for other in [
            &br#"{"request_id":"ab12cd34-77","prediction":null,"error":{"code":"internal","message":"x"}}"#[..],
            br#"{"request_id":"ffffffff-77","prediction":1.0}"#,
            br#"{"request_id":"ab12cd34-","prediction":1.0}"#,
            br#"{"request_id":"ab12cd34-77"}"#,
            b"{\"request_id\":\"ab12cd34-77",
            b"",
        ] {
            assert_eq!(quick_index(&run(), other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn errors_and_missing_rows_are_failures() {
        let failed =
            ReceivedResult::parse(br#"{"request_id":"a","prediction":null,"error":{"code":"internal","message":"x"}}"#)
                .unwrap();
        assert_eq!(failed.status(1), ResultStatus::Failed("internal".into()));
        assert_eq!(failed.fingerprint(), None);
        let short = ReceivedResult::parse(br#"{"predictions":[1.0,2.0]}"#).unwrap();
        assert_eq!(short.status(2), ResultStatus::Predicted { cached: false });
        assert_eq!(short.status(3), ResultStatus::Failed("2_of_3_rows".into()));
        let array = ReceivedResult::parse(br#"{"prediction":[1.0,2.0],"cached":true}"#).unwrap();
        assert_eq!(array.status(2), ResultStatus::Predicted { cached: true });
        assert_eq!(
            ReceivedResult::parse(br#"{"prediction":null}"#).unwrap().status(1),
            ResultStatus::Failed("0_of_1_rows".into())
        );
    }
}
