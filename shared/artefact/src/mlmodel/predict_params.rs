//! Parameters of the signature that MLflow hands to the model's own `predict`. Of the flavors that are read here, only that of
//! XGBoost does so; the others ignore them, and so does XGBoost with names that its `predict` does not have.

use serde_json::Value;

use super::Param;

/// Arguments of both kinds of models, then those of a `Booster` alone, then those of the classes for scikit-learn alone.
const BOTH: [&str; 3] = ["output_margin", "iteration_range", "ntree_limit"];
const BOOSTER: [&str; 5] = ["pred_leaf", "pred_contribs", "pred_interactions", "training", "strict_shape"];
const SKLEARN: [&str; 1] = ["base_margin"];

/// Why a model cannot be served: a parameter by whose default its `predict` answers something else. `class` is the model's
/// class, if `MLmodel` has it.
pub(super) fn refused(flavor: &str, class: Option<&str>, params: &[Param]) -> Option<String> {
    if flavor != "xgboost" {
        return None;
    }
    let own: &[&str] = if class.is_some_and(|class| class.contains(".sklearn.")) { &SKLEARN } else { &BOOSTER };
    let param = params.iter().find(|param| {
        let name = param.name.as_str();
        (BOTH.contains(&name) || own.contains(&name)) && !is_neutral(&param.default)
    })?;
    let Param { name, default } = param;
    Some(format!(
        "params: with {name} = {default}, its default, XGBoost answers something else than a prediction of the model"
    ))
}

/// Whether an argument with this value changes nothing: `None`, `False`, 0 trees, and a range without an end.
fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(range) => range.iter().all(|end| end.as_f64() == Some(0.0)),
        value => value.as_f64() == Some(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(flavor: &str, class: &str, name: &str, default: Value) -> Option<String> {
        refused(flavor, Some(class), &[Param { name: name.to_owned(), default }])
    }

    #[test]
    fn a_default_that_changes_the_answer_of_xgboost_is_refused() {
        let booster = |name, default| of("xgboost", "xgboost.core.Booster", name, default).is_some();
        let classifier = |name, default| of("xgboost", "xgboost.sklearn.XGBClassifier", name, default).is_some();
        assert!(booster("output_margin", json!(true)) && classifier("output_margin", json!(true)));
        assert!(booster("iteration_range", json!([0, 1])) && classifier("iteration_range", json!([0, 1])));
        assert!(booster("pred_leaf", json!(true)) && !classifier("pred_leaf", json!(true)), "it has no such argument");
        for (name, default) in [
            ("output_margin", json!(false)),
            ("iteration_range", json!([0, 0])),
            ("ntree_limit", json!(0)),
            ("base_margin", Value::Null),
            ("threshold", json!(0.5)),
        ] {
            assert!(!booster(name, default.clone()) && !classifier(name, default), "{name}");
        }
        assert_eq!(of("lightgbm", "lightgbm.basic.Booster", "output_margin", json!(true)), None, "it is ignored there");
        let why = of("xgboost", "xgboost.core.Booster", "output_margin", json!(true)).unwrap();
        assert!(why.starts_with("params: with output_margin = true, its default,"), "{why}");
    }
}
