//! Selects the compiler of an estimator class.

use super::{Estimator, forest, histogram, linear, meta_estimator, neural, svm};
use crate::Fault;
use crate::artefact::View;
use crate::step::Step;

/// Compiles the estimator at `view`, which takes `width` values. Appends the steps that the estimator itself contains.
///
/// # Errors
/// A [`Fault`] that names the class if it is not supported, or what is wrong inside a supported one.
pub(super) fn compile(view: &View<'_>, width: usize, steps: &mut Vec<Step>) -> Result<Estimator, Fault> {
    let class = view.class();
    let name = class.strip_prefix("sklearn.").and_then(|c| c.rsplit('.').next()).unwrap_or("");
    match name {
        "RandomForestRegressor" | "ExtraTreesRegressor" | "DecisionTreeRegressor" | "ExtraTreeRegressor" => {
            forest::average(view, width, false)
        }
        "RandomForestClassifier" | "ExtraTreesClassifier" | "DecisionTreeClassifier" | "ExtraTreeClassifier" => {
            forest::average(view, width, true)
        }
        "GradientBoostingRegressor" => forest::boosting(view, width, false),
        "GradientBoostingClassifier" => forest::boosting(view, width, true),
        "HistGradientBoostingRegressor" => histogram::boosting(view, width, false, steps),
        "HistGradientBoostingClassifier" => histogram::boosting(view, width, true, steps),
        "LinearRegression" | "Ridge" | "RidgeCV" | "Lasso" | "LassoCV" | "ElasticNet" | "ElasticNetCV" | "Lars"
        | "LassoLars" | "BayesianRidge" | "ARDRegression" | "HuberRegressor" | "SGDRegressor" | "LinearSVR"
        | "QuantileRegressor" | "TheilSenRegressor" => linear::regressor(view, width),
        "LogisticRegression" | "LogisticRegressionCV" => linear::logistic(view, width),
        "SGDClassifier" | "RidgeClassifier" | "LinearSVC" | "Perceptron" => linear::classifier(view, width),
        "MLPRegressor" => neural::perceptron(view, width, false),
        "MLPClassifier" => neural::perceptron(view, width, true),
        "SVR" | "NuSVR" => svm::regressor(view, width),
        "BaggingRegressor" => meta_estimator::bagging(view, width),
        "VotingRegressor" => meta_estimator::voting(view, width),
        "AdaBoostRegressor" => meta_estimator::adaboost(view, width),
        _ => Err(view.fault(format!("{} is not supported as an estimator", view.kind()))),
    }
}
