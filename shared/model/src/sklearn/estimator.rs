//! Selects the compiler of an estimator class.

use super::{
    Estimator, bayes, boosted, boosters, clusters, ensemble, forest, gaussian_process, histogram, kernel_density,
    linear, meta_estimator, neighbours, neural, outlier, stacking, svm, target,
};
use forebay_artefact::sklearn::stages;

use crate::Fault;
use crate::artefact::View;
use crate::step::Step;

/// Compiles the estimator at `view`, which takes `width` values. Appends the steps that the estimator itself contains.
///
/// # Errors
/// A [`Fault`] that names the class if it is not supported, or what is wrong inside a supported one.
pub(super) fn compile(view: &View<'_>, width: usize, steps: &mut Vec<Step>) -> Result<Estimator, Fault> {
    let class = view.class();
    // those of imbalanced-learn draw other rows in the fit, and predict as the classes they are made from
    let of_library = class.strip_prefix("sklearn.").or_else(|| class.strip_prefix("imblearn.ensemble."));
    let name = of_library.and_then(|c| c.rsplit('.').next()).unwrap_or("");
    match name {
        "RandomForestRegressor" | "ExtraTreesRegressor" | "DecisionTreeRegressor" | "ExtraTreeRegressor" => {
            forest::average(view, width, false)
        }
        "RandomForestClassifier" | "ExtraTreesClassifier" | "DecisionTreeClassifier" | "ExtraTreeClassifier" => {
            forest::average(view, width, true)
        }
        "BalancedRandomForestClassifier" => forest::average(view, width, true),
        "GradientBoostingRegressor" => boosted::regressor(view, width),
        "GradientBoostingClassifier" => boosted::classifier(view, width),
        "HistGradientBoostingRegressor" => histogram::boosting(view, width, false, steps),
        "HistGradientBoostingClassifier" => histogram::boosting(view, width, true, steps),
        "LinearRegression"
        | "Ridge"
        | "RidgeCV"
        | "Lasso"
        | "LassoCV"
        | "ElasticNet"
        | "ElasticNetCV"
        | "Lars"
        | "LassoLars"
        | "BayesianRidge"
        | "ARDRegression"
        | "HuberRegressor"
        | "SGDRegressor"
        | "LinearSVR"
        | "QuantileRegressor"
        | "TheilSenRegressor"
        | "LarsCV"
        | "LassoLarsCV"
        | "LassoLarsIC"
        | "MultiTaskLasso"
        | "MultiTaskLassoCV"
        | "MultiTaskElasticNet"
        | "MultiTaskElasticNetCV"
        | "OrthogonalMatchingPursuit"
        | "OrthogonalMatchingPursuitCV"
        | "PassiveAggressiveRegressor" => linear::regressor(view, width, steps),
        "LogisticRegression" | "LogisticRegressionCV" => linear::logistic(view, width, steps),
        "SGDClassifier"
        | "RidgeClassifier"
        | "RidgeClassifierCV"
        | "LinearSVC"
        | "Perceptron"
        | "PassiveAggressiveClassifier" => linear::classifier(view, width, steps),
        "MLPRegressor" => neural::perceptron(view, width, false),
        "MLPClassifier" => neural::perceptron(view, width, true),
        "SVR" | "NuSVR" => svm::regressor(view, width),
        "PoissonRegressor" | "GammaRegressor" | "TweedieRegressor" => linear::generalized(view, name, width, steps),
        "PLSRegression" | "PLSCanonical" | "CCA" => linear::partial_least_squares(view, width, steps),
        _ => density(view, name, width, steps),
    }
}

/// Densities, neighbours, clusters, outliers and support vector classifiers.
fn density(view: &View<'_>, name: &str, width: usize, steps: &mut Vec<Step>) -> Result<Estimator, Fault> {
    match name {
        "LinearDiscriminantAnalysis" => bayes::linear_discriminants(view, width),
        "QuadraticDiscriminantAnalysis" => bayes::quadratic_discriminants(view, width),
        "GaussianNB" => bayes::gaussian(view, width),
        "MultinomialNB" | "ComplementNB" | "BernoulliNB" => bayes::discrete(view, name, width),
        "CategoricalNB" => bayes::categorical(view, width),
        "GaussianMixture" => bayes::mixture(view, width, false),
        "BayesianGaussianMixture" => bayes::mixture(view, width, true),
        "KernelRidge" => bayes::kernel_ridge(view, width, steps),
        "GaussianProcessRegressor" => gaussian_process::regressor(view, width),
        // with more classes it is a one-vs-rest or one-vs-one classifier of processes for two
        "GaussianProcessClassifier" => compile(&view.attr("base_estimator_")?, width, steps),
        "_BinaryGaussianProcessClassifierLaplace" => gaussian_process::laplace(view, width),
        "KNeighborsRegressor" | "RadiusNeighborsRegressor" => neighbours::regressor(view, width),
        "KNeighborsClassifier" | "RadiusNeighborsClassifier" => neighbours::classifier(view, width),
        "KernelDensity" => kernel_density::read(view, width),
        "NearestCentroid" => neighbours::centroids(view, width),
        "IsotonicRegression" => ensemble::isotonic(view, width),
        "KMeans" | "MiniBatchKMeans" | "MeanShift" | "AffinityPropagation" => clusters::nearest(view, width),
        "BisectingKMeans" => clusters::bisecting(view, width),
        "Birch" => clusters::birch(view, width),
        "LocalOutlierFactor" => neighbours::local_outlier_factor(view, width),
        "IsolationForest" => outlier::isolation(view, width),
        "EllipticEnvelope" => outlier::ellipse(view, width),
        "OneClassSVM" => outlier::one_class(view, width),
        "SGDOneClassSVM" => outlier::one_class_linear(view, width),
        "LabelPropagation" | "LabelSpreading" => neighbours::propagation(view, width),
        "SVC" | "NuSVC" => svm::classifier(view, width),
        _ => meta(view, name, width, steps),
    }
}

/// Estimators made of estimators.
fn meta(view: &View<'_>, name: &str, width: usize, steps: &mut Vec<Step>) -> Result<Estimator, Fault> {
    match name {
        "BaggingRegressor" => meta_estimator::bagging(view, width),
        "VotingRegressor" => meta_estimator::voting(view, width),
        "AdaBoostRegressor" => meta_estimator::adaboost(view, width),
        "VotingClassifier" => ensemble::voting(view, width),
        "BaggingClassifier" | "BalancedBaggingClassifier" | "EasyEnsembleClassifier" => ensemble::bagging(view, width),
        "AdaBoostClassifier" | "RUSBoostClassifier" => ensemble::adaboost(view, width),
        "CalibratedClassifierCV" => ensemble::calibrated(view, width),
        "FixedThresholdClassifier" | "TunedThresholdClassifierCV" => ensemble::threshold(view, width),
        "StackingRegressor" => stacking::stacking(view, width, false),
        "StackingClassifier" => stacking::stacking(view, width, true),
        "MultiOutputRegressor" => stacking::multi_output(view, width, false),
        "MultiOutputClassifier" => stacking::multi_output(view, width, true),
        "RegressorChain" => stacking::chain(view, width, false),
        "ClassifierChain" => stacking::chain(view, width, true),
        "OneVsRestClassifier" => stacking::one_vs_rest(view, width),
        "OneVsOneClassifier" => stacking::one_vs_one(view, width),
        "OutputCodeClassifier" => stacking::output_code(view, width),
        "TransformedTargetRegressor" => target::transformed(view, width, steps),
        "RFE" | "RFECV" => target::selected(view, width, steps),
        "DummyRegressor" => target::dummy_regressor(view, width),
        "DummyClassifier" => target::dummy_classifier(view, width),
        _ => other(view, width),
    }
}

/// Estimators of other libraries inside a scikit-learn artefact: the one place where their readers are called.
fn other(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    if let Some(estimator) = boosters::estimator(view, width)? {
        return Ok(estimator);
    }
    Err(view.fault(format!("{} is not supported as an estimator", view.described())))
}

/// Whether the estimator has a `decision_function`.
///
/// # Errors
/// A [`Fault`] when a part of it cannot be read.
pub(super) fn decides(view: &View<'_>) -> Result<bool, Fault> {
    let class = view.class();
    let all = |list: &str| -> Result<bool, Fault> {
        for member in view.attr(list)?.items()? {
            match stages(&member)?.last() {
                Some(last) if decides(last)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    };
    Ok(match class.rsplit('.').next().unwrap_or("") {
        "LogisticRegression"
        | "LogisticRegressionCV"
        | "SGDClassifier"
        | "RidgeClassifier"
        | "RidgeClassifierCV"
        | "LinearSVC"
        | "Perceptron"
        | "PassiveAggressiveClassifier"
        | "LinearDiscriminantAnalysis"
        | "QuadraticDiscriminantAnalysis"
        | "SVC"
        | "NuSVC"
        | "OneClassSVM"
        | "SGDOneClassSVM"
        | "IsolationForest"
        | "LocalOutlierFactor"
        | "EllipticEnvelope"
        | "AdaBoostClassifier"
        | "RUSBoostClassifier"
        | "GradientBoostingClassifier"
        | "HistGradientBoostingClassifier" => true,
        "OneVsOneClassifier" => true,
        // a method of LightGBM 4.7, as is this attribute
        "LGBMClassifier" => view.opt("_fitted_with_feature_names").is_some(),
        "NearestCentroid" => view.opt("class_prior_").is_some() && view.attr("metric")?.text()? == "euclidean",
        "OneVsRestClassifier"
        | "ClassifierChain"
        | "BaggingClassifier"
        | "BalancedBaggingClassifier"
        | "EasyEnsembleClassifier" => all("estimators_")?,
        "FixedThresholdClassifier" | "TunedThresholdClassifierCV" => {
            let inner = view.opt("estimator_").map_or_else(|| view.attr("estimator"), Ok)?;
            stages(&inner)?.last().map(decides).transpose()?.unwrap_or(false)
        }
        "RFE" | "RFECV" => stages(&view.attr("estimator_")?)?.last().map(decides).transpose()?.unwrap_or(false),
        "StackingClassifier" => match stages(&view.attr("final_estimator_")?)?.last() {
            Some(last) => decides(last)?,
            None => false,
        },
        _ => false,
    })
}
