//! The JSON document of a result, as it stands in one record of the outside topic.
//!
//! The first four fields are those of the replaced service, in its order; clients that know only these keep working.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use forebay_contract::wire::outcome::Result as Answered;
use forebay_contract::{Answer, Context, ErrorCode, Failure, Origin, Outcome, Problem};
use serde::Serialize;

/// About the size of a document, so that most are written without growing the buffer.
const USUAL: usize = 320;

/// How a document says when its request came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Milliseconds since 1970, a number.
    #[default]
    Milliseconds,
    /// ISO 8601 with milliseconds, UTC, a string.
    Iso8601,
}

/// The document of `outcome`, written at `now_us` (Unix microseconds).
pub fn document(context: &Context, outcome: &Outcome, now_us: u64) -> Vec<u8> {
    document_with(context, outcome, now_us, Times::default())
}

/// As [`document`], with the time in the form that `times` says.
pub fn document_with(context: &Context, outcome: &Outcome, now_us: u64, times: Times) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL);
    write(context, outcome, now_us, times, &mut out);
    out
}

/// Appends the document of `outcome` to `out`.
pub fn write(context: &Context, outcome: &Outcome, now_us: u64, times: Times, out: &mut Vec<u8>) {
    match failure_of(outcome) {
        None => {
            if let Some(Answered::Answer(answer)) = &outcome.result {
                write_answer(context, answer, now_us, times, out);
            }
        }
        Some(failure) => write_failure(context, &failure, now_us, times, out),
    }
}

/// What went wrong, if anything did; an outcome without a usable score is a bug of the stage that made it.
pub fn failure_of(outcome: &Outcome) -> Option<std::borrow::Cow<'_, Failure>> {
    use std::borrow::Cow;
    let bug = |text: &str| Some(Cow::Owned(Problem::new(ErrorCode::Internal, text).into()));
    match &outcome.result {
        Some(Answered::Failure(failure)) => Some(Cow::Borrowed(failure)),
        Some(Answered::Answer(Answer { score: None, .. })) => bug("publishing: the answer has no score"),
        Some(Answered::Answer(Answer { score: Some(score), .. }))
            if !score.value.is_finite() && score.label.is_none() =>
        {
            bug("publishing: the prediction is not a finite number")
        }
        Some(Answered::Answer(_)) => None,
        None => bug("publishing: the outcome has neither an answer nor an error"),
    }
}

fn write_answer(context: &Context, answer: &Answer, now_us: u64, times: Times, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"request_id\":");
    value(&context.client_request_id(), out);
    out.extend_from_slice(b",\"prediction\":");
    let score = answer.score.as_ref();
    match score.and_then(|score| score.label.as_deref()) {
        Some(label) => value(label, out),
        None => value(&score.map(|score| score.value), out),
    }
    out.extend_from_slice(b",\"model_version\":");
    value(&answer.label, out);
    write_time_and_row(context, times, out);
    out.extend_from_slice(b",\"model\":");
    value(&answer.model, out);
    out.extend_from_slice(if answer.cached { b",\"cached\":true" } else { b",\"cached\":false" });
    write_latency(context, now_us, out);
    write_trace(context, context.sampled(), out);
    if !answer.fallback_from.is_empty() {
        out.extend_from_slice(b",\"fallback_from\":");
        value(&answer.fallback_from, out);
    }
    if let Some(score) = score.filter(|score| !score.probabilities.is_empty()) {
        out.extend_from_slice(b",\"probabilities\":");
        value(&score.probabilities, out);
    }
    out.push(b'}');
}

fn write_failure(context: &Context, failure: &Failure, now_us: u64, times: Times, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"request_id\":");
    value(&context.client_request_id(), out);
    out.extend_from_slice(b",\"prediction\":null,\"model_version\":null");
    write_time_and_row(context, times, out);
    write_latency(context, now_us, out);
    // a failed request has spans even when it was not sampled
    write_trace(context, true, out);
    out.extend_from_slice(b",\"error\":{\"code\":");
    value(&failure.code, out);
    out.extend_from_slice(b",\"message\":");
    value(&failure.message, out);
    out.extend_from_slice(b"}}");
}

/// Milliseconds of the request record, else of the arrival. Many rows share a request id, so each names its own.
fn write_time_and_row(context: &Context, times: Times, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"timestamp\":");
    let accepted = i64::try_from(context.accepted_us() / 1000).unwrap_or(i64::MAX);
    let time = match context.origin() {
        Some(Origin::Kafka(record)) => record.timestamp_ms,
        _ => accepted,
    };
    match times {
        Times::Milliseconds => value(&time, out),
        // a record without a time, or with one that no calendar has, came when it was accepted
        Times::Iso8601 => match iso8601(time).or_else(|| iso8601(accepted)) {
            Some(text) => value(&text, out),
            None => value(&time, out),
        },
    }
    if context.rows() > 1 {
        out.extend_from_slice(b",\"row\":");
        value(&context.row(), out);
    }
}

/// `2026-11-23T20:15:00.123+00:00`: with the offset in digits, which every parser of ISO 8601 takes; not all take a Z.
fn iso8601(ms: i64) -> Option<String> {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(ms).ok()?))?;
    let mut text = String::with_capacity(32);
    write!(text, "{}", humantime::format_rfc3339_millis(time)).ok()?;
    text.truncate(text.trim_end_matches('Z').len());
    text.push_str("+00:00");
    Some(text)
}

/// From acceptance at the door to here, in milliseconds with three decimals.
fn write_latency(context: &Context, now_us: u64, out: &mut Vec<u8>) {
    let us = now_us.saturating_sub(context.accepted_us());
    out.extend_from_slice(b",\"latency_ms\":");
    value(&(us / 1000), out);
    let [tens, ones] = [(us % 100 / 10) as u8, (us % 10) as u8];
    out.extend_from_slice(&[b'.', b'0' + (us % 1000 / 100) as u8, b'0' + tens, b'0' + ones]);
}

fn write_trace(context: &Context, wanted: bool, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let trace = context.trace_id();
    if !wanted || trace == [0; 16] {
        return;
    }
    out.extend_from_slice(b",\"trace_id\":\"");
    for byte in trace {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    out.push(b'"');
}

/// One JSON value: strings escaped, floats as the shortest text that reads back to the same bits.
fn value<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let before = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // numbers, strings and lists of numbers cannot fail into a vector; the document stays JSON whatever happens
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_contract::{RequestId, Score};
    use forebay_testkit::{answer, failure, http, kafka};
    use serde_json::Value;

    fn text(context: &Context, outcome: &Outcome) -> String {
        String::from_utf8(document(context, outcome, context.accepted_us() + 12_345)).unwrap()
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
    fn sampled_fallback_and_probabilities_are_told() {
        let context = kafka(RequestId([1; 16])).sampled().build();
        let outcome = Answer {
            score: Some(Score { value: 1.0, label: Some("yes \"\u{7}\"".into()), probabilities: vec![0.25, 0.75] }),
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
            let text = String::from_utf8(document(&context, &answer(1.0), context.accepted_us() + us)).unwrap();
            assert!(text.contains(&format!("\"latency_ms\":{expected}")), "{text}");
        }
        let early = document(&context, &answer(1.0), 0);
        assert_eq!(serde_json::from_slice::<Value>(&early).unwrap()["latency_ms"], 0.0);
    }

    #[test]
    fn event_hubs_times_are_iso_8601() {
        let read = |context: &Context, outcome: &Outcome| -> Value {
            serde_json::from_slice(&document_with(context, outcome, context.accepted_us(), Times::Iso8601)).unwrap()
        };
        let context = kafka(RequestId([1; 16])).client_request_id("req_1").build();
        for outcome in [answer(1.0), failure(ErrorCode::Internal, "x")] {
            assert_eq!(read(&context, &outcome)["timestamp"], "2023-11-14T22:13:20.000+00:00");
        }
        assert_eq!(iso8601(1_709_210_096_007).unwrap(), "2024-02-29T12:34:56.007+00:00");
        for impossible in [-1, i64::MIN, i64::MAX, 253_402_300_800_000] {
            assert_eq!(iso8601(impossible), None, "{impossible}");
        }
        let accepted = iso8601((http(RequestId([1; 16]), 3).build().accepted_us() / 1000) as i64).unwrap();
        assert_eq!(read(&http(RequestId([1; 16]), 3).build(), &answer(1.0))["timestamp"], accepted);
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
