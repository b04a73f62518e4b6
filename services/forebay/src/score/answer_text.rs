//! Answers as JSON lines.

use std::io::Write as _;

use forebay_contract::{Label, PredictedValue, Problem};
use forebay_model::{Label as ModelLabel, Output, Scores};
use forebay_prediction::row_score;

/// Writes the answers of one model.
#[derive(Debug)]
pub(super) struct AnswerText {
    /// Class labels as JSON.
    labels: Vec<String>,
    /// The names of several outputs in order.
    output_names: std::sync::Arc<[String]>,
}

impl AnswerText {
    pub(super) fn new(labels: &[ModelLabel], output_names: &std::sync::Arc<[String]>) -> Self {
        Self { labels: labels_as_json(labels), output_names: output_names.clone() }
    }

    /// Appends the answer at `index` of `scores`.
    pub(super) fn write(&self, scores: &Scores, (index, output): (usize, Output), out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"prediction\":");
        let mut classes = Vec::new();
        if scores.outputs == 1 && output == Output::Predict {
            let class = scores.labels.get(index).and_then(|class| self.labels.get(*class as usize));
            match class {
                Some(label) => out.extend_from_slice(label.as_bytes()),
                None => json(&scores.values[index], out),
            }
        } else {
            let score = row_score(scores, index, output, &self.output_names);
            json(&PredictedValue::from(&score), out);
            classes = score.classes;
        }
        let probabilities = scores.probabilities(index);
        if !probabilities.is_empty() {
            out.extend_from_slice(b",\"probabilities\":");
            json(probabilities, out);
        }
        if !classes.is_empty() {
            out.extend_from_slice(b",\"classes\":");
            json(&classes.iter().map(Label::typed).collect::<Vec<_>>(), out);
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Appends an error; `unit` is what `number` counts.
pub(super) fn write_error(problem: &Problem, (unit, number): (&str, u64), out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":{\"code\":");
    json(problem.code.as_str(), out);
    out.extend_from_slice(b",\"message\":");
    json(problem.message.as_str(), out);
    // writing to a vector cannot fail
    let _ = writeln!(out, ",\"{unit}\":{number}}}}}");
}

/// Whether the answer can be written as JSON numbers.
pub(super) fn is_finite(scores: &Scores, index: usize) -> bool {
    // the value of a class may be a label's text read as a number
    let value = !scores.labels.is_empty() || scores.row(index).iter().all(|value| value.is_finite());
    value && scores.probabilities(index).iter().chain(scores.decision(index)).all(|p| p.is_finite())
}

/// Shortest form that reads back as the same number; the values given here are finite.
fn json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // writing to a vector cannot fail
    let _ = serde_json::to_writer(out, value);
}

/// The labels as JSON, each of its own type.
fn labels_as_json(labels: &[ModelLabel]) -> Vec<String> {
    // a number, a boolean or text can always be written
    labels.iter().map(|label| serde_json::to_string(label).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_type() {
        let labels =
            [ModelLabel::Integer(-1), ModelLabel::Float(1.5), ModelLabel::Boolean(true), "0".into(), "a\"b".into()];
        assert_eq!(labels_as_json(&labels), ["-1", "1.5", "true", "\"0\"", "\"a\\\"b\""]);
    }
}
