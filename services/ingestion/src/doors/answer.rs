//! The JSON of answers and errors. Field order is part of the contract: `request_id, prediction, model_version,
//! timestamp` first, as on the result topic.

use forebay_contract::{Answer, ErrorCode, Failure, Outcome, Problem, Score, wire::outcome};
use serde::Serialize;
use utoipa::ToSchema;

/// A number, or the label of a class.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Prediction {
    /// Of a regression; reads back to the same bits.
    Number(f64),
    /// Of a classification.
    Label(String),
}

impl From<Score> for Prediction {
    fn from(score: Score) -> Self {
        score.label.map_or(Self::Number(score.value), Self::Label)
    }
}

/// Why there is no prediction.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// One of the documented codes, such as `invalid_features`.
    #[schema(example = "invalid_features")]
    pub code: String,
    /// What is wrong and where.
    #[schema(example = "expected 10 features, got 9")]
    pub message: String,
}

/// The answer to a request with one row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OneAnswer {
    /// As sent.
    pub request_id: Option<String>,
    /// Number or class label.
    pub prediction: Prediction,
    /// The version that answered.
    #[schema(example = "v3")]
    pub model_version: String,
    /// When the request arrived, Unix milliseconds.
    pub timestamp: u64,
    /// The model that answered.
    pub model: String,
    /// Whether the answer came out of the cache.
    pub cached: bool,
    /// From arrival to answer.
    pub latency_ms: f64,
    /// Present when the request was traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The version that was asked for, when another one answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_from: Option<String>,
    /// Of each class, for a classification.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probabilities: Vec<f64>,
}

/// The answer to a request with many rows, at least one of which has a prediction.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ManyAnswer {
    /// As sent.
    pub request_id: Option<String>,
    /// One a row, in order; `null` for a row listed in `errors`.
    pub predictions: Vec<Option<Prediction>>,
    /// The version that answered; `null` when rows were answered by different ones.
    pub model_version: Option<String>,
    /// When the request arrived, Unix milliseconds.
    pub timestamp: u64,
    /// The model that answered.
    pub model: String,
    /// Whether every prediction came out of the cache.
    pub cached: bool,
    /// From arrival to answer.
    pub latency_ms: f64,
    /// Present when the request was traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The version of each row, when they differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub model_versions: Vec<Option<String>>,
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
    /// As sent, when it could be read.
    pub request_id: Option<String>,
    /// Always `null`.
    #[schema(value_type = Option<f64>)]
    pub prediction: (),
    /// As asked for.
    pub model_version: Option<String>,
    /// When the request arrived, Unix milliseconds.
    pub timestamp: u64,
    /// What is wrong.
    pub error: ErrorBody,
    /// Where spans and log lines of the request are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The rows, when there were many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<RowError>,
}

/// What an answer says beside the rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    pub request_id: Option<String>,
    /// As asked for; empty when nothing was.
    pub version: String,
    /// Arrival, Unix microseconds.
    pub arrived_us: u64,
    pub latency_us: u64,
    pub trace_id: Option<String>,
}

/// A status and its body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub code: Option<ErrorCode>,
    pub json: Vec<u8>,
}

impl Reply {
    fn new(code: Option<ErrorCode>, body: &impl Serialize) -> Self {
        // these types have text keys and no fallible field, so this cannot fail; an empty body would still be an answer
        Self { code, json: serde_json::to_vec(body).unwrap_or_default() }
    }

    /// HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.code.map_or(200, ErrorCode::status)
    }

    /// A request that was refused as a whole.
    pub(crate) fn refused(frame: Frame, problem: Problem) -> Self {
        Self::error(frame, problem, Vec::new())
    }

    /// What the mesh answered: one outcome a row.
    pub(crate) fn of_rows(frame: Frame, rows: Vec<Outcome>, many: bool) -> Self {
        let mut results: Vec<_> = rows.into_iter().map(result).collect();
        if many {
            return Self::many(frame, results);
        }
        match results.pop() {
            Some(Ok(answer)) => Self::one(frame, answer),
            Some(Err(problem)) => Self::refused(frame, problem),
            None => Self::refused(frame, Problem::new(ErrorCode::Internal, "the answer has no row")),
        }
    }

    fn one(frame: Frame, answer: Answered) -> Self {
        let latency_ms = frame.latency_us as f64 / 1e3;
        let body = OneAnswer {
            request_id: frame.request_id,
            prediction: answer.prediction,
            model_version: answer.label,
            timestamp: frame.arrived_us / 1000,
            model: answer.model,
            cached: answer.cached,
            latency_ms,
            trace_id: frame.trace_id,
            fallback_from: Some(answer.fallback_from).filter(|version| !version.is_empty()),
            probabilities: answer.probabilities,
        };
        Self::new(None, &body)
    }

    fn many(frame: Frame, results: Vec<Result<Answered, Problem>>) -> Self {
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
        let Some(first) = answers.iter().flatten().next() else {
            let none = || Problem::new(ErrorCode::Internal, "the answer has no row");
            return Self::error(frame, first_problem.unwrap_or_else(none), errors);
        };
        let label = first.label.clone();
        let differ = answers.iter().flatten().any(|answer| answer.label != label);
        let versions = |answer: &Option<Answered>| answer.as_ref().map(|answer| answer.label.clone());
        let body = ManyAnswer {
            request_id: frame.request_id,
            model_versions: if differ { answers.iter().map(versions).collect() } else { Vec::new() },
            model_version: (!differ).then_some(label),
            timestamp: frame.arrived_us / 1000,
            model: first.model.clone(),
            cached: answers.iter().flatten().all(|answer| answer.cached),
            latency_ms: frame.latency_us as f64 / 1e3,
            trace_id: frame.trace_id,
            predictions: answers.into_iter().map(|answer| answer.map(|answer| answer.prediction)).collect(),
            errors,
        };
        Self::new(None, &body)
    }

    fn error(frame: Frame, problem: Problem, errors: Vec<RowError>) -> Self {
        let body = ErrorAnswer {
            request_id: frame.request_id,
            prediction: (),
            model_version: Some(frame.version).filter(|version| !version.is_empty()),
            timestamp: frame.arrived_us / 1000,
            error: ErrorBody { code: problem.code.to_string(), message: problem.message },
            trace_id: frame.trace_id,
            errors,
        };
        Self::new(Some(problem.code), &body)
    }
}

/// A row's answer, as far as clients see it.
#[derive(Debug)]
struct Answered {
    prediction: Prediction,
    probabilities: Vec<f64>,
    model: String,
    label: String,
    fallback_from: String,
    cached: bool,
}

fn result(outcome: Outcome) -> Result<Answered, Problem> {
    let incomplete = || Problem::new(ErrorCode::Internal, "the mesh gave an answer without a result");
    match outcome.result {
        Some(outcome::Result::Answer(Answer {
            score: Some(mut score), model, label, fallback_from, cached, ..
        })) => {
            let probabilities = std::mem::take(&mut score.probabilities);
            Ok(Answered { prediction: score.into(), probabilities, model, label, fallback_from, cached })
        }
        Some(outcome::Result::Failure(Failure { code, message })) => {
            Err(Problem::new(ErrorCode::parse(&code), message))
        }
        _ => Err(incomplete()),
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

    fn frame() -> Frame {
        Frame {
            request_id: Some("a\"b".into()),
            version: "v1".into(),
            arrived_us: 1_500_000,
            latency_us: 1_250,
            trace_id: None,
        }
    }

    fn text(reply: &Reply) -> &str {
        std::str::from_utf8(&reply.json).unwrap()
    }

    #[test]
    fn one_row_has_the_legacy_fields_first() {
        let reply = Reply::of_rows(frame(), vec![answer(0.1 + 0.2, "v1", false)], false);
        assert_eq!(reply.status(), 200);
        let expected = r#"{"request_id":"a\"b","prediction":0.30000000000000004,"model_version":"v1","timestamp":1500,"model":"m","cached":false,"latency_ms":1.25}"#;
        assert_eq!(text(&reply), expected);
    }

    #[test]
    fn many_rows_show_partial_errors() {
        let rows = vec![answer(1.0, "v1", true), failure(ErrorCode::InvalidFeatures), answer(2.0, "v1", true)];
        let reply = Reply::of_rows(frame(), rows, true);
        assert_eq!(reply.status(), 200);
        let expected = r#"{"request_id":"a\"b","predictions":[1.0,null,2.0],"model_version":"v1","timestamp":1500,"model":"m","cached":true,"latency_ms":1.25,"errors":[{"row":1,"code":"invalid_features","message":"why"}]}"#;
        assert_eq!(text(&reply), expected);
        let mixed = Reply::of_rows(frame(), vec![answer(1.0, "v1", true), answer(2.0, "v2", false)], true);
        assert!(text(&mixed).contains(r#""model_version":null"#));
        assert!(text(&mixed).contains(r#""model_versions":["v1","v2"]"#) && text(&mixed).contains(r#""cached":false"#));
        assert!(
            text(&Reply::of_rows(frame(), vec![answer(1.0, "v1", false)], true)).contains(r#""predictions":[1.0]"#)
        );
    }

    #[test]
    fn an_error_has_its_status_and_its_rows() {
        let one = Reply::of_rows(frame(), vec![failure(ErrorCode::UnknownModel)], false);
        assert_eq!(one.status(), 404);
        let expected = r#"{"request_id":"a\"b","prediction":null,"model_version":"v1","timestamp":1500,"error":{"code":"unknown_model","message":"why"}}"#;
        assert_eq!(text(&one), expected);
        let all =
            Reply::of_rows(frame(), vec![failure(ErrorCode::DeadlineExceeded), failure(ErrorCode::Internal)], true);
        assert_eq!(all.status(), 504);
        assert!(text(&all).contains(r#""errors":[{"row":0"#));
        assert_eq!(Reply::of_rows(frame(), vec![Outcome::default()], false).status(), 500);
    }

    #[test]
    fn a_class_is_its_label() {
        let score = Score { value: 1.0, label: Some("yes".into()), probabilities: vec![0.25, 0.75] };
        let outcome = Answer { score: Some(score), ..Answer::default() }.into();
        let reply = Reply::of_rows(frame(), vec![outcome], false);
        assert!(
            text(&reply).contains(r#""prediction":"yes""#) && text(&reply).contains(r#""probabilities":[0.25,0.75]"#)
        );
    }
}
