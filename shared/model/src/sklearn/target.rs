//! Regressors of a transformed target, and estimators that answer a constant.

use std::sync::Arc;

use forebay_artefact::sklearn::{stages, step, values};

use super::{Estimator, compile_stages, forest};
use crate::Fault;
use crate::artefact::View;
use crate::head::Head;
use crate::learner::Constant;
use crate::output_transform::{Inverse, InversePart, Link, OutputTransform};
use crate::step::{Function, Step};

/// TransformedTargetRegressor.
pub(super) fn transformed(view: &View<'_>, width: usize, steps: &mut Vec<Step>) -> Result<Estimator, Fault> {
    let inner = compile_stages(&view.attr("regressor_")?, Some(width), steps)?;
    let transformer = view.attr("transformer_")?;
    let outputs = inner.transform.values();
    let mut parts = Vec::new();
    for stage in stages(&transformer)?.iter().rev() {
        parts.extend(part(stage, outputs)?);
    }
    let inverse = Arc::new(Inverse { parts });
    Ok(Estimator { transform: OutputTransform::Inverted { base: Box::new(inner.transform), inverse }, ..inner })
}

/// RFE and RFECV at the end of a pipeline: their estimator takes the columns that they keep.
pub(super) fn selected(view: &View<'_>, width: usize, steps: &mut Vec<Step>) -> Result<Estimator, Fault> {
    let kept = step::compile(view, width, steps)?;
    compile_stages(&view.attr("estimator_")?, Some(kept), steps)
}

/// What undoes one transformer of the target; `None` for one that changes nothing.
fn part(view: &View<'_>, outputs: usize) -> Result<Option<InversePart>, Fault> {
    let vector = |switch: &str, name: &str| match view.attr(switch)?.flag()? {
        true => view.opt(name).map(|v| v.vector(outputs)).transpose(),
        false => Ok(None),
    };
    Ok(Some(match view.class().rsplit('.').next().unwrap_or("") {
        "FunctionTransformer" => {
            let Some(function) = view.opt("inverse_func") else { return Ok(None) };
            let known = Function::named(function.class());
            InversePart::Function(
                known.ok_or_else(|| {
                    function.fault(format!("inverse_func runs {}; no code is run here", function.kind()))
                })?,
            )
        }
        "StandardScaler" => {
            InversePart::Scale { scale: vector("with_std", "scale_")?, center: vector("with_mean", "mean_")? }
        }
        "RobustScaler" => InversePart::Scale {
            scale: vector("with_scaling", "scale_")?,
            center: vector("with_centering", "center_")?,
        },
        "MaxAbsScaler" => InversePart::Scale { scale: Some(view.attr("scale_")?.vector(outputs)?), center: None },
        "MinMaxScaler" => InversePart::MinMax {
            scale: view.attr("scale_")?.vector(outputs)?,
            min: view.attr("min_")?.vector(outputs)?,
        },
        "PowerTransformer" => InversePart::Power(values::power(view, outputs)?),
        "QuantileTransformer" => InversePart::Quantiles(values::quantiles(view, outputs)?),
        _ => return Err(view.fault(format!("{} is not supported as a transform of the target", view.described()))),
    }))
}

/// DummyRegressor.
pub(super) fn dummy_regressor(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let outputs = view.attr("constant_")?.finite()?;
    if outputs.is_empty() {
        return Err(view.fault("has no constant"));
    }
    let transform = super::numbers(outputs.len());
    Ok(Estimator { head: Head::Learner(Arc::new(Constant { width, outputs })), transform, takes_missing: true })
}

/// DummyClassifier with a constant answer.
pub(super) fn dummy_classifier(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let strategy = view.opt("_strategy").map_or_else(|| view.attr("strategy"), Ok)?;
    let priors = view.attr("class_prior_")?.vector(labels.len())?;
    let best = crate::output_transform::argmax(&priors) as usize;
    let one_hot = |at: usize| (0..labels.len()).map(|i| f64::from(u8::from(i == at))).collect::<Vec<f64>>();
    let probabilities = match strategy.word()? {
        "prior" => priors,
        "most_frequent" => one_hot(best),
        "constant" => {
            let wanted = view.attr("constant")?.label()?;
            let at = labels.iter().position(|l| l.to_string() == wanted);
            one_hot(at.ok_or_else(|| view.fault("answers none of its classes"))?)
        }
        other => return Err(strategy.fault(format!("{other:?} draws random answers"))),
    };
    let transform = OutputTransform::Classes { labels, link: Link::Probabilities };
    let head = Head::Learner(Arc::new(Constant { width, outputs: probabilities }));
    Ok(Estimator { head, transform, takes_missing: true })
}
