//! The outputs of a model as tensors.

use forebay_contract::{ClassLabel, ErrorCode, Label, Problem, Score};

use super::tensor::{RequestedOutput, excerpt};
use super::{Datatype, invalid};
use crate::pending::RowOutcomes;
use crate::row_result::row_result;

/// The prediction: a number or the label of a class.
pub(crate) const PREDICT: &str = "predict";
/// The probability of each class.
pub(super) const PREDICT_PROBA: &str = "predict_proba";
/// The numbers from which a classifier chooses.
pub(super) const DECISION_FUNCTION: &str = "decision_function";
/// The outputs that the model does not compute beside the prediction.
const SEPARATE: [&str; 2] = [DECISION_FUNCTION, "score_samples"];
/// Names that clients of other servers give to the prediction.
const PREDICT_ALIASES: [&str; 3] = ["output-0", "output", "predictions"];

/// The answer to a request for inference.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InferAnswer {
    pub model: String,
    /// The version that answered; `None` if different versions answered.
    pub version: Option<u32>,
    /// The version that was requested, if another one answered.
    pub fallback_from: Option<String>,
    pub rows: usize,
    /// Rows whose prediction came from the cache.
    pub cached: usize,
    pub outputs: Vec<OutputTensor>,
}

/// One output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OutputTensor {
    /// As the client asked for it.
    pub name: String,
    pub shape: Vec<usize>,
    pub data: OutputData,
    /// What the client said about this output.
    pub binary: Option<bool>,
}

/// Elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OutputData {
    Fp64(Vec<f64>),
    Int64(Vec<i64>),
    Bool(Vec<bool>),
    Bytes(Vec<String>),
}

impl OutputData {
    pub(crate) fn datatype(&self) -> Datatype {
        match self {
            Self::Fp64(_) => Datatype::Fp64,
            Self::Int64(_) => Datatype::Int64,
            Self::Bool(_) => Datatype::Bool,
            Self::Bytes(_) => Datatype::Bytes,
        }
    }
}

/// The output that the model has to compute for the outputs that the client wants. What it computes for one that is apart
/// from the prediction holds the label and the probabilities as well.
///
/// # Errors
/// `invalid_request` for outputs that no model computes at once.
pub(crate) fn model_output(requested: &[RequestedOutput]) -> Result<&'static str, Problem> {
    let mut separate = SEPARATE.into_iter().filter(|name| requested.iter().any(|output| output.name == *name));
    match (separate.next(), separate.next()) {
        (None, _) => Ok(PREDICT),
        (Some(name), None) => Ok(name),
        (Some(one), Some(other)) => Err(apart(one, other)),
    }
}

/// The tensors of the answered rows that the client wants; `predict` if it names none. `own` is what the signature of the
/// model calls its only output, or empty.
///
/// # Errors
/// That of the first row that failed; `invalid_request` for an output that the model does not have; `internal` for one
/// that is not finite.
pub(crate) fn answer(rows: RowOutcomes, requested: &[RequestedOutput], own: &str) -> Result<InferAnswer, Problem> {
    let many = rows.len() > 1;
    let mut answers = Vec::with_capacity(rows.len());
    for (row, outcome) in rows.into_iter().enumerate() {
        let answer = row_result(outcome).map_err(|problem| match many {
            true => Problem::new(problem.code, format!("row {row}: {}", problem.message)),
            false => problem,
        });
        answers.push(answer?);
    }
    let Some((first, _)) = answers.first() else {
        return Err(Problem::new(ErrorCode::Internal, "the answer has no row"));
    };
    let version = Some(first.version).filter(|version| answers.iter().all(|(answer, _)| answer.version == *version));
    let (model, fallback_from) = (first.model.clone(), first.fallback_from().map(str::to_owned));
    let (rows, cached) = (answers.len(), answers.iter().filter(|(answer, _)| answer.cached).count());
    let scores: Vec<Score> = answers.into_iter().map(|(_, score)| score).collect();
    let default = [RequestedOutput { name: PREDICT.to_owned(), ..RequestedOutput::default() }];
    let requested = if requested.is_empty() { &default } else { requested };
    let separate = Some(model_output(requested)?).filter(|computed| *computed != PREDICT);
    let context = Context { model: &model, own, separate };
    let outputs = requested.iter().map(|output| tensor(output, &scores, &context)).collect::<Result<_, _>>()?;
    Ok(InferAnswer { model, version, fallback_from, rows, cached, outputs })
}

/// What a request says beside one of its outputs.
struct Context<'c> {
    model: &'c str,
    /// What the signature calls the only output, or empty.
    own: &'c str,
    /// The output of [`SEPARATE`] that was computed.
    separate: Option<&'static str>,
}

fn tensor(output: &RequestedOutput, scores: &[Score], context: &Context<'_>) -> Result<OutputTensor, Problem> {
    let Context { model, own, .. } = *context;
    let name = output.name.as_str();
    let (data, width) = match name {
        PREDICT_PROBA => {
            (of_all(scores, |score| &score.probabilities), scores.first().map(|score| score.probabilities.len()))
        }
        name if SEPARATE.contains(&name) => {
            let width = scores.first().map(|score| score.numbers.len()).filter(|width| *width > 1);
            (of_all(scores, |score| &score.numbers), width)
        }
        name if name == PREDICT || PREDICT_ALIASES.contains(&name) || name == own && !own.is_empty() => {
            let (data, width) = match context.separate {
                None => predictions(scores),
                Some(separate) => (predicted_beside(scores).ok_or_else(|| apart(name, separate))?, None),
            };
            (Some(data), width)
        }
        name => (named_output(scores, name), None),
    };
    let unexpected = || invalid(format!("unexpected inference output '{}' for model '{model}'", excerpt(name)));
    let data = data.ok_or_else(unexpected)?;
    if let OutputData::Fp64(numbers) = &data
        && let Some(at) = numbers.iter().position(|number| !number.is_finite())
    {
        let text = format!("output '{name}': element {at} is {}, which is no prediction", numbers[at]);
        return Err(Problem::new(ErrorCode::Internal, text));
    }
    let (data, width) = match output.classification {
        0 => (data, width),
        classes => classify(scores, classes),
    };
    let shape = std::iter::once(scores.len()).chain(width).collect();
    Ok(OutputTensor { name: name.to_owned(), shape, data, binary: output.binary })
}

/// The predictions, and how many each row has if there are several outputs.
fn predictions(scores: &[Score]) -> (OutputData, Option<usize>) {
    let width = scores.first().map_or(0, |score| score.numbers.len().max(score.labels.len()));
    if width > 1 && scores.iter().all(|score| score.labels.len() == width) {
        return (labels(scores.iter().flat_map(|score| score.labels.iter().map(Label::typed)).collect()), Some(width));
    }
    match of_all(scores, |score| &score.numbers).filter(|_| width > 1) {
        Some(numbers) => (numbers, Some(width)),
        None => (one_prediction(scores), None),
    }
}

/// The labels that came beside another output; `None` for a model that predicts no labels.
fn predicted_beside(scores: &[Score]) -> Option<OutputData> {
    let found: Option<Vec<_>> = scores.iter().map(|score| score.predicted.as_ref().map(Label::typed)).collect();
    found.map(labels)
}

fn apart(one: &str, other: &str) -> Problem {
    invalid(format!("outputs '{one}' and '{other}' cannot be had in one request"))
}

fn one_prediction(scores: &[Score]) -> OutputData {
    if scores.iter().any(|score| score.label.is_some()) {
        return labels(scores.iter().map(|score| score.class_label().unwrap_or(ClassLabel::Text(""))).collect());
    }
    OutputData::Fp64(scores.iter().map(|score| score.value).collect())
}

/// The labels as a tensor of their type; as text if they have several.
fn labels(labels: Vec<ClassLabel<'_>>) -> OutputData {
    fn all<T>(labels: &[ClassLabel<'_>], one: impl Fn(&ClassLabel<'_>) -> Option<T>) -> Option<Vec<T>> {
        labels.iter().map(one).collect()
    }
    let integers = || all(&labels, |label| if let ClassLabel::Integer(it) = label { Some(*it) } else { None });
    let booleans = || all(&labels, |label| if let ClassLabel::Boolean(it) = label { Some(*it) } else { None });
    let floats = || all(&labels, |label| if let ClassLabel::Float(it) = label { Some(*it) } else { None });
    let numbers = integers().map(OutputData::Int64).or_else(|| booleans().map(OutputData::Bool));
    let typed = numbers.or_else(|| floats().map(OutputData::Fp64));
    typed.unwrap_or_else(|| OutputData::Bytes(labels.iter().map(ClassLabel::to_string).collect()))
}

/// The values of all rows, if each has the same number of them.
fn of_all(scores: &[Score], values: impl Fn(&Score) -> &[f64]) -> Option<OutputData> {
    let width = values(scores.first()?).len();
    let same = width > 0 && scores.iter().all(|score| values(score).len() == width);
    same.then(|| OutputData::Fp64(scores.iter().flat_map(|score| values(score).iter().copied()).collect()))
}

/// One of several outputs that the signature names.
fn named_output(scores: &[Score], name: &str) -> Option<OutputData> {
    let at = scores.first()?.names.iter().position(|known| known == name)?;
    if let Some(numbers) = scores.iter().map(|score| score.numbers.get(at).copied()).collect() {
        return Some(OutputData::Fp64(numbers));
    }
    let found: Option<Vec<_>> = scores.iter().map(|score| score.labels.get(at).map(Label::typed)).collect();
    found.map(labels)
}

/// The classification extension: the `classes` greatest values of each row as `value:index`, the greatest first.
fn classify(scores: &[Score], classes: usize) -> (OutputData, Option<usize>) {
    let width = scores.iter().map(|score| score.probabilities.len().max(1)).min().unwrap_or(1).min(classes);
    let mut texts = Vec::with_capacity(scores.len() * width);
    for score in scores {
        let value = [score.value];
        let values = if score.probabilities.is_empty() { &value[..] } else { &score.probabilities };
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|one, other| values[*other].total_cmp(&values[*one]));
        texts.extend(order.iter().take(width).map(|index| format!("{}:{index}", values[*index])));
    }
    (OutputData::Bytes(texts), Some(width))
}

#[cfg(test)]
mod tests {
    use forebay_contract::{Answer, Outcome};

    use super::*;

    fn row(value: f64, label: Option<&str>, probabilities: &[f64]) -> Outcome {
        let score =
            Score { value, label: label.map(str::to_owned), probabilities: probabilities.to_vec(), ..Score::default() };
        Answer { score: Some(score), model: "m".into(), version: 3, ..Answer::default() }.into()
    }

    fn wanted(name: &str, classification: usize) -> RequestedOutput {
        RequestedOutput { name: name.into(), classification, binary: None }
    }

    #[test]
    fn a_request_without_outputs_gets_the_prediction() {
        let answered = answer(vec![row(1.5, None, &[]), row(2.5, None, &[])], &[], "").unwrap();
        assert_eq!((answered.version, answered.rows, answered.outputs.len()), (Some(3), 2, 1));
        let output = &answered.outputs[0];
        assert_eq!((output.name.as_str(), &output.shape[..]), (PREDICT, &[2][..]));
        assert_eq!(output.data, OutputData::Fp64(vec![1.5, 2.5]));
    }

    #[test]
    fn outputs_are_chosen_by_name() {
        let rows = || vec![row(1.0, Some("yes"), &[0.25, 0.75]), row(0.0, Some("no"), &[0.5, 0.5])];
        let answered =
            answer(rows(), &[wanted(PREDICT_PROBA, 0), wanted("output-0", 0), wanted(PREDICT, 1)], "").unwrap();
        let [proba, predict, best] = &answered.outputs[..] else { panic!("{answered:?}") };
        assert_eq!((&proba.shape[..], &proba.data), (&[2, 2][..], &OutputData::Fp64(vec![0.25, 0.75, 0.5, 0.5])));
        assert_eq!(predict.data, OutputData::Bytes(vec!["yes".into(), "no".into()]));
        assert_eq!(
            (&best.shape[..], &best.data),
            (&[2, 1][..], &OutputData::Bytes(vec!["0.75:1".into(), "0.5:0".into()]))
        );
        let own = answer(rows(), &[wanted("y", 0), wanted(PREDICT, 0)], "y").unwrap().outputs;
        assert_eq!((own[0].name.as_str(), &own[0].data), ("y", &own[1].data));
        assert!(answer(rows(), &[wanted("", 0)], "").is_err());
        let problem = answer(rows(), &[wanted("odds", 0)], "y").unwrap_err();
        assert_eq!(problem, invalid("unexpected inference output 'odds' for model 'm'"));
        assert!(answer(vec![row(1.0, None, &[])], &[wanted(PREDICT_PROBA, 0)], "").is_err());
    }

    #[test]
    fn labels_are_tensors_of_their_type() {
        use forebay_contract::wire::LabelKind;
        let predicted = |rows: Vec<Score>, name: &str| {
            let rows =
                rows.into_iter().map(|score| Answer { score: Some(score), ..Answer::default() }.into()).collect();
            answer(rows, &[wanted(name, 0)], "").map(|mut answered| answered.outputs.remove(0))
        };
        let label = |text: &str, kind: LabelKind| Score {
            label: Some(text.into()),
            label_kind: kind.into(),
            ..Score::default()
        };
        for (texts, kind, data) in [
            (["3", "-5"], LabelKind::Integer, OutputData::Int64(vec![3, -5])),
            (["true", "false"], LabelKind::Boolean, OutputData::Bool(vec![true, false])),
            (["0.5", "1.0"], LabelKind::Float, OutputData::Fp64(vec![0.5, 1.0])),
            (["3", "no"], LabelKind::Text, OutputData::Bytes(vec!["3".into(), "no".into()])),
        ] {
            assert_eq!(predicted(texts.map(|text| label(text, kind)).into(), PREDICT).unwrap().data, data);
        }
        let mixed = vec![label("3", LabelKind::Integer), label("true", LabelKind::Boolean)];
        assert_eq!(predicted(mixed, PREDICT).unwrap().data, OutputData::Bytes(vec!["3".into(), "true".into()]));
        let labels = [1, 0].map(|it| ClassLabel::Integer(it).to_wire()).into();
        let several = Score { labels, names: vec!["x".into(), "y".into()], ..Score::default() };
        let both = predicted(vec![several.clone(), several.clone()], PREDICT).unwrap();
        assert_eq!((both.shape, both.data), (vec![2, 2], OutputData::Int64(vec![1, 0, 1, 0])));
        assert_eq!(predicted(vec![several.clone()], "y").unwrap().data, OutputData::Int64(vec![0]));
        assert!(predicted(vec![several], "z").is_err());
    }

    #[test]
    fn decision_functions_come_with_the_labels() {
        let decided = |numbers: &[f64]| {
            let score = Score { value: numbers[0], numbers: numbers.to_vec(), ..Score::default() };
            let rows = vec![Answer { score: Some(score), ..Answer::default() }.into()];
            answer(rows, &[wanted(DECISION_FUNCTION, 0)], "").unwrap().outputs.remove(0)
        };
        let (one, three) = (decided(&[1.5]), decided(&[1.0, 2.0, 3.0]));
        assert_eq!((one.shape, one.data), (vec![1], OutputData::Fp64(vec![1.5])));
        assert_eq!((three.shape, three.data), (vec![1, 3], OutputData::Fp64(vec![1.0, 2.0, 3.0])));
        assert_eq!(model_output(&[]), Ok(PREDICT));
        assert_eq!(model_output(&[wanted(PREDICT_PROBA, 0), wanted("output", 0)]), Ok(PREDICT));
        assert_eq!(model_output(&[wanted(DECISION_FUNCTION, 0)]), Ok(DECISION_FUNCTION));
        assert_eq!(model_output(&[wanted(PREDICT, 0), wanted(DECISION_FUNCTION, 0)]), Ok(DECISION_FUNCTION));
        assert!(model_output(&[wanted("score_samples", 0), wanted(DECISION_FUNCTION, 0)]).is_err());
        let all = |predicted: Option<ClassLabel<'_>>| {
            let predicted = predicted.map(|label| label.to_wire());
            let score = Score {
                value: 1.5,
                numbers: vec![1.5],
                probabilities: vec![0.25, 0.75],
                predicted,
                ..Score::default()
            };
            let rows = vec![Answer { score: Some(score), ..Answer::default() }.into()];
            answer(rows, &[PREDICT, PREDICT_PROBA, DECISION_FUNCTION].map(|name| wanted(name, 0)), "")
        };
        let outputs = all(Some(ClassLabel::Integer(7))).unwrap().outputs;
        let expected = [OutputData::Int64(vec![7]), OutputData::Fp64(vec![0.25, 0.75]), OutputData::Fp64(vec![1.5])];
        assert_eq!(outputs.into_iter().map(|output| output.data).collect::<Vec<_>>(), expected);
        let problem = all(None).unwrap_err();
        assert_eq!(problem, invalid("outputs 'predict' and 'decision_function' cannot be had in one request"));
    }

    #[test]
    fn a_failed_row_or_a_number_that_is_not_finite_fails_the_request() {
        let failed = || Problem::new(ErrorCode::InvalidFeatures, "why").into();
        let problem = answer(vec![row(1.0, None, &[]), failed()], &[], "").unwrap_err();
        assert_eq!(problem, Problem::new(ErrorCode::InvalidFeatures, "row 1: why"));
        assert_eq!(answer(vec![failed()], &[], "").unwrap_err().message, "why");
        assert_eq!(answer(vec![row(f64::NAN, None, &[])], &[], "").unwrap_err().code, ErrorCode::Internal);
        assert_eq!(answer(vec![], &[], "").unwrap_err().code, ErrorCode::Internal);
    }
}
