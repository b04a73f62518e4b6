//! Reads transformers that change each column by itself: functions, bins, powers, quantiles, splines.

use std::sync::Arc;

use crate::Fault;
use crate::mlmodel::MAX_WIDTH;
use crate::python::View;
use crate::step::{Bins, Curve, EachValue, Extrapolation, Function, Missing, Power, Quantiles, Rule, Splines, Step};

/// A FunctionTransformer; `None` for one without a function, which passes its input through.
pub(super) fn function(view: &View<'_>, width: usize) -> Result<Option<Step>, Fault> {
    let Some(func) = view.opt("func") else { return Ok(None) };
    let arguments = view.opt("kw_args");
    let argument = |name: &str| arguments.as_ref().and_then(|a| a.opt(name));
    let count = arguments.as_ref().map_or(0, View::entry_count);
    let path = func.class();
    if count == 0 && keeps_values(path, width) {
        return Ok(None);
    }
    let bound =
        |names: [&str; 2], otherwise: f64| names.iter().find_map(|n| argument(n)).map_or(Ok(otherwise), |v| v.number());
    let refused = || func.fault(format!("FunctionTransformer runs {}; no code is run here", func.kind()));
    let rule = if path == "numpy.clip" {
        Rule::Clip(bound(["a_min", "min"], f64::NEG_INFINITY)?, bound(["a_max", "max"], f64::INFINITY)?)
    } else if count == 0 {
        Rule::Function(Function::named(path).ok_or_else(refused)?)
    } else {
        return Err(func.fault(format!("FunctionTransformer runs {} with arguments", func.kind())));
    };
    let fills = matches!(path, "numpy.nan_to_num" | "numpy.isnan" | "numpy.isfinite" | "numpy.isinf");
    let missing = match view.opt("validate").map(|v| v.flag()).transpose()? {
        Some(true) => Missing::Refused,
        _ if fills => Missing::Gone,
        _ => Missing::Pass,
    };
    Ok(Some(Step::Other(Arc::new(EachValue { rule, width, missing }))))
}

/// Whether a function changes at most the shape or the container of its input, in a way that a row does not show.
fn keeps_values(path: &str, width: usize) -> bool {
    match path {
        "numpy.asarray" | "numpy.array" | "numpy.asanyarray" | "numpy.ascontiguousarray" | "numpy.atleast_2d" => true,
        "numpy.squeeze" | "pandas.core.frame.DataFrame" | "pandas.DataFrame" => true,
        // the only column, as the vectorisers of text take it
        "numpy.ravel" => width == 1,
        _ => false,
    }
}

pub(super) fn binarizer(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let rule = Rule::Above(view.attr("threshold")?.number()?);
    Ok(Step::Other(Arc::new(EachValue { rule, width, missing: Missing::Refused })))
}

/// A KBinsDiscretizer.
pub(super) fn bins(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let lists = view.attr("bin_edges_")?.items()?;
    if lists.len() != width {
        return Err(view.fault(format!("bins {} columns, expected {width}", lists.len())));
    }
    let mut edges = Vec::with_capacity(width);
    let mut total = 0;
    for list in &lists {
        let all = list.numbers()?;
        if all.len() < 2 || all.iter().any(|e| e.is_nan()) || all.windows(2).any(|w| w[0] > w[1]) {
            return Err(list.fault("is not an ascending list of edges"));
        }
        total += all.len();
        edges.push(all[1..all.len() - 1].to_vec());
    }
    if total > MAX_WIDTH {
        return Err(view.fault(format!("{total} edges, at most {MAX_WIDTH}")));
    }
    let encode = view.attr("encode")?;
    let sparse = encode.text()? == "onehot";
    let one_hot = match encode.word()? {
        "ordinal" => None,
        "onehot" | "onehot-dense" => Some(edges.iter().map(|e| e.len() + 1).collect()),
        other => return Err(encode.fault(format!("{other:?} is not supported"))),
    };
    Ok(Step::Other(Arc::new(Bins { edges, one_hot, sparse })))
}

/// The fitted PowerTransformer.
pub fn power(view: &View<'_>, width: usize) -> Result<Power, Fault> {
    let method = view.attr("method")?;
    let box_cox = match method.word()? {
        "box-cox" => true,
        "yeo-johnson" => false,
        other => return Err(method.fault(format!("{other:?} is not supported"))),
    };
    let lambdas = view.attr("lambdas_")?.vector(width)?;
    let standard = if view.attr("standardize")?.flag()? {
        let scaler = view.attr("_scaler")?;
        Some((scaler.attr("mean_")?.vector(width)?, scaler.attr("scale_")?.vector(width)?))
    } else {
        None
    };
    Ok(Power { lambdas, box_cox, standard })
}

/// The fitted QuantileTransformer.
pub fn quantiles(view: &View<'_>, width: usize) -> Result<Quantiles, Fault> {
    let references = view.attr("references_")?.finite()?;
    let count = references.len();
    let table = super::reduce::matrix(&view.attr("quantiles_")?, Some(count), Some(width))?;
    view.allocate(size_of_val(table.as_slice()))?;
    let columns: Vec<Vec<f64>> = (0..width).map(|c| (0..count).map(|r| table[r * width + c]).collect()).collect();
    let ascends = |v: &Vec<f64>| v.windows(2).all(|w| w[0] <= w[1]);
    if count == 0 || !columns.iter().all(ascends) || !ascends(&references) {
        return Err(view.fault("quantiles do not ascend"));
    }
    let distribution = view.attr("output_distribution")?;
    let normal = match distribution.word()? {
        "normal" => true,
        "uniform" => false,
        other => return Err(distribution.fault(format!("{other:?} is not supported"))),
    };
    Ok(Quantiles { columns, references, normal })
}

/// A SplineTransformer.
pub(super) fn splines(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let extrapolation = view.attr("extrapolation")?;
    let beyond = match extrapolation.word()? {
        "error" => Extrapolation::Refuse,
        "constant" => Extrapolation::Constant,
        "linear" => Extrapolation::Linear,
        "continue" => Extrapolation::Continue,
        "periodic" => Extrapolation::Periodic,
        other => return Err(extrapolation.fault(format!("{other:?} is not supported"))),
    };
    let bias = view.attr("include_bias")?.flag()?;
    let curves: Vec<Curve> = view.attr("bsplines_")?.items()?.iter().map(curve).collect::<Result<_, _>>()?;
    if curves.len() != width || curves.iter().any(|c| c.outputs < 2 && !bias) {
        return Err(view.fault(format!("splines of {} columns, expected {width}", curves.len())));
    }
    let sparse = view.opt("sparse_output").is_some_and(|s| s.flag() == Ok(true));
    Ok(Step::Other(Arc::new(Splines { curves, beyond, bias, sparse })))
}

fn curve(view: &View<'_>) -> Result<Curve, Fault> {
    // attributes were renamed in SciPy 1.16
    let either = |new: &str, old: &str| view.opt(new).map_or_else(|| view.attr(old), Ok);
    let knots = either("_t", "t")?.finite()?;
    let degree = view.attr("k")?.count(32)?;
    if knots.len() < 2 * degree + 2 || knots.windows(2).any(|w| w[0] > w[1]) {
        return Err(view.fault(format!("{} knots for degree {degree}", knots.len())));
    }
    let bases = knots.len() - degree - 1;
    let (coefficients, [rows, outputs]) = either("_c", "c")?.matrix()?;
    if rows < bases || outputs == 0 || outputs > MAX_WIDTH || coefficients.iter().any(|c| !c.is_finite()) {
        return Err(view.fault(format!("coefficients have shape [{rows}, {outputs}] for {bases} bases")));
    }
    Ok(Curve { degree, knots, coefficients, outputs })
}
