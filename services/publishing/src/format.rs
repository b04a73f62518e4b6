//! Writes the JSON document of a result: one record of the result topic, or the body of one RabbitMQ reply.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use forebay_contract::wire::outcome::Result as RowResult;
use forebay_contract::{
    Answer, Context, ErrorCode, ErrorDetail, Failure, FailureDocument, LatencyMs, Origin, Outcome, PredictedValue,
    Problem, ResultDocument, Score, Timestamp,
};
use serde_json::Value;

/// Typical size of a document, so that most are written without growing the buffer.
const TYPICAL_SIZE: usize = 320;

/// How a document writes the time of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Unix milliseconds, a number.
    #[default]
    Milliseconds,
    /// ISO 8601 with milliseconds, UTC, a string.
    Iso8601,
}

/// The document of `outcome`, which was given at `answered_us` (Unix microseconds), with the time in the form that
/// `times` selects. It depends on nothing else, so that a result which is sent again has the same bytes.
pub fn document(context: &Context, outcome: &Outcome, answered_us: u64, times: Times) -> Vec<u8> {
    let mut out = Vec::with_capacity(TYPICAL_SIZE);
    write(context, outcome, answered_us, times, &mut out);
    out
}

/// Appends the document of `outcome` to `out`.
pub fn write(context: &Context, outcome: &Outcome, answered_us: u64, times: Times, out: &mut Vec<u8>) {
    let (ms, text) = time(context, times);
    let timestamp = text.as_deref().map_or(Timestamp::Milliseconds(ms), Timestamp::Iso8601);
    // many rows share a request id, so each names its own
    let row = (context.rows() > 1).then(|| context.row());
    let latency_ms = LatencyMs::ThreeDecimals(answered_us.saturating_sub(context.accepted_us()));
    let result = usable(outcome);
    // a failed request has spans even if it was not sampled
    let traced = context.trace_id() != [0; 16] && (result.is_err() || context.sampled());
    let digits = traced.then(|| hex(context.trace_id()));
    let trace_id = digits.as_ref().and_then(|digits| std::str::from_utf8(digits).ok());
    let request_id = context.client_request_id();
    let written = match result {
        Ok((answer, score)) => serde_json::to_writer(
            &mut *out,
            &ResultDocument {
                request_id,
                prediction: PredictedValue::from(score),
                model_version: &answer.label,
                timestamp,
                row,
                model: &answer.model,
                cached: answer.cached,
                latency_ms,
                trace_id,
                fallback_from: answer.fallback_from(),
                probabilities: &score.probabilities,
                classes: score.class_labels(),
            },
        ),
        Err(failure) => serde_json::to_writer(
            &mut *out,
            &FailureDocument {
                request_id,
                prediction: (),
                model_version: (),
                timestamp,
                row,
                latency_ms,
                trace_id,
                error: ErrorDetail { code: failure.code.as_str().into(), message: failure.message.as_str().into() },
            },
        ),
    };
    debug_assert!(written.is_ok(), "text keys, numbers and strings always serialize into a vector");
}

/// The error that is sent instead of `document`, a result that is too large to be sent; `None` if it is no shorter. An
/// error keeps its code.
pub(crate) fn too_large(document: &[u8], message: &str) -> Option<Vec<u8>> {
    let read: serde_json::Map<String, Value> = serde_json::from_slice(document).ok()?;
    let text = |name: &str| read.get(name).and_then(Value::as_str);
    let timestamp = match read.get("timestamp")? {
        Value::String(text) => Timestamp::Iso8601(text),
        number => Timestamp::Milliseconds(number.as_i64()?),
    };
    let latency_us = (read.get("latency_ms")?.as_f64()? * 1e3).round() as u64;
    let code = read.get("error").and_then(|error| error.get("code")?.as_str());
    let error = FailureDocument {
        request_id: text("request_id"),
        prediction: (),
        model_version: (),
        timestamp,
        row: read.get("row").and_then(Value::as_u64).and_then(|row| u32::try_from(row).ok()),
        latency_ms: LatencyMs::ThreeDecimals(latency_us),
        trace_id: text("trace_id"),
        error: ErrorDetail {
            code: code.unwrap_or(ErrorCode::PayloadTooLarge.as_str()).into(),
            message: message.into(),
        },
    };
    serde_json::to_vec(&error).ok().filter(|error| error.len() < document.len())
}

/// The failure of an outcome, or `None` if it has a usable score. An outcome without one is a bug of the stage that made
/// it.
pub fn failure_of(outcome: &Outcome) -> Option<Cow<'_, Failure>> {
    usable(outcome).err()
}

fn usable(outcome: &Outcome) -> Result<(&Answer, &Score), Cow<'_, Failure>> {
    let bug = |text: &str| Err(Cow::Owned(Problem::new(ErrorCode::Internal, text).into()));
    match &outcome.result {
        Some(RowResult::Failure(failure)) => Err(Cow::Borrowed(failure)),
        Some(RowResult::Answer(answer)) => match &answer.score {
            None => bug("publishing: the answer has no score"),
            Some(score) if !score.is_usable() => bug("publishing: the prediction is not a finite number"),
            Some(score) => Ok((answer, score)),
        },
        None => bug("publishing: the outcome has neither an answer nor an error"),
    }
}

/// The time of a request: of the Kafka record if it came from one, else of its arrival. The text is present for ISO 8601.
fn time(context: &Context, times: Times) -> (i64, Option<String>) {
    let accepted = i64::try_from(context.accepted_us() / 1000).unwrap_or(i64::MAX);
    let ms = match context.origin() {
        Some(Origin::Kafka(record)) => record.timestamp_ms,
        _ => accepted,
    };
    match times {
        Times::Milliseconds => (ms, None),
        // a record without a timestamp, or with one outside the calendar, gets the time of its arrival
        Times::Iso8601 => (ms, iso8601(ms).or_else(|| iso8601(accepted))),
    }
}

/// `2026-11-23T20:15:00.123+00:00`, with a numeric offset because not every ISO 8601 parser accepts `Z`.
fn iso8601(ms: i64) -> Option<String> {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(ms).ok()?))?;
    let mut text = String::with_capacity(32);
    write!(text, "{}", humantime::format_rfc3339_millis(time)).ok()?;
    text.truncate(text.trim_end_matches('Z').len());
    text.push_str("+00:00");
    Some(text)
}

fn hex(trace: [u8; 16]) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(trace) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_contract::{RequestId, Score};
    use forebay_testkit::{answer, failure, http, kafka};

    fn text(context: &Context, outcome: &Outcome) -> String {
        String::from_utf8(document(context, outcome, context.accepted_us() + 12_345, Times::default())).unwrap()
    }

    fn read(context: &Context, outcome: &Outcome) -> Value {
        serde_json::from_str(&text(context, outcome)).unwrap()
    }

    fn scored(score: Score) -> Outcome {
        Answer { score: Some(score), model: "m".into(), version: 1, label: "v1".into(), ..Answer::default() }.into()
    }

    #[test]
    fn the_legacy_fields_come_first_and_in_order() {
        let context = kafka(RequestId([1; 16])).client_request_id("req_1").build();
        assert_eq!(
            text(&context, &answer(150.0)),
            "{\"request_id\":\"req_1\",\"prediction\":150.0,\"model_version\":\"v1\",\"timestamp\":1700000000000,\
             \"model\":\"diabetes-rf-model\",\"cached\":false,\"latency_ms\":12.345}"
        );
    }

    /// Exact bytes of documents with every optional field: the order of the fields and the digits are part of the contract.
    #[test]
    fn documents_are_these_bytes() {
        let probabilities = vec![0.1 + 0.2, 1e-7, 1e21, 0.0, -0.0];
        let full = Answer {
            score: Some(Score {
                value: 1.0,
                label: Some("y\"\u{e9}\n\u{7f}\u{1}".into()),
                probabilities,
                ..Score::default()
            }),
            model: "m/\u{2028}".into(),
            version: 3,
            label: "v3".into(),
            fallback_from: "v9".into(),
            cached: true,
        };
        let number = |value| scored(Score { value, ..Score::default() });
        let sampled = kafka(RequestId([1; 16])).client_request_id("req_1").sampled().row(2, 3).build();
        let bare = http(RequestId([1; 16]), 3).accepted_us(1_700_000_000_000_000).build();
        let failed = failure(ErrorCode::InvalidFeatures, "bmi \"is\" missing");
        let mut lines = Vec::new();
        for (context, outcome, us) in [
            (&sampled, Outcome::from(full), 12_345),
            (&bare, number(-0.0), 0),
            (&bare, number(1e16), 1_050),
            (&bare, number(1e15), 1_050),
            (&bare, number(1e-7), 60_000_999),
            (&bare, number(0.1 + 0.2), 7),
            (&bare, number(f64::MAX), 7),
            (&bare, number(f64::NAN), 7),
            (&sampled, failed.clone(), 100),
            (&bare, failed, 100),
            (&bare, Outcome::default(), 100),
        ] {
            for times in [Times::Milliseconds, Times::Iso8601] {
                let bytes = document(context, &outcome, context.accepted_us() + us, times);
                lines.push(String::from_utf8(bytes).unwrap());
            }
        }
        let expected: Vec<_> = include_str!("format/expected.jsonl").lines().collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_request_without_an_id_gets_null_and_http_its_arrival() {
        let context = http(RequestId([1; 16]), 3).build();
        let read = read(&context, &answer(1.0));
        assert_eq!(read["request_id"], Value::Null);
        assert_eq!(read["timestamp"], context.accepted_us() / 1000);
    }

    #[test]
    fn an_error_has_a_null_prediction_and_names_its_code() {
        let context = kafka(RequestId([1; 16])).client_request_id("req_1").build();
        assert_eq!(
            text(&context, &failure(ErrorCode::InvalidFeatures, "bmi is missing")),
            "{\"request_id\":\"req_1\",\"prediction\":null,\"model_version\":null,\"timestamp\":1700000000000,\
             \"latency_ms\":12.345,\"trace_id\":\"07070707070707070707070707070707\",\
             \"error\":{\"code\":\"invalid_features\",\"message\":\"bmi is missing\"}}"
        );
    }

    #[test]
    fn trace_fallback_and_probabilities_are_written() {
        let context = kafka(RequestId([1; 16])).sampled().build();
        let outcome = Answer {
            score: Some(Score {
                value: 1.0,
                label: Some("yes \"\u{7}\"".into()),
                probabilities: vec![0.25, 0.75],
                ..Score::default()
            }),
            model: "m".into(),
            version: 3,
            label: "v3".into(),
            fallback_from: "v9".into(),
            cached: true,
        };
        let read = read(&context, &outcome.into());
        assert_eq!(read["prediction"], "yes \"\u{7}\"");
        assert_eq!(read["cached"], true);
        assert_eq!(read["fallback_from"], "v9");
        assert_eq!(read["trace_id"], "07".repeat(16));
        assert_eq!(read["probabilities"], serde_json::json!([0.25, 0.75]));
    }

    #[test]
    fn numbers_read_back_to_the_same_bits() {
        for number in
            [-0.0, 0.0, 1e-7, 150.0, 1e16, 1e300, f64::MIN_POSITIVE, f64::MAX, 0.1 + 0.2, -152.133_484_162_895_67]
        {
            let context = kafka(RequestId([1; 16])).build();
            let back = read(&context, &scored(Score { value: number, ..Score::default() }));
            assert_eq!(back["prediction"].as_f64().unwrap().to_bits(), number.to_bits(), "{number}");
        }
    }

    #[test]
    fn a_document_that_is_too_large_becomes_an_error_of_the_same_request() {
        let context = kafka(RequestId([1; 16])).client_request_id("req_1").row(2, 3).sampled().build();
        let large = scored(Score { value: 1.0, probabilities: vec![0.25; 1000], ..Score::default() });
        for times in [Times::Milliseconds, Times::Iso8601] {
            let large = document(&context, &large, context.accepted_us() + 12_345, times);
            let short = too_large(&large, "too large").unwrap();
            let error = Problem::new(ErrorCode::PayloadTooLarge, "too large").into();
            let expected = document(&context, &error, context.accepted_us() + 12_345, times);
            assert_eq!(String::from_utf8(short).unwrap(), String::from_utf8(expected).unwrap());
        }
        let long = failure(ErrorCode::InvalidFeatures, &"x".repeat(1000));
        let short = too_large(text(&context, &long).as_bytes(), "too large").unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&short).unwrap()["error"]["code"], "invalid_features");
        assert_eq!(
            too_large(text(&context, &answer(1.0)).as_bytes(), &"x".repeat(500)),
            None,
            "it would be no shorter"
        );
        assert_eq!(too_large(b"not a document", "too large"), None);
    }

    #[test]
    fn what_is_no_number_is_a_bug_and_never_nan() {
        let context = kafka(RequestId([1; 16])).build();
        for outcome in [
            scored(Score { value: f64::NAN, ..Score::default() }),
            scored(Score { value: f64::INFINITY, ..Score::default() }),
            Answer::default().into(),
            Outcome::default(),
        ] {
            let read = read(&context, &outcome);
            assert_eq!(read["prediction"], Value::Null);
            assert_eq!(read["error"]["code"], "internal");
        }
    }

    #[test]
    fn short_latencies_keep_their_zeros() {
        let context = kafka(RequestId([1; 16])).build();
        for (us, expected) in [(0, "0.000"), (7, "0.007"), (1_050, "1.050"), (60_000_999, "60000.999")] {
            let text =
                String::from_utf8(document(&context, &answer(1.0), context.accepted_us() + us, Times::default()))
                    .unwrap();
            assert!(text.contains(&format!("\"latency_ms\":{expected}")), "{text}");
        }
        let early = document(&context, &answer(1.0), 0, Times::default());
        assert_eq!(serde_json::from_slice::<Value>(&early).unwrap()["latency_ms"], 0.0);
    }

    #[test]
    fn event_hubs_times_are_iso_8601() {
        let read = |context: &Context, outcome: &Outcome| -> Value {
            serde_json::from_slice(&document(context, outcome, context.accepted_us(), Times::Iso8601)).unwrap()
        };
        let context = kafka(RequestId([1; 16])).client_request_id("req_1").build();
        for outcome in [answer(1.0), failure(ErrorCode::Internal, "x")] {
            assert_eq!(read(&context, &outcome)["timestamp"], "2023-11-14T22:13:20.000+00:00");
        }
        assert_eq!(iso8601(1_709_210_096_007).unwrap(), "2024-02-29T12:34:56.007+00:00");
        for impossible in [-1, i64::MIN, i64::MAX, 253_402_300_800_000] {
            assert_eq!(iso8601(impossible), None, "{impossible}");
        }
        let called = http(RequestId([1; 16]), 3).build();
        let accepted = iso8601((called.accepted_us() / 1000) as i64).unwrap();
        assert_eq!(read(&called, &answer(1.0))["timestamp"], accepted);
    }

    proptest::proptest! {
        #[test]
        fn any_text_and_number_read_back(id in ".*", message in ".*", bits: u64) {
            let context = kafka(RequestId([1; 16])).client_request_id(&id).build();
            let failed = read(&context, &failure(ErrorCode::Internal, &message));
            proptest::prop_assert_eq!(&failed["request_id"], &id);
            proptest::prop_assert_eq!(&failed["error"]["message"], &message);
            let number = f64::from_bits(bits);
            if number.is_finite() {
                let back = read(&context, &scored(Score { value: number, ..Score::default() }));
                proptest::prop_assert_eq!(back["prediction"].as_f64().unwrap().to_bits(), bits);
            }
        }
    }
}
