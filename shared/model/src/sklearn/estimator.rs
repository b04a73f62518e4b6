//! Which reader an estimator class needs.

use super::{Estimator, committee, ensemble, histogram, linear, neural, svm};
use crate::Fault;
use crate::artefact::View;
use crate::step::Step;

/// Compiles the estimator at `view`, which takes `width` values; appends steps it brings itself.
///
/// # Errors
/// A [`Fault`] naming a class that is not supported, or what is wrong inside a supported one.
pub(super) fn compile(view: &View<'_>, width: usize, steps: &mut Vec<Step>) -> Result<Estimator, Fault> {
    let class = view.class();
    let name = class.strip_prefix("sklearn.").and_then(|c| c.rsplit('.').next()).unwrap_or("");
    match name {
        "RandomForestRegressor" | "ExtraTreesRegressor" | "DecisionTreeRegressor" | "ExtraTreeRegressor" => {
            ensemble::average(view, width, false)
        }
        "RandomForestClassifier" | "ExtraTreesClassifier" | "DecisionTreeClassifier" | "ExtraTreeClassifier" => {
            ensemble::average(view, width, true)
        }
        "GradientBoostingRegressor" => ensemble::boosting(view, width, false),
        "GradientBoostingClassifier" => ensemble::boosting(view, width, true),
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
        "BaggingRegressor" => committee::bagging(view, width),
        "VotingRegressor" => committee::voting(view, width),
        "AdaBoostRegressor" => committee::adaboost(view, width),
        _ => Err(view.fault(format!("{} is not supported as an estimator", view.kind()))),
    }
}
