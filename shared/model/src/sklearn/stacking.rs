//! Stacking, several outputs, chains, one-vs-rest and one-vs-one.

use std::sync::Arc;

use forebay_artefact::sklearn::stages;

use super::{Estimator, compile_member, forest};
use crate::artefact::View;
use crate::head::Head;
use crate::learner::{Binaries, Constant, Response, Scheme, Several, Stack, Threshold};
use crate::output_transform::{Link, OutputTransform};
use crate::plan::{Columns, Plan};
use crate::{Fault, Label, Model};

fn members(view: &View<'_>, width: usize) -> Result<Vec<Plan>, Fault> {
    let plans: Vec<Plan> =
        view.attr("estimators_")?.items()?.iter().map(|e| compile_member(e, width)).collect::<Result<_, _>>()?;
    if plans.is_empty() { Err(view.fault("has no members")) } else { Ok(plans) }
}

/// StackingClassifier and StackingRegressor.
pub(super) fn stacking(view: &View<'_>, width: usize, classifies: bool) -> Result<Estimator, Fault> {
    let plans = members(view, width)?;
    let methods = view.attr("stack_method_")?.items()?;
    if methods.len() != plans.len() {
        return Err(view.fault(format!("{} methods for {} members", methods.len(), plans.len())));
    }
    let passthrough = view.attr("passthrough")?.flag()?;
    let mut total = if passthrough { width } else { 0 };
    let mut stacked = Vec::with_capacity(plans.len());
    for (plan, method) in plans.into_iter().zip(&methods) {
        let classes = plan.signature().labels.len();
        let (response, answers) = match method.word()? {
            "predict" => (Response::Predict, plan.transform().values()),
            "predict_proba" if plan.transform().values() == 1 => {
                (Response::Positive, if classes == 2 { 1 } else { classes })
            }
            "decision_function" if plan.decides() => (Response::Decision, if classes == 2 { 1 } else { classes }),
            other => return Err(method.fault(format!("{other:?} of this member is not supported"))),
        };
        total += answers;
        stacked.push((plan, response));
    }
    let last = compile_member(&view.attr("final_estimator_")?, total)?;
    let transform = match (last.transform().clone(), classifies) {
        (OutputTransform::Classes { labels: own, link }, true) => {
            let labels = forest::labels(view)?;
            if own.len() != labels.len() {
                return Err(view.fault(format!("last estimator has {} classes of {}", own.len(), labels.len())));
            }
            OutputTransform::Classes { labels, link }
        }
        (transform, false) if last.signature().task == crate::Task::Regression => transform,
        _ => return Err(view.fault("last estimator has another task")),
    };
    let stack = Stack { width, members: stacked, passthrough, last };
    Ok(Estimator { head: Head::Learner(Arc::new(stack)), transform, takes_missing: true })
}

/// What several outputs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Numbers,
    Classes,
    /// Labels that a row has or not, of which `predict_proba` answers one number each.
    Labels,
}

impl Answers {
    fn of(classifies: bool) -> Self {
        if classifies { Self::Classes } else { Self::Numbers }
    }
}

fn several(
    members: Vec<Plan>,
    width: usize,
    order: Option<Vec<usize>>,
    chain: Option<Response>,
    answers: Answers,
) -> Result<Estimator, String> {
    let order = order.unwrap_or_else(|| (0..members.len()).collect());
    let mut by_place: Vec<usize> = (0..members.len()).collect();
    by_place.sort_by_key(|i| order[*i]);
    let transform = if answers != Answers::Numbers {
        let mut outputs = Vec::with_capacity(members.len());
        for i in by_place {
            let OutputTransform::Classes { labels, link } = members[i].transform() else {
                return Err(format!("member {i} is no classifier"));
            };
            outputs.push((labels.clone(), *link));
        }
        match answers {
            Answers::Labels if outputs.iter().all(|(labels, _)| labels.len() == 2) => OutputTransform::Present(outputs),
            _ => OutputTransform::Each(outputs),
        }
    } else {
        if let Some(i) = members.iter().position(|m| m.signature().task != crate::Task::Regression) {
            return Err(format!("member {i} is no regressor"));
        }
        let outputs = members.iter().map(|m| m.transform().values()).sum();
        OutputTransform::Several(outputs)
    };
    let learner = Several { width, members, chain, order, raw: answers != Answers::Numbers };
    Ok(Estimator { head: Head::Learner(Arc::new(learner)), transform, takes_missing: true })
}

/// MultiOutputRegressor and MultiOutputClassifier.
pub(super) fn multi_output(view: &View<'_>, width: usize, classifies: bool) -> Result<Estimator, Fault> {
    several(members(view, width)?, width, None, None, Answers::of(classifies)).map_err(|e| view.fault(e))
}

/// RegressorChain and ClassifierChain.
pub(super) fn chain(view: &View<'_>, width: usize, classifies: bool) -> Result<Estimator, Fault> {
    let estimators = view.attr("estimators_")?.items()?;
    let n = estimators.len();
    let plans: Vec<Plan> =
        estimators.iter().enumerate().map(|(i, e)| compile_member(e, width + i)).collect::<Result<_, _>>()?;
    let order_view = view.attr("order_")?;
    let order: Vec<usize> =
        order_view.numbers()?.iter().map(|o| super::step::column(&order_view, *o, n)).collect::<Result<_, _>>()?;
    let mut seen = order.clone();
    seen.sort_unstable();
    if n == 0 || seen != (0..n).collect::<Vec<_>>() {
        return Err(order_view.fault(format!("is no order of {n} outputs")));
    }
    let method = view.opt("chain_method_");
    let response = match method.as_ref().map(|m| m.text()).transpose()? {
        None | Some("predict") => Response::Predict,
        Some("predict_proba") => Response::Positive,
        Some("decision_function") => Response::Decision,
        Some(other) => return Err(view.fault(format!("method {other:?} is not supported"))),
    };
    let answers = if classifies { Answers::Labels } else { Answers::Numbers };
    several(plans, width, Some(order), Some(response), answers).map_err(|e| view.fault(e))
}

/// A classifier of two classes as OneVsRestClassifier asks it: by its decisions, which in some classes differ from its
/// predictions.
fn by_decision(view: &View<'_>, member: Plan) -> Result<Plan, Fault> {
    let stages = stages(view)?;
    let class = stages.last().map_or("", |last| last.class()).rsplit('.').next().unwrap_or("");
    let differs =
        ["NearestCentroid", "EasyEnsembleClassifier", "FixedThresholdClassifier", "TunedThresholdClassifierCV"];
    if !member.decides() || !(differs.contains(&class) || class.contains("Bagging")) {
        return Ok(member);
    }
    let (width, probabilities) = (member.width(), member.outputs().predict_proba);
    let labels: Arc<[Label]> = member.signature().labels.clone().into();
    if labels.len() != 2 {
        return Err(view.fault(format!("has {} classes, expected 2", labels.len())));
    }
    let link = if probabilities { Link::Chosen } else { Link::Index };
    // above zero
    let threshold = f64::from_bits(1);
    let learner = Threshold { width, member, method: Response::Decision, threshold, first: false, probabilities };
    let transform = OutputTransform::Classes { labels, link };
    let plan = Plan::new(Columns::Unnamed(width), Vec::new(), Head::Learner(Arc::new(learner)), transform, true);
    plan.map(|plan| plan.with_decision(true)).map_err(|e| view.fault(e))
}

/// A member of OneVsRestClassifier; a class that all or no rows had is a constant.
fn binary(view: &View<'_>, width: usize) -> Result<Plan, Fault> {
    if !view.class().ends_with("._ConstantPredictor") {
        return by_decision(view, compile_member(view, width)?);
    }
    let y = f64::from(u8::from(view.attr("y_")?.number()? != 0.0));
    let labels = [Label::Integer(0), Label::Integer(1)].into();
    let transform = OutputTransform::Classes { labels, link: Link::Probabilities };
    let head = Head::Learner(Arc::new(Constant { width, outputs: vec![1.0 - y, y] }));
    Plan::new(Columns::Unnamed(width), Vec::new(), head, transform, true).map_err(|e| view.fault(e))
}

/// OneVsRestClassifier: one estimator per class, also for several labels a row.
pub(super) fn one_vs_rest(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let binarizer = view.attr("label_binarizer_")?;
    let labels = forest::labels(&binarizer)?;
    let plans: Vec<Plan> =
        view.attr("estimators_")?.items()?.iter().map(|e| binary(e, width)).collect::<Result<_, _>>()?;
    let kind = binarizer.attr("y_type_")?;
    if kind.text()?.starts_with("multilabel") {
        return several(plans, width, None, None, Answers::Labels).map_err(|e| view.fault(e));
    }
    if let [one] = plans.as_slice() {
        // two classes: the only estimator tells the second
        let OutputTransform::Classes { link, .. } = one.transform().clone() else {
            return Err(view.fault("its estimator is no classifier"));
        };
        let transform = OutputTransform::Classes { labels, link };
        let last = Several { width, members: plans, chain: None, order: vec![0], raw: true };
        return Ok(Estimator { head: Head::Learner(Arc::new(last)), transform, takes_missing: true });
    }
    if plans.len() != labels.len() {
        return Err(view.fault(format!("{} members for {} classes", plans.len(), labels.len())));
    }
    let probabilities = plans.iter().all(|p| p.outputs().predict_proba);
    let link = if probabilities { Link::Chosen } else { Link::Index };
    Ok(binaries(width, plans, Scheme::OneVsRest { probabilities }, labels, link))
}

fn binaries(width: usize, members: Vec<Plan>, scheme: Scheme, labels: Arc<[Label]>, link: Link) -> Estimator {
    let learner = Binaries { width, members, scheme };
    let transform = OutputTransform::Classes { labels, link };
    Estimator { head: Head::Learner(Arc::new(learner)), transform, takes_missing: true }
}

/// OneVsOneClassifier.
pub(super) fn one_vs_one(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let n = labels.len();
    let plans = members(view, width)?;
    if n < 2 || plans.len() != n * (n - 1) / 2 || view.opt("pairwise_indices_").is_some() {
        return Err(view.fault(format!("{} members for {n} classes", plans.len())));
    }
    Ok(binaries(width, plans, Scheme::OneVsOne { classes: n }, labels, Link::Index))
}

/// OutputCodeClassifier.
pub(super) fn output_code(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let plans: Vec<Plan> =
        view.attr("estimators_")?.items()?.iter().map(|e| binary(e, width)).collect::<Result<_, _>>()?;
    if plans.is_empty() {
        return Err(view.fault("has no members"));
    }
    let book = super::matrix(&view.attr("code_book_")?, labels.len(), plans.len())?;
    Ok(binaries(width, plans, Scheme::Codes { book }, labels, Link::Index))
}
