//! What an answer holds: one row of a model's scores as a message.

use std::fmt::Display;

use forebay_contract::{ClassLabel, ErrorCode, Problem, Score};
use forebay_model::{Label, Output, Outputs, Scores};

/// Checks that a version, which `label` and `model` name, has an output.
///
/// # Errors
/// `invalid_request`, with the outputs that it has.
pub fn check_output(output: Output, outputs: Outputs, label: impl Display, model: &str) -> Result<(), Problem> {
    if outputs.has(output) {
        return Ok(());
    }
    let message = format!("output: {label} of model {model:?} has no {output}; it has {outputs}");
    Err(Problem::new(ErrorCode::InvalidRequest, message))
}

/// The problem of a row that a version, which `label` names, has no answer to by its own rules.
pub fn no_answer(label: impl Display, why: &str) -> Problem {
    Problem::new(ErrorCode::InvalidFeatures, format!("{label} has no answer to this row: {why}"))
}

/// The score of row `row`, of which the request wants `output`. `names` are those of several outputs, or empty.
pub fn row_score(scores: &Scores, row: usize, output: Output, names: &[String]) -> Score {
    let values = scores.row(row);
    let mut score = Score { value: values[0], probabilities: scores.probabilities(row).to_vec(), ..Score::default() };
    if let ([_], Some(label)) = (values, scores.label(row)) {
        let label = class_label(label);
        (score.label_kind, score.label) = (label.kind().into(), Some(label.to_string()));
    }
    match output {
        Output::Predict if values.len() == 1 => {}
        Output::Predict => several(&mut score, scores, row, names),
        Output::PredictProba => {
            score.numbers.clone_from(&score.probabilities);
            score.classes = scores.probability_classes().map(|label| class_label(label).to_wire()).collect();
        }
        Output::DecisionFunction | Output::ScoreSamples => {
            score.numbers = scores.decision(row).to_vec();
            score.value = score.numbers.first().copied().unwrap_or(f64::NAN);
            // a request over the Open Inference Protocol may want all three
            score.predicted = scores.label(row).filter(|_| values.len() == 1).map(|label| class_label(label).to_wire());
            (score.label, score.label_kind) = (None, 0);
        }
    }
    score
}

fn several(score: &mut Score, scores: &Scores, row: usize, names: &[String]) {
    let labels = (0..scores.outputs).filter_map(|output| scores.label_of(row, output));
    score.labels = labels.map(|label| class_label(label).to_wire()).collect();
    if score.labels.is_empty() {
        score.numbers = scores.row(row).to_vec();
    }
    if names.len() == scores.outputs {
        score.names = names.to_vec();
    }
}

/// The label as answers write it.
fn class_label(label: &Label) -> ClassLabel<'_> {
    match label {
        Label::Integer(value) => ClassLabel::Integer(*value),
        Label::Boolean(value) => ClassLabel::Boolean(*value),
        Label::Float(value) => ClassLabel::Float(*value),
        Label::Text(text) => ClassLabel::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_contract::PredictedValue;

    fn json(score: &Score) -> String {
        serde_json::to_string(&PredictedValue::from(score)).unwrap()
    }

    fn churn() -> Scores {
        let classes: Vec<Label> = vec!["churn".into(), "stay".into()];
        Scores::classification(classes.into(), vec![1], vec![0.25, 0.75]).with_decision(vec![1.5])
    }

    #[test]
    fn every_output_of_a_classifier() {
        let of = |output| row_score(&churn(), 0, output, &[]);
        let predict = of(Output::Predict);
        assert_eq!((json(&predict).as_str(), predict.probabilities.as_slice()), ("\"stay\"", [0.25, 0.75].as_slice()));
        assert!(predict.classes.is_empty());
        let proba = of(Output::PredictProba);
        assert_eq!(json(&proba), "[0.25,0.75]");
        assert_eq!(proba.class_labels(), [ClassLabel::Text("churn"), ClassLabel::Text("stay")]);
        let decided = of(Output::DecisionFunction);
        assert_eq!((json(&decided).as_str(), decided.value), ("1.5", 1.5));
        assert_eq!(
            (decided.predicted, decided.probabilities),
            (Some(ClassLabel::Text("stay").to_wire()), vec![0.25, 0.75])
        );
        assert_eq!((predict.predicted, proba.predicted), (None, None));
    }

    #[test]
    fn an_output_that_a_version_lacks_is_refused_with_those_it_has() {
        let outputs = Outputs { predict_proba: true, ..Outputs::default() };
        assert_eq!(check_output(Output::PredictProba, outputs, "v2", "m"), Ok(()));
        let problem = check_output(Output::ScoreSamples, outputs, "v2", "m").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "invalid_request: output: v2 of model \"m\" has no score_samples; it has predict, predict_proba"
        );
    }

    #[test]
    fn labels_keep_their_type() {
        for (labels, expected) in [
            ([Label::Integer(3), Label::Integer(5)], "5"),
            ([false, true].map(Label::Boolean), "true"),
            ([0.5, 1.0].map(Label::Float), "1.0"),
        ] {
            let scores = Scores::classification(labels.into(), vec![1], Vec::new());
            assert_eq!(json(&row_score(&scores, 0, Output::Predict, &[])), expected);
        }
    }

    #[test]
    fn several_outputs_are_a_list_or_an_object() {
        let scores = Scores::several(2, vec![1.0, 2.0, 3.0, 4.0]);
        assert_eq!(json(&row_score(&scores, 1, Output::Predict, &[])), "[3.0,4.0]");
        let names = ["y".to_owned(), "x".to_owned()];
        assert_eq!(json(&row_score(&scores, 1, Output::Predict, &names)), r#"{"y":3.0,"x":4.0}"#);
        let numbers: std::sync::Arc<[Label]> = [Label::Integer(0), Label::Integer(1)].into();
        let labels = Scores::multi_label([numbers.clone(), numbers].into(), vec![1, 0], Vec::new());
        let both = row_score(&labels, 0, Output::Predict, &[]);
        assert_eq!((json(&both).as_str(), both.label), ("[1,0]", None));
    }
}
