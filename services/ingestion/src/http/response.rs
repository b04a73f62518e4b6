//! The JSON of answers and errors of `POST /v1/predict`. The order of the fields is part of the contract: `request_id,
//! prediction, model_version, timestamp` first, as on the result topic.

use forebay_contract::{
    Answer, ClassLabel, ErrorCode, ErrorDetail, LatencyMs, Outcome, PredictedValue, Problem, ResultDocument, Score,
    Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::schema::{ErrorBody, LabelBody, PredictionBody};
use crate::row_result::row_result;

/// The answer to a request with many rows, at least one of which has a prediction.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ManyAnswer<'a> {
    /// As sent by the client.
    pub request_id: Option<String>,
    /// One for each row, in order; `null` for a row listed in `errors`.
    #[schema(value_type = Vec<Option<PredictionBody>>)]
    pub predictions: Vec<Option<PredictedValue<'a>>>,
    /// The version that answered; `null` if different versions answered.
    pub model_version: Option<String>,
    /// When the request arrived, Unix milliseconds.
    pub timestamp: u64,
    /// The model that answered.
    pub model: String,
    /// Whether every prediction came from the cache.
    pub cached: bool,
    /// Time from arrival to answer.
    #[schema(value_type = f64)]
    pub latency_ms: LatencyMs,
    /// Present if the request was traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The version that was requested, if another one answered at least one of the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_from: Option<&'a str>,
    /// The version of each row, if they differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub model_versions: Vec<Option<String>>,
    /// The classes in the order of the probabilities, when the request asked for these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<LabelBody>)]
    pub classes: Vec<ClassLabel<'a>>,
    /// The rows without a prediction.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<RowError>,
}

/// Why one row has no prediction.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RowError {
    /// Position in `features`, from 0.
    pub row: usize,
    /// One of the documented codes.
    pub code: String,
    /// What is wrong and where.
    pub message: String,
}

/// The answer to a request without any prediction.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorAnswer {
    /// As sent by the client, if it could be read.
    pub request_id: Option<String>,
    /// Always `null`.
    #[schema(value_type = Option<f64>)]
    pub prediction: (),
    /// As requested.
    pub model_version: Option<String>,
    /// When the request arrived, Unix milliseconds.
    pub timestamp: u64,
    /// What is wrong.
    #[schema(value_type = ErrorBody)]
    pub error: ErrorDetail<'static>,
    /// The trace with the spans and log lines of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The errors of the rows, if the request had many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<RowError>,
}

/// What an answer says about the request as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerHead {
    /// As sent by the client, if it could be read.
    pub request_id: Option<String>,
    /// The version that was requested; empty if none was.
    pub version: String,
    /// When the request arrived, Unix microseconds.
    pub arrived_us: u64,
    /// Time from arrival to answer.
    pub latency_us: u64,
    /// Present if the answer names its trace.
    pub trace_id: Option<String>,
}

/// Error code and body of an answer.
#[derive(Debug)]
pub(crate) struct PredictResponse {
    /// `None` for a prediction.
    pub code: Option<ErrorCode>,
    pub json: Vec<u8>,
}

impl PredictResponse {
    fn new(code: Option<ErrorCode>, body: &impl Serialize) -> Self {
        // these types have text keys and no fallible field, so this cannot fail; an empty body would still be an answer
        Self { code, json: serde_json::to_vec(body).unwrap_or_default() }
    }

    /// HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.code.map_or(200, ErrorCode::status)
    }

    /// The answer to a request that failed as a whole.
    pub(crate) fn of_problem(head: &AnswerHead, problem: Problem) -> Self {
        Self::error(head, problem, Vec::new())
    }

    /// The answer of the mesh: one outcome for each row.
    pub(crate) fn of_rows(head: &AnswerHead, rows: Vec<Outcome>, many: bool) -> Self {
        let mut results: Vec<_> = rows.into_iter().map(row_result).collect();
        if many {
            return Self::many(head, results);
        }
        match results.pop() {
            Some(Ok((answer, score))) => Self::one(head, &answer, &score),
            Some(Err(problem)) => Self::of_problem(head, problem),
            None => Self::of_problem(head, Problem::new(ErrorCode::Internal, "the answer has no row")),
        }
    }

    fn one(head: &AnswerHead, answer: &Answer, score: &Score) -> Self {
        let body = ResultDocument {
            request_id: head.request_id.as_deref(),
            prediction: PredictedValue::from(score),
            model_version: &answer.label,
            timestamp: Timestamp::Milliseconds(i64::try_from(head.arrived_us / 1000).unwrap_or(i64::MAX)),
            row: None,
            model: &answer.model,
            cached: answer.cached,
            latency_ms: LatencyMs::Shortest(head.latency_us),
            trace_id: head.trace_id.as_deref(),
            fallback_from: answer.fallback_from(),
            probabilities: &score.probabilities,
            classes: score.class_labels(),
        };
        Self::new(None, &body)
    }

    fn many(head: &AnswerHead, results: Vec<Result<(Answer, Score), Problem>>) -> Self {
        let mut errors = Vec::new();
        let mut answers = Vec::with_capacity(results.len());
        let mut first_problem = None;
        for (row, result) in results.into_iter().enumerate() {
            let answer = result.map_err(|problem| {
                errors.push(RowError { row, code: problem.code.to_string(), message: problem.message.clone() });
                first_problem.get_or_insert(problem);
            });
            answers.push(answer.ok());
        }
        let Some((first, first_score)) = answers.iter().flatten().next() else {
            let none = || Problem::new(ErrorCode::Internal, "the answer has no row");
            return Self::error(head, first_problem.unwrap_or_else(none), errors);
        };
        let label = first.label.clone();
        let differ = answers.iter().flatten().any(|(answer, _)| answer.label != label);
        let versions = |answer: &Option<(Answer, Score)>| answer.as_ref().map(|(answer, _)| answer.label.clone());
        let body = ManyAnswer {
            request_id: head.request_id.clone(),
            model_versions: if differ { answers.iter().map(versions).collect() } else { Vec::new() },
            model_version: (!differ).then_some(label),
            timestamp: head.arrived_us / 1000,
            model: first.model.clone(),
            fallback_from: answers.iter().flatten().find_map(|(answer, _)| answer.fallback_from()),
            cached: answers.iter().flatten().all(|(answer, _)| answer.cached),
            latency_ms: LatencyMs::Shortest(head.latency_us),
            trace_id: head.trace_id.clone(),
            predictions: answers.iter().map(|answer| answer.as_ref().map(|(_, score)| score.into())).collect(),
            classes: first_score.class_labels(),
            errors,
        };
        Self::new(None, &body)
    }

    fn error(head: &AnswerHead, problem: Problem, errors: Vec<RowError>) -> Self {
        let code = problem.code;
        let body = ErrorAnswer {
            request_id: head.request_id.clone(),
            prediction: (),
            model_version: Some(head.version.clone()).filter(|version| !version.is_empty()),
            timestamp: head.arrived_us / 1000,
            error: problem.into(),
            trace_id: head.trace_id.clone(),
            errors,
        };
        Self::new(Some(code), &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(value: f64, label: &str, cached: bool) -> Outcome {
        let score = Some(Score { value, ..Score::default() });
        Answer { score, model: "m".into(), label: label.into(), cached, ..Answer::default() }.into()
    }

    fn failure(code: ErrorCode) -> Outcome {
        Problem::new(code, "why").into()
    }

    fn head() -> AnswerHead {
        AnswerHead {
            request_id: Some("a\"b".into()),
            version: "v1".into(),
            arrived_us: 1_500_000,
            latency_us: 1_250,
            trace_id: None,
        }
    }

    fn text(response: &PredictResponse) -> &str {
        std::str::from_utf8(&response.json).unwrap()
    }

    #[test]
    fn one_row_has_the_legacy_fields_first() {
        let response = PredictResponse::of_rows(&head(), vec![answer(0.1 + 0.2, "v1", false)], false);
        assert_eq!(response.status(), 200);
        let expected = r#"{"request_id":"a\"b","prediction":0.30000000000000004,"model_version":"v1","timestamp":1500,"model":"m","cached":false,"latency_ms":1.25}"#;
        assert_eq!(text(&response), expected);
    }

    /// Exact bytes of answers with every optional field: the order of the fields and the digits are part of the contract.
    #[test]
    fn answers_are_these_bytes() {
        let traced = || AnswerHead { trace_id: Some("07".repeat(16)), ..head() };
        let full = |value, label: Option<&str>| -> Outcome {
            let probabilities = vec![0.1 + 0.2, 1e-7, 1e21, 0.0, -0.0];
            let score = Some(Score { value, label: label.map(str::to_owned), probabilities, ..Score::default() });
            let (model, label, fallback_from) = ("m/\u{2028}".into(), "v3".into(), "v9".into());
            Answer { score, model, label, fallback_from, cached: true, ..Answer::default() }.into()
        };
        let mut lines = Vec::new();
        let mut add = |head: AnswerHead, rows: Vec<Outcome>, many| {
            lines.push(text(&PredictResponse::of_rows(&head, rows, many)).to_owned());
        };
        add(traced(), vec![full(1.0, Some("y\"\u{e9}\n\u{7f}\u{1}"))], false);
        for value in [-0.0, 1e16, 1e15, 1e-7, 0.1 + 0.2, f64::MAX, f64::NAN] {
            let slow = AnswerHead { request_id: None, latency_us: 60_000_999, ..head() };
            add(slow, vec![answer(value, "v1", false)], false);
        }
        let rows = vec![full(0.5, None), full(0.5, Some("no")), failure(ErrorCode::Internal)];
        add(AnswerHead { latency_us: 0, ..traced() }, rows, true);
        add(traced(), vec![full(0.5, None), answer(1.0, "v1", true)], true);
        add(traced(), vec![failure(ErrorCode::DeadlineExceeded), failure(ErrorCode::Internal)], true);
        add(traced(), vec![failure(ErrorCode::DeadlineExceeded)], false);
        add(AnswerHead { request_id: None, version: String::new(), ..head() }, vec![], false);
        add(head(), vec![Outcome::default()], false);
        let expected: Vec<_> = include_str!("response/expected.jsonl").lines().collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn many_rows_show_partial_errors() {
        let rows = vec![answer(1.0, "v1", true), failure(ErrorCode::InvalidFeatures), answer(2.0, "v1", true)];
        let response = PredictResponse::of_rows(&head(), rows, true);
        assert_eq!(response.status(), 200);
        let expected = r#"{"request_id":"a\"b","predictions":[1.0,null,2.0],"model_version":"v1","timestamp":1500,"model":"m","cached":true,"latency_ms":1.25,"errors":[{"row":1,"code":"invalid_features","message":"why"}]}"#;
        assert_eq!(text(&response), expected);
        let mixed = PredictResponse::of_rows(&head(), vec![answer(1.0, "v1", true), answer(2.0, "v2", false)], true);
        assert!(text(&mixed).contains(r#""model_version":null"#));
        assert!(text(&mixed).contains(r#""model_versions":["v1","v2"]"#) && text(&mixed).contains(r#""cached":false"#));
        assert!(
            text(&PredictResponse::of_rows(&head(), vec![answer(1.0, "v1", false)], true))
                .contains(r#""predictions":[1.0]"#)
        );
    }

    #[test]
    fn an_error_has_its_status_and_its_rows() {
        let one = PredictResponse::of_rows(&head(), vec![failure(ErrorCode::UnknownModel)], false);
        assert_eq!(one.status(), 404);
        let expected = r#"{"request_id":"a\"b","prediction":null,"model_version":"v1","timestamp":1500,"error":{"code":"unknown_model","message":"why"}}"#;
        assert_eq!(text(&one), expected);
        let all = PredictResponse::of_rows(
            &head(),
            vec![failure(ErrorCode::DeadlineExceeded), failure(ErrorCode::Internal)],
            true,
        );
        assert_eq!(all.status(), 504);
        assert!(text(&all).contains(r#""errors":[{"row":0"#));
        assert_eq!(PredictResponse::of_rows(&head(), vec![Outcome::default()], false).status(), 500);
    }

    #[test]
    fn a_class_is_its_label() {
        let score =
            Score { value: 1.0, label: Some("yes".into()), probabilities: vec![0.25, 0.75], ..Score::default() };
        let outcome = Answer { score: Some(score), ..Answer::default() }.into();
        let response = PredictResponse::of_rows(&head(), vec![outcome], false);
        assert!(
            text(&response).contains(r#""prediction":"yes""#)
                && text(&response).contains(r#""probabilities":[0.25,0.75]"#)
        );
    }
}
