//! The estimators of XGBoost, LightGBM and CatBoost in pickles and skops: the booster's own file lies in their state.

use forebay_artefact::sklearn::Importances;

use super::Estimator;
use crate::artefact::View;
use crate::booster::{Compiled, Meaning};
use crate::output_transform::OutputTransform;
use crate::{Fault, catboost, document, lightgbm, xgboost};

/// Compiles the estimator at `view`; `None` if it is not one of these.
///
/// # Errors
/// A [`Fault`] in the estimator or in its booster.
pub(super) fn read(view: &View<'_>) -> Result<Option<Compiled>, Fault> {
    let class = view.class();
    let compiled = match class.split('.').next() {
        Some("xgboost") => of_xgboost(view, class)?,
        Some("lightgbm") => of_lightgbm(view, class)?,
        Some("catboost") => catboost::compile(view.attr("__model")?.bytes()?, Some(class), view.allowance()),
        _ => return Ok(None),
    };
    compiled.map(Some).map_err(|fault| view.fault(fault.to_string()))
}

/// As [`read`], for an estimator that takes `width` values.
pub(super) fn estimator(view: &View<'_>, width: usize) -> Result<Option<Estimator>, Fault> {
    let Some(Compiled { head, transform, .. }) = read(view)? else { return Ok(None) };
    if head.width() != width {
        return Err(view.fault(format!("takes {} values, expected {width}", head.width())));
    }
    Ok(Some(Estimator { head, transform, takes_missing: true }))
}

type Read = Result<Result<Compiled, Fault>, Fault>;

fn of_xgboost(view: &View<'_>, class: &str) -> Read {
    let booster = if class == "xgboost.core.Booster" { view.clone() } else { view.attr("_Booster")? };
    let bytes = booster.attr("handle")?.bytes()?;
    let missing = view.opt("missing").map(|m| m.number()).transpose()?;
    let read = || {
        if xgboost::owns_binary(bytes) {
            return xgboost::compile_binary(bytes, Some(class), missing, view.allowance());
        }
        let (document, taken) = view.allowance().measured(|| document::read(bytes, view.allowance()));
        let document = document.map_err(|e| Fault::new("", e))?;
        // a pickled booster has its configuration beside the model
        let model = document.get("Model").unwrap_or(&document);
        let compiled = xgboost::compile(model, Some(class), missing, view.allowance())?;
        drop(document);
        view.allowance().give_back(taken);
        Ok(compiled)
    };
    Ok(read())
}

/// The text of a LightGBM booster, and the rounds that are used if training stopped early.
fn lightgbm_text<'g>(view: &View<'g>, class: &str) -> Result<(&'g [u8], Option<usize>), Fault> {
    let booster = if class == "lightgbm.basic.Booster" { view.clone() } else { view.attr("_Booster")? };
    let text = match booster.opt("_handle") {
        Some(text) => text,
        None => booster.attr("handle")?,
    };
    // 0 or -1 if training did not stop early
    let best = booster.opt("best_iteration").map_or(Ok(0.0), |best| best.number())?;
    let rounds = (best >= 1.0 && best.is_finite()).then_some(best as usize);
    Ok((text.text()?.as_bytes(), rounds))
}

/// The `feature_importances_` of an estimator with `width` columns; `None` if it is of another library.
///
/// # Errors
/// A [`Fault`] in the estimator or in its booster, or for one without importances.
pub(super) fn importances(view: &View<'_>, width: usize) -> Result<Option<Importances>, Fault> {
    view.spend_plan()?;
    let class = view.class();
    let kind = view.opt("importance_type");
    let kind = kind.as_ref().map(|kind| kind.text()).transpose()?;
    let (values, single) = match class.split('.').next() {
        Some("xgboost") => {
            let bytes = view.attr("_Booster")?.attr("handle")?.bytes()?;
            if xgboost::owns_binary(bytes) {
                return Err(view.fault("importances of the binary format are not supported"));
            }
            let document = document::read(bytes, view.allowance()).map_err(|e| view.fault(e))?;
            let model = document.get("Model").unwrap_or(&document);
            (xgboost::importances(model, kind.unwrap_or("gain"), width).map_err(|e| view.fault(e))?, true)
        }
        Some("lightgbm") => {
            let (text, rounds) = lightgbm_text(view, class)?;
            let read = lightgbm::importances(text, kind.unwrap_or("split"), rounds, view.allowance());
            (read.map_err(|fault| view.fault(fault.to_string()))?, false)
        }
        // computed by its fit
        Some("catboost") => (view.attr("_prediction_values_change")?.finite()?, false),
        _ => return Ok(None),
    };
    if values.len() != width {
        return Err(view.fault(format!("has {} importances of {width} columns", values.len())));
    }
    Ok(Some(Importances { values, single }))
}

fn of_lightgbm(view: &View<'_>, class: &str) -> Read {
    let (text, rounds) = lightgbm_text(view, class)?;
    let mut read = lightgbm::compile_text(text, Meaning::of_class(class), rounds, view.allowance());
    if let Ok(Compiled { transform: OutputTransform::Classes { labels, .. }, .. }) = &mut read {
        let encoder = view.opt("_le").and_then(|encoder| encoder.opt("classes_")).or_else(|| view.opt("_classes"));
        if let Some(classes) = encoder {
            let own = classes.labels()?;
            if own.len() != labels.len() {
                return Err(classes.fault(format!("{} labels for {} classes", own.len(), labels.len())));
            }
            *labels = own.into();
        }
    }
    Ok(read)
}
