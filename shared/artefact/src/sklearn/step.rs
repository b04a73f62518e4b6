//! Compiles transformers to steps.

use std::sync::Arc;

use super::{encode, features, impute, reduce, select, topics, values, vectorize};
use crate::Fault;
use crate::python::View;
use crate::step::{Columns, Norm, Part, Polynomial, Step};

/// Bytes that are accounted for a column of what parts give together.
const COLUMN_BYTES: usize = 4;

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
        "SimpleImputer" => impute::simple(view, width)?,
        "MissingIndicator" => impute::indicator(view, width)?,
        "KNNImputer" => impute::nearest(view, width)?,
        "IterativeImputer" => impute::iterative(view, width)?,
        "Binarizer" => values::binarizer(view, width)?,
        "KBinsDiscretizer" => values::bins(view, width)?,
        "PowerTransformer" => Step::Other(Arc::new(values::power(view, width)?)),
        "QuantileTransformer" => Step::Other(Arc::new(values::quantiles(view, width)?)),
        "SplineTransformer" => values::splines(view, width)?,
        name if select::CLASSES.contains(&name) => select::select(view, name, width)?,
        "LatentDirichletAllocation" => topics::topics(view, width)?,
        "NMF" | "MiniBatchNMF" => topics::factors(view, name, width)?,
        "SkewedChi2Sampler" => features::skewed_chi2(view, width)?,
        "PolynomialCountSketch" => features::sketch(view, width)?,
        "FeatureAgglomeration" => features::pool(view, width)?,
        name if reduce::CLASSES.contains(&name) => reduce::reduce(view, name, width)?,
        "FeatureUnion" => union(view, width)?,
        "CountVectorizer" | "TfidfVectorizer" | "HashingVectorizer" => vectorize::vectorizer(view, name)?,
        "TfidfTransformer" => vectorize::tfidf(view, width)?,
        "OneHotEncoder" => encode::one_hot(view, width)?,
        "OrdinalEncoder" => encode::ordinal(view, width)?,
        "TargetEncoder" => encode::target(view, width)?,
        "ColumnTransformer" => columns(view, width, None)?,
        // how scikit-learn stores passthrough
        "FunctionTransformer" => match values::function(view, width)? {
            Some(step) => step,
            None => return Ok(width),
        },
        name => return Err(unsupported(view, name)),
    };
    let after = step.output_width(width);
    // an encoder that knows missing values sees those that the imputer before it leaves
    if let (Step::Other(encoder), Some(Step::Other(imputer))) = (&step, steps.last_mut()) {
        let known = encoder.knows_missing();
        if let Some(keeping) = known.contains(&true).then(|| imputer.keeping_none(&known)).flatten() {
            *imputer = keeping;
        }
    }
    steps.push(step);
    Ok(after)
}

/// Why a class is no step here, where there is more to say than that it is not supported.
fn unsupported(view: &View<'_>, name: &str) -> Fault {
    let reason = match name {
        "DictVectorizer" => "takes rows of dicts, which no row of columns is; encode the columns instead",
        "FeatureHasher" => "takes rows of dicts, pairs or lists of texts, which no row of columns is",
        "AdditiveChi2Sampler" => "is not supported: it cuts its features off to integers for columns of integers",
        "LabelEncoder" | "LabelBinarizer" | "MultiLabelBinarizer" => "encodes targets and is not supported as a step",
        _ => "is not supported as a step",
    };
    view.fault(format!("{} {reason}", view.described()))
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
    Ok(Step::Normalize(match norm.word()? {
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
    let products = Polynomial::new(width, min, max, distinct, bias).map_err(|e| view.fault(e))?;
    view.allocate(products.bytes())?;
    Ok(Step::Polynomial(products))
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
        let places = taken.numbers()?;
        spend_part(&entry, places.len())?;
        let columns: Vec<usize> = places.iter().map(|c| column(&taken, *c, width)).collect::<Result<_, _>>()?;
        if columns.is_empty() {
            continue;
        }
        let unchanged = transformer.text() == Ok("passthrough") || unchanged == Some(name);
        parts.push(part(columns, (!unchanged).then_some(transformer), weight(view, name)?)?);
    }
    joined(view, parts, view.opt("sparse_output_").map(|s| s.flag()).transpose()?)
}

/// Some columns and the transformer of them; without one they pass through.
fn part(columns: Vec<usize>, transformer: Option<&View<'_>>, weight: Option<f64>) -> Result<Part, Fault> {
    let (mut steps, mut width) = (Vec::new(), columns.len());
    let stages = transformer.map(super::stages).transpose()?.unwrap_or_default();
    for stage in &stages {
        width = compile(stage, super::stage_width(stage, Some(width))?, &mut steps)?;
    }
    Ok(Part { columns, steps, width, weight })
}

/// Accounts for a part of `columns` columns: files may name one transformer many times.
fn spend_part(view: &View<'_>, columns: usize) -> Result<(), Fault> {
    view.allocate(size_of::<Part>() + size_of::<Step>() + columns.saturating_mul(size_of::<usize>()))
}

/// Parts side by side. Accounts for the columns that they give together, as what is known of each is kept as well.
fn joined(view: &View<'_>, parts: Vec<Part>, sparse: Option<bool>) -> Result<Step, Fault> {
    if parts.is_empty() {
        return Err(view.fault("keeps no column"));
    }
    let width = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.width));
    view.allocate(width.saturating_mul(COLUMN_BYTES))?;
    Ok(Step::Columns(Columns { parts, sparse }))
}

/// What the output of the transformer called `name` is multiplied by.
fn weight(view: &View<'_>, name: &str) -> Result<Option<f64>, Fault> {
    view.opt("transformer_weights").and_then(|weights| weights.opt(name)).map(|w| w.number()).transpose()
}

/// Reads a FeatureUnion: every transformer takes all columns.
fn union(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let mut parts = Vec::new();
    for entry in view.attr("transformer_list")?.items()? {
        let items = entry.items()?;
        let [name, transformer] = items.as_slice() else {
            return Err(entry.fault("is not a (name, transformer) pair"));
        };
        if transformer.is_none() || transformer.text() == Ok("drop") {
            continue;
        }
        spend_part(&entry, width)?;
        let passes = transformer.text() == Ok("passthrough");
        parts.push(part((0..width).collect(), (!passes).then_some(transformer), weight(view, name.text()?)?)?);
    }
    joined(view, parts, None)
}

/// Reads a column index, which must be below `width`.
pub fn column(view: &View<'_>, value: f64, width: usize) -> Result<usize, Fault> {
    index(value, width).map_err(|e| view.fault(e))
}

/// The index of a column, which must be below `width`.
pub(super) fn index(value: f64, width: usize) -> Result<usize, String> {
    if value >= 0.0 && value.fract() == 0.0 && value < width as f64 {
        return Ok(value as usize);
    }
    Err(format!("column {value} of {width}"))
}
