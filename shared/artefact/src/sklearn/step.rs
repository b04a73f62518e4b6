//! Compiles transformers to steps.

use super::encode;
use crate::Fault;
use crate::python::View;
use crate::step::{Columns, Impute, Norm, Part, Polynomial, Step};

/// Compiles the transformer at `view`, which has `width` input values; returns the number of its output values.
///
/// # Errors
/// A [`Fault`] that names an unsupported class, or the problem in a supported one.
pub fn compile(view: &View<'_>, width: usize, steps: &mut Vec<Step>) -> Result<usize, Fault> {
    let class = view.class();
    let name = class.strip_prefix("sklearn.").and_then(|c| c.rsplit('.').next()).unwrap_or("");
    let step = match name {
        "StandardScaler" => scaler(view, width, ("with_mean", "mean_"), ("with_std", "scale_"))?,
        "RobustScaler" => scaler(view, width, ("with_centering", "center_"), ("with_scaling", "scale_"))?,
        "MaxAbsScaler" => {
            let scale = Some(view.attr("scale_")?.vector(width)?);
            Step::Scale { center: None, scale, clip: clips(view)?.then_some((-1.0, 1.0)) }
        }
        "MinMaxScaler" => min_max(view, width)?,
        "Normalizer" => normalizer(view)?,
        "PolynomialFeatures" => polynomial(view, width)?,
        "SimpleImputer" => imputer(view, width)?,
        "OneHotEncoder" => encode::one_hot(view, width)?,
        "OrdinalEncoder" => encode::ordinal(view, width)?,
        "ColumnTransformer" => columns(view, width, None)?,
        // how scikit-learn stores passthrough
        "FunctionTransformer" => {
            return match view.opt("func") {
                None => Ok(width),
                Some(func) => Err(view.fault(format!("FunctionTransformer runs {}; no code is run here", func.kind()))),
            };
        }
        _ => return Err(view.fault(format!("{} is not supported as a step", view.kind()))),
    };
    let after = step.output_width(width);
    steps.push(step);
    Ok(after)
}

fn scaler(view: &View<'_>, width: usize, center: (&str, &str), scale: (&str, &str)) -> Result<Step, Fault> {
    let read = |(switch, name): (&str, &str)| -> Result<Option<Vec<f64>>, Fault> {
        if !view.attr(switch)?.flag()? {
            return Ok(None);
        }
        view.opt(name).map(|v| v.vector(width)).transpose()
    };
    Ok(Step::Scale { center: read(center)?, scale: read(scale)?, clip: None })
}

fn clips(view: &View<'_>) -> Result<bool, Fault> {
    Ok(view.opt("clip").map(|c| c.flag()).transpose()?.unwrap_or(false))
}

fn min_max(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let clip = if clips(view)? {
        let range = view.attr("feature_range")?.vector(2)?;
        Some((range[0], range[1]))
    } else {
        None
    };
    Ok(Step::MinMax { scale: view.attr("scale_")?.vector(width)?, min: view.attr("min_")?.vector(width)?, clip })
}

fn normalizer(view: &View<'_>) -> Result<Step, Fault> {
    let norm = view.attr("norm")?;
    Ok(Step::Normalize(match norm.text()? {
        "l1" => Norm::L1,
        "l2" => Norm::L2,
        "max" => Norm::Max,
        other => return Err(norm.fault(format!("norm {other:?} is not supported"))),
    }))
}

fn polynomial(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let degree = view.attr("degree")?;
    let (min, max) = match degree.items() {
        Ok(range) if range.len() == 2 => (range[0].count(32)?, range[1].count(32)?),
        _ => (0, degree.count(32)?),
    };
    let distinct = view.attr("interaction_only")?.flag()?;
    let bias = view.attr("include_bias")?.flag()?;
    Polynomial::new(width, min, max, distinct, bias).map(Step::Polynomial).map_err(|e| view.fault(e))
}

fn imputer(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    // absent or None would mean a marker that this reader does not support
    let missing = view.attr("missing_values")?.number()?;
    let statistics = view.attr("statistics_")?;
    let fill = statistics.numbers()?;
    if fill.len() != width {
        return Err(statistics.fault(format!("has {} values, expected {width}", fill.len())));
    }
    let keep_empty = view.opt("keep_empty_features").map(|k| k.flag()).transpose()?.unwrap_or(false);
    let kept: Vec<(usize, f64)> = fill.into_iter().enumerate().filter(|(_, f)| keep_empty || !f.is_nan()).collect();
    if let Some((column, value)) = kept.iter().find(|(_, f)| !f.is_finite()) {
        return Err(statistics.fault(format!("value {column} is {value}, not finite")));
    }
    if kept.is_empty() {
        return Err(statistics.fault("leaves no column"));
    }
    let indicator = match view.opt("indicator_") {
        Some(indicator) => {
            let columns = indicator.attr("features_")?;
            columns.numbers()?.iter().map(|c| column(&columns, *c, width)).collect::<Result<_, _>>()?
        }
        None => Vec::new(),
    };
    Ok(Step::Impute(Impute { missing: (!missing.is_nan()).then_some(missing), kept, indicator }))
}

/// Reads a ColumnTransformer; the part called `unchanged` passes its columns through, whatever its transformer is.
pub fn columns(view: &View<'_>, width: usize, unchanged: Option<&str>) -> Result<Step, Fault> {
    let indices = view.attr("_transformer_to_input_indices")?;
    let mut parts = Vec::new();
    for entry in view.attr("transformers_")?.items()? {
        let entry_items = entry.items()?;
        let [name, transformer, ..] = entry_items.as_slice() else {
            return Err(entry.fault("is not a (name, transformer, columns) triple"));
        };
        if transformer.text() == Ok("drop") {
            continue;
        }
        let name = name.text()?;
        let taken = indices.attr(name)?;
        let columns: Vec<usize> =
            taken.numbers()?.iter().map(|c| column(&taken, *c, width)).collect::<Result<_, _>>()?;
        if columns.is_empty() {
            continue;
        }
        let (mut steps, mut after) = (Vec::new(), columns.len());
        if transformer.text() != Ok("passthrough") && unchanged != Some(name) {
            for stage in super::stages(transformer)? {
                after = compile(&stage, super::stage_width(&stage, Some(after))?, &mut steps)?;
            }
        }
        parts.push(Part { columns, steps, width: after });
    }
    if parts.is_empty() {
        return Err(view.fault("keeps no column"));
    }
    Ok(Step::Columns(Columns { parts }))
}

/// Reads a column index, which must be below `width`.
pub fn column(view: &View<'_>, value: f64, width: usize) -> Result<usize, Fault> {
    if value >= 0.0 && value.fract() == 0.0 && value < width as f64 {
        return Ok(value as usize);
    }
    Err(view.fault(format!("column {value} of {width}")))
}
