//! `example_output.json`: what the library that a model came from predicted for the rows of its input example, and how
//! close the predictions here must be.

use std::fmt;

use serde_json::Value;

use crate::plan::Plan;
use crate::{Column, Fault, Label, Scores, example};

/// The name of the file beside MLmodel.
pub(crate) const FILE: &str = "example_output.json";
/// The size in bytes of the largest file that is parsed.
const MAX_BYTES: usize = 4 << 20;
/// The most rows beside those of the input example.
const MAX_DRAWN: usize = 10_000;

/// How far a prediction may be from the expected one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// Bit-identical.
    Exact,
    /// `|got - want| <= t + t * |want|`
    Within(f64),
}

impl Tolerance {
    /// The tolerance of a kind of model file: none for scikit-learn's trees, the rounding of f64 for other scikit-learn
    /// models and of f32 for ONNX, and for nets in addition another order of summation.
    pub(crate) fn of(file: &str, plan: &Plan) -> Self {
        let extension = file.rsplit_once('.').map_or(String::new(), |(_, end)| end.to_ascii_lowercase());
        match extension.as_str() {
            "onnx" => Self::Within(2e-6),
            "bpk" | "safetensors" => Self::Within(1e-5),
            _ if plan.is_exact() => Self::Exact,
            _ => Self::Within(1e-9),
        }
    }

    /// Whether `got` is close enough to `want`.
    pub fn admits(self, got: f64, want: f64) -> bool {
        match self {
            // both zeros are the same prediction
            Self::Exact => got == want,
            Self::Within(t) => (got - want).abs() <= t + t * want.abs(),
        }
    }
}

/// The expected predictions for the rows of an input example, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    answers: Vec<Wanted>,
    /// One per row of the example, or empty.
    probabilities: Vec<Vec<f64>>,
    tolerance: Tolerance,
    drawn: Option<Box<Drawn>>,
}

/// Rows that the file itself has, and their predictions.
#[derive(Debug, Clone, PartialEq)]
struct Drawn {
    rows: Vec<Vec<crate::Value>>,
    expected: Expectation,
}

#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    Number(f64),
    Label(Label),
    /// One for each of several outputs.
    List(Vec<Wanted>),
}

impl Expectation {
    /// Reads an array of numbers or labels, or `{"predictions": [..], "probabilities": [[..]]}`; `rows` is the
    /// length of the input example, `None` without one; at most `kept` of its rows are kept. The object may have `drawn`, an
    /// object like it that has `rows` as well, each with a value for each of `columns`.
    ///
    /// # Errors
    /// A [`Fault`] when the layout, a number that is not finite or the number of rows is wrong.
    pub(crate) fn parse(
        bytes: &[u8],
        rows: Option<usize>,
        kept: usize,
        tolerance: Tolerance,
        columns: &[Column],
    ) -> Result<Self, Fault> {
        if bytes.len() > MAX_BYTES {
            return Err(Fault::new("", format!("larger than {MAX_BYTES} bytes")));
        }
        let json: Value = serde_json::from_slice(bytes).map_err(|e| Fault::new("", e.to_string()))?;
        let drawn = json.get("drawn").map(|drawn| Drawn::parse(drawn, tolerance, columns).map(Box::new));
        let drawn = drawn.transpose().map_err(|fault| fault.within("drawn"))?;
        let answers = match (rows, &drawn) {
            (None, Some(_)) if json.get("predictions").is_none() => {
                Self { answers: Vec::new(), probabilities: Vec::new(), tolerance, drawn: None }
            }
            (None, _) => return Err(Fault::new("", "MLmodel names no input example that this answers")),
            (Some(rows), _) => Self::of(&json, rows, kept, tolerance)?,
        };
        Ok(Self { drawn, ..answers })
    }

    fn of(json: &Value, rows: usize, kept: usize, tolerance: Tolerance) -> Result<Self, Fault> {
        let list = |key: &str| json.get(key).and_then(Value::as_array);
        let answers = json.as_array().or_else(|| list("predictions"));
        let answers = answers.ok_or_else(|| Fault::new("", "is not an array and has no array \"predictions\""))?;
        let mut answers: Vec<Wanted> =
            answers.iter().enumerate().map(|(i, v)| wanted(i, v)).collect::<Result<_, _>>()?;
        let mut probabilities: Vec<Vec<f64>> = match list("probabilities") {
            Some(list) => list.iter().enumerate().map(|(i, v)| numbers(i, v)).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        if rows == kept {
            // the example may be longer than its kept part
            answers.truncate(rows);
            probabilities.truncate(rows);
        }
        for (what, len) in [("predictions", answers.len()), ("probabilities", probabilities.len())] {
            if len != rows && (what == "predictions" || len > 0) {
                return Err(Fault::new("", format!("has {len} {what} for {rows} rows of the input example")));
            }
        }
        Ok(Self { answers, probabilities, tolerance, drawn: None })
    }

    /// The rows that the file itself has, and what is expected of them.
    pub(crate) fn drawn(&self) -> Option<(&[Vec<crate::Value>], &Self)> {
        self.drawn.as_deref().map(|drawn| (drawn.rows.as_slice(), &drawn.expected))
    }

    /// Whether nothing is known of the input example.
    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// How close the predictions must be.
    pub fn tolerance(&self) -> Tolerance {
        self.tolerance
    }

    /// Compares the scores. Returns the largest difference between two numbers.
    ///
    /// # Errors
    /// The first row that differs by more than the tolerance, with both predictions.
    pub(crate) fn compare(&self, scores: &Scores) -> Result<f64, Difference> {
        let mut worst: f64 = 0.0;
        for (row, want) in self.answers.iter().enumerate() {
            let differs = |got: String, want: String| Difference { row, got, want };
            let probabilities = scores.probabilities(row);
            let apart = self.compare_answer(want, scores, row).map_err(|(got, want)| differs(got, want))?;
            worst = worst.max(apart);
            let Some(wanted) = self.probabilities.get(row) else { continue };
            let close = wanted.len() == probabilities.len()
                && wanted.iter().zip(probabilities).all(|(want, got)| self.tolerance.admits(*got, *want));
            if !close {
                return Err(differs(format!("{probabilities:?}"), format!("{wanted:?}")));
            }
            worst = wanted.iter().zip(probabilities).fold(worst, |worst, (want, got)| worst.max((got - want).abs()));
        }
        Ok(worst)
    }

    /// How far the answer to a row is from the expected one; as error, both as text.
    fn compare_answer(&self, want: &Wanted, scores: &Scores, row: usize) -> Result<f64, (String, String)> {
        let wanted = match want {
            Wanted::List(wanted) => wanted.as_slice(),
            one => std::slice::from_ref(one),
        };
        if wanted.len() != scores.outputs {
            return Err((format!("{} outputs", scores.outputs), format!("{} outputs", wanted.len())));
        }
        let mut worst: f64 = 0.0;
        for (output, want) in wanted.iter().enumerate() {
            worst = worst.max(self.compare_output(want, scores.row(row)[output], scores.label_of(row, output))?);
        }
        Ok(worst)
    }

    fn compare_output(&self, want: &Wanted, value: f64, label: Option<&Label>) -> Result<f64, (String, String)> {
        match (want, label) {
            (Wanted::Number(want), None) if self.tolerance.admits(value, *want) => Ok((value - want).abs()),
            // a class may be given as a number: its label, or its value
            (Wanted::Number(want), Some(label)) if value == *want || label.number() == Some(*want) => Ok(0.0),
            (Wanted::Label(want), Some(label)) if same_label(label, want) => Ok(0.0),
            (want, label) => Err((label.map_or_else(|| value.to_string(), ToString::to_string), want.to_string())),
        }
    }
}

impl Drawn {
    fn parse(json: &Value, tolerance: Tolerance, columns: &[Column]) -> Result<Self, Fault> {
        let rows = json.get("rows").and_then(Value::as_array).ok_or_else(|| Fault::new("", "has no rows"))?;
        if rows.len() > MAX_DRAWN {
            return Err(Fault::new("rows", format!("are {}, at most {MAX_DRAWN}", rows.len())));
        }
        let rows: Vec<Vec<crate::Value>> =
            rows.iter().enumerate().map(|(i, row)| example::parse_row(i, row, columns)).collect::<Result<_, _>>()?;
        let expected = Expectation::of(json, rows.len(), usize::MAX, tolerance)?;
        Ok(Self { rows, expected })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Label(label) => write!(f, "{label}"),
            Self::List(wanted) => f.debug_list().entries(wanted.iter().map(ToString::to_string)).finish(),
        }
    }
}

/// A row whose prediction differs from the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub row: usize,
    pub got: String,
    pub want: String,
}

/// Whether a label is the expected one. A number or a boolean that a file has as text is meant in its own spelling, or
/// in Python's.
fn same_label(label: &Label, want: &Label) -> bool {
    let spelt = |text: &str| match label {
        Label::Boolean(value) => text == if *value { "True" } else { "False" },
        label => label.to_string() == text,
    };
    label == want || want.as_text().is_some_and(spelt)
}

fn wanted(row: usize, value: &Value) -> Result<Wanted, Fault> {
    match value {
        // a column vector
        Value::Array(one) if one.len() == 1 => wanted(row, &one[0]),
        Value::Array(several) if !several.is_empty() => {
            several.iter().map(|value| wanted(row, value)).collect::<Result<_, _>>().map(Wanted::List)
        }
        Value::Bool(value) => Ok(Wanted::Label(Label::Boolean(*value))),
        Value::String(label) => Ok(Wanted::Label(Label::from(label.as_str()))),
        value => number(row, value).map(Wanted::Number),
    }
}

fn numbers(row: usize, value: &Value) -> Result<Vec<f64>, Fault> {
    let values =
        value.as_array().ok_or_else(|| Fault::new(format!("row {row}"), "is not an array of probabilities"))?;
    values.iter().map(|value| number(row, value)).collect()
}

fn number(row: usize, value: &Value) -> Result<f64, Fault> {
    let number = value.as_f64().filter(|number| number.is_finite());
    number.ok_or_else(|| Fault::new(format!("row {row}"), format!("{value} is neither a number nor a label")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, rows: usize) -> Result<Expectation, String> {
        let column = |name: &str| Column { name: name.to_owned(), kind: crate::ColumnKind::Float, optional: false };
        let columns = [column("a"), column("b")];
        let rows = Some(rows).filter(|rows| *rows > 0);
        Expectation::parse(text.as_bytes(), rows, 64, Tolerance::Within(1e-9), &columns).map_err(|f| f.to_string())
    }

    fn classes(labels: &[&str], answers: Vec<u32>, probabilities: Vec<f64>) -> Scores {
        Scores::classification(
            Label::of_texts(&labels.iter().map(|&l| l.to_owned()).collect::<Vec<_>>()).into(),
            answers,
            probabilities,
        )
    }

    #[test]
    fn numbers_are_compared_within_the_tolerance() {
        let expected = parse("[1.5, [2]]", 2).unwrap();
        assert!(expected.compare(&Scores::regression(vec![1.5, 2.0])).unwrap() == 0.0);
        let worst = expected.compare(&Scores::regression(vec![1.5, 2.0 + 1e-9])).unwrap();
        assert!(worst > 0.9e-9 && worst < 1.1e-9, "{worst}");
        let off = expected.compare(&Scores::regression(vec![1.5, 2.1])).unwrap_err();
        assert_eq!(off, Difference { row: 1, got: "2.1".into(), want: "2".into() });
        let exact = Expectation { tolerance: Tolerance::Exact, ..expected };
        assert!(exact.compare(&Scores::regression(vec![1.5 + f64::EPSILON, 2.0])).is_err(), "one bit");
    }

    #[test]
    fn labels_and_probabilities_are_compared() {
        let scores = classes(&["ham", "spam"], vec![1, 0], vec![0.25, 0.75, 0.5, 0.5]);
        assert!(parse(r#"["spam", "ham"]"#, 2).unwrap().compare(&scores).is_ok());
        assert_eq!(parse(r#"["spam", "spam"]"#, 2).unwrap().compare(&scores).unwrap_err().row, 1);
        let both = r#"{"predictions": ["spam", "ham"], "probabilities": [[0.25, 0.75], [0.5, 0.5]]}"#;
        assert!(parse(both, 2).unwrap().compare(&scores).is_ok());
        let off = parse(&both.replace("0.75", "0.76"), 2).unwrap().compare(&scores).unwrap_err();
        assert_eq!((off.row, off.got.as_str()), (0, "[0.25, 0.75]"));
        assert!(parse(r#"{"predictions": [1, 0]}"#, 2).unwrap().compare(&scores).is_ok(), "by index");
        let numbered = classes(&["3", "5"], vec![1], vec![]);
        assert!(parse("[5]", 1).unwrap().compare(&numbered).is_ok());
        assert!(parse("[3]", 1).unwrap().compare(&numbered).is_err());
        let truths = Scores::classification([false, true].map(Label::Boolean).into(), vec![1], vec![]);
        assert!(parse("[true]", 1).unwrap().compare(&truths).is_ok());
        assert!(parse(r#"["True"]"#, 1).unwrap().compare(&truths).is_ok());
        assert!(parse("[false]", 1).unwrap().compare(&truths).is_err());
        assert!(parse(r#"["5"]"#, 1).unwrap().compare(&numbered).is_ok(), "a number as text");
        assert!(parse(r#"["x"]"#, 1).unwrap().compare(&Scores::regression(vec![1.0])).is_err());
    }

    #[test]
    fn several_outputs_are_compared_one_by_one() {
        let scores = Scores::several(2, vec![1.0, 2.0, 3.0, 4.0]);
        assert_eq!(parse("[[1, 2], [3, 4]]", 2).unwrap().compare(&scores), Ok(0.0));
        let off = parse("[[1, 2], [3, 5]]", 2).unwrap().compare(&scores).unwrap_err();
        assert_eq!(off, Difference { row: 1, got: "4".into(), want: "5".into() });
        assert!(parse("[1, 2]", 2).unwrap().compare(&scores).is_err(), "one of two outputs");
    }

    #[test]
    fn the_file_may_have_rows_of_its_own() {
        let drawn = r#"{"rows": [[1, null], [2, 3.5]], "predictions": [7, 8]}"#;
        let both = parse(&format!(r#"{{"predictions": [5], "drawn": {drawn}}}"#), 1).unwrap();
        let (rows, expected) = both.drawn().unwrap();
        assert!(rows.len() == 2 && rows[0][1].is_missing() && !both.is_empty());
        assert!(expected.compare(&Scores::regression(vec![7.0, 8.0])).is_ok());
        assert_eq!(expected.compare(&Scores::regression(vec![7.0, 9.0])).unwrap_err().row, 1);
        let alone = parse(&format!(r#"{{"drawn": {drawn}}}"#), 0).unwrap();
        assert!(alone.is_empty() && alone.drawn().is_some());
        for (text, what) in [
            (r#"{"predictions": [5], "drawn": {"rows": [[1]], "predictions": [7]}}"#, "drawn: row 0: has 1 values"),
            (r#"{"predictions": [5], "drawn": {"predictions": [7]}}"#, "drawn: has no rows"),
            (r#"{"predictions": [5], "drawn": {"rows": [[1, 2]], "predictions": []}}"#, "drawn: has 0 predictions"),
        ] {
            let message = parse(text, 1).unwrap_err();
            assert!(message.contains(what), "{text}: {message}");
        }
        assert!(parse("[1]", 0).unwrap_err().contains("names no input example"));
    }

    #[test]
    fn what_is_not_an_expectation_is_reported() {
        for (text, what) in [
            ("{}", "is not an array"),
            ("[1", "EOF"),
            ("[1]", "1 predictions for 2 rows"),
            ("[1, 2, 3]", "3 predictions for 2 rows"),
            ("[1, null]", "row 1: null is neither"),
            ("[1, 1e999]", "out of range"),
            (r#"{"predictions": [1, 2], "probabilities": [[1]]}"#, "1 probabilities for 2 rows"),
            (r#"{"predictions": [1, 2], "probabilities": [1, 2]}"#, "row 0: is not an array"),
        ] {
            let message = parse(text, 2).unwrap_err();
            assert!(message.contains(what), "{text}: {message}");
        }
        let long = serde_json::to_string(&vec![1.0; 100]).unwrap();
        assert!(parse(&long, 64).is_ok(), "of a long example the first rows are kept");
    }
}
