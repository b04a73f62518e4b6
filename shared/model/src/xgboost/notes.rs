//! What the classes of scikit-learn's interface note in a file beside the trees.

use crate::Label;
use crate::booster::Meaning;
use crate::document::Value;

/// What `save_model` of scikit-learn's classes notes in the file.
pub(super) fn saved_meaning(learner: &Value<'_>) -> Meaning {
    let Some(Ok(text)) = learner.path(&["attributes", "scikit_learn"]).map(Value::text) else {
        return Meaning::Booster;
    };
    noted_meaning(text)
}

pub(super) fn noted_meaning(note: &str) -> Meaning {
    if note.contains("\"classifier\"") { Meaning::Classifier } else { Meaning::Regressor }
}

/// The labels that releases 1.3 to 1.5 coded, and noted beside the trees.
pub(super) fn noted_labels(note: &str) -> Option<Vec<Label>> {
    let note: serde_json::Value = serde_json::from_str(note).ok()?;
    let label = |value: &serde_json::Value| match value {
        serde_json::Value::Bool(value) => Some(Label::Boolean(*value)),
        serde_json::Value::Number(number) => number.as_i64().map(Label::Integer).or(number.as_f64().map(Label::Float)),
        serde_json::Value::String(text) => Some(text.as_str().into()),
        _ => None,
    };
    note.get("_le")?.get("classes_")?.as_array()?.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_old_releases() {
        let note =
            r#"{"use_label_encoder": true, "_le": {"classes_": ["no", "yes"]}, "_estimator_type": "classifier"}"#;
        assert_eq!(noted_labels(note), Some(vec!["no".into(), "yes".into()]));
        let note = r#"{"_le": {"classes_": [1, 2.5, true]}, "_estimator_type": "classifier"}"#;
        assert_eq!(noted_labels(note), Some(vec![Label::Integer(1), Label::Float(2.5), Label::Boolean(true)]));
        for note in [r#"{"classes_": [3, 4], "_estimator_type": "classifier"}"#, r#"{"_le": {"classes_": [[1]]}}"#, "{"]
        {
            assert_eq!(noted_labels(note), None);
        }
    }
}
