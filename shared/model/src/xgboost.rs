//! XGBoost models (JSON, UBJSON), computed in f32 as XGBoost does: the base score first, then the leaves tree by tree.

mod binary;
mod categories;
mod importance;
mod linear;
mod notes;
mod objective;
mod trees;

use std::sync::Arc;

use forebay_artefact::Allowance;

pub(crate) use self::importance::importances;
use self::linear::Linear;
use self::notes::{noted_labels, noted_meaning, saved_meaning};
use self::objective::Objective;
use crate::booster::{Booster, Coder, Compiled, Meaning, numbered_classes, numbers};
use crate::document::Value;
use crate::forest::Forest;
use crate::head::Head;
use crate::mlmodel::{MAX_WIDTH, unnamed_features};
use crate::output_transform::{Link, OutputTransform};
use crate::{Fault, Label, Rows};

/// The most outputs of a model.
const MAX_OUTPUTS: usize = 1 << 16;

/// A model: margins, then the link of its objective.
#[derive(Debug)]
struct Xgboost {
    width: usize,
    groups: usize,
    margins: Margins,
    objective: Objective,
    /// Whether each output is answered as the probabilities of two classes, `[1 - p, p]`.
    two_classes: bool,
    /// A value that is missing, besides NaN.
    missing: Option<f32>,
    coder: Option<Coder>,
}

#[derive(Debug)]
enum Margins {
    Trees(Box<Forest<f32>>),
    Linear(Linear),
    /// A model without trees.
    Constant(Vec<f32>),
}

/// Whether a document is a model of XGBoost.
pub(crate) fn owns(document: &Value<'_>) -> bool {
    document.get("learner").is_some()
}

/// Compiles a document. `class` is the Python class that the model was saved from; if it is not known, the attribute
/// that scikit-learn's classes leave in the file decides. An estimator may take `missing` for a missing value besides NaN.
pub(crate) fn compile(
    document: &Value<'_>,
    class: Option<&str>,
    missing: Option<f64>,
    allowance: &Allowance,
) -> Result<Compiled, Fault> {
    let at = |place: &str, reason: String| Fault::new(format!("learner: {place}"), reason);
    let learner = document.need("learner").map_err(|e| Fault::new("", e))?;
    let meaning = class.map_or_else(|| saved_meaning(learner), Meaning::of_class);
    let param = learner.need("learner_model_param").map_err(|e| at("", e))?;
    let shape = Shape::read(param).map_err(|e| at("learner_model_param", e))?;
    let objective = learner.need("objective").map_err(|e| at("", e))?;
    let objective = Objective::read(objective).map_err(|e| at("objective", e))?;
    let start: Vec<f32> = shape.base_score.iter().map(|b| objective.margin(*b)).collect();
    let booster = learner.need("gradient_booster").map_err(|e| at("", e))?;
    let margins = match booster.get("name").map(Value::text) {
        Some(Ok("gblinear")) => Linear::read(booster, shape.width, &start).map(Margins::Linear),
        Some(Ok("gbtree" | "dart")) => {
            let rounds = (meaning != Meaning::Booster).then(|| best_round(learner)).flatten();
            trees::read(booster, shape.width, &start, meaning, rounds, allowance)
        }
        name => Err(format!("{name:?} is not supported")),
    };
    let margins = margins.map_err(|e| at("gradient_booster", e))?;
    let features = features(learner, shape.width).map_err(|e| at("feature_names", e))?;
    let release = document.get("version").map_or(Ok(Vec::new()), Value::numbers).map_err(|e| at("version", e))?;
    let coder = categories::coder(booster, &release, &features, allowance).map_err(|e| at("cats", e))?;
    let model = Xgboost {
        width: shape.width,
        groups: shape.groups,
        margins,
        objective,
        two_classes: false,
        missing: missing.filter(|m| !m.is_nan()).map(|m| m as f32),
        coder,
    };
    let note = learner.path(&["attributes", "scikit_learn"]).and_then(|note| note.text().ok());
    finish(model, &shape, meaning, features, note.and_then(noted_labels)).map_err(|e| at("", e))
}

/// Whether a file has the binary format of XGBoost until 2.0.
pub(crate) fn owns_binary(bytes: &[u8]) -> bool {
    bytes.starts_with(binary::MAGIC) || bytes.starts_with(binary::PICKLED)
}

/// As [`compile`], for the binary format of XGBoost until 2.0.
pub(crate) fn compile_binary(
    bytes: &[u8],
    class: Option<&str>,
    missing: Option<f64>,
    allowance: &Allowance,
) -> Result<Compiled, Fault> {
    of_binary(bytes, class, missing, allowance).map_err(|e| Fault::new("", e))
}

fn of_binary(
    bytes: &[u8],
    class: Option<&str>,
    missing: Option<f64>,
    allowance: &Allowance,
) -> Result<Compiled, String> {
    let model = binary::read(bytes)?;
    let saved = model.attributes.get("scikit_learn").map(|text| noted_meaning(text));
    let meaning = class.map_or(saved.unwrap_or(Meaning::Booster), Meaning::of_class);
    let groups = model.targets.max(model.classes);
    if model.width == 0 || model.width > MAX_WIDTH || groups > MAX_OUTPUTS {
        return Err(format!("takes {} values and gives {groups}", model.width));
    }
    let objective = Objective::of_name(model.objective)?;
    let base = if model.release == 0 { model.base_score } else { objective.margin(model.base_score) };
    if !base.is_finite() {
        return Err(format!("base_score is {}", model.base_score));
    }
    let start = vec![base; groups];
    let best = model.attributes.get("best_iteration").and_then(|best| best.parse::<usize>().ok());
    let rounds = best.filter(|_| meaning != Meaning::Booster).map(|best| best.saturating_add(1));
    let margins = match &model.booster {
        binary::Booster::Linear(weights) => Linear::of(weights.clone(), model.width, &start).map(Margins::Linear)?,
        binary::Booster::Trees { trees, info, parallel, weights } => {
            let used = rounds.map_or(info.len(), |rounds| trees::trees_in(rounds, *parallel, info));
            let tree = |i: usize| Ok(binary::tree(trees[i]));
            let source = trees::Source { info, used, weights: weights.as_deref(), stride: 1, tree: &tree };
            trees::compile(&source, model.width, &start, meaning, allowance)?
        }
    };
    let shape = Shape {
        width: model.width,
        groups,
        targets: model.targets,
        classes: model.classes,
        base_score: vec![model.base_score; groups],
    };
    let compiled = Xgboost {
        width: shape.width,
        groups,
        margins,
        objective,
        two_classes: false,
        missing: missing.filter(|m| !m.is_nan()).map(|m| m as f32),
        coder: None,
    };
    let labels = model.attributes.get("scikit_learn").and_then(|note| noted_labels(note));
    finish(compiled, &shape, meaning, unnamed_features(shape.width), labels)
}

/// The numbers in `learner_model_param`.
struct Shape {
    width: usize,
    groups: usize,
    targets: usize,
    classes: usize,
    /// One per group.
    base_score: Vec<f32>,
}

impl Shape {
    fn read(param: &Value<'_>) -> Result<Self, String> {
        let count = |key: &str, most| param.get(key).map_or(Ok(0), |v| v.count(most).map_err(|e| format!("{key} {e}")));
        let (width, classes) = (count("num_feature", MAX_WIDTH)?, count("num_class", MAX_OUTPUTS)?);
        let targets = count("num_target", MAX_OUTPUTS)?.max(1);
        let groups = targets.max(classes);
        let text = param.need("base_score")?.text()?;
        // one number for all outputs before 3.1
        let numbers = text.trim_start_matches('[').trim_end_matches(']').split(',');
        let mut base_score: Vec<f32> = numbers
            .map(|n| n.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_| format!("base_score is {text:?}"))?;
        if base_score.len() == 1 {
            base_score.resize(groups, base_score[0]);
        }
        if base_score.len() != groups || base_score.iter().any(|b| !b.is_finite()) {
            return Err(format!("base_score is {text:?}, expected {groups} finite numbers"));
        }
        if width == 0 {
            return Err("takes no features".to_owned());
        }
        Ok(Self { width, groups, targets, classes, base_score })
    }
}

/// The names in the file, if it has one per feature.
fn features(learner: &Value<'_>, width: usize) -> Result<Vec<String>, String> {
    match learner.get("feature_names") {
        Some(Value::List(names)) if names.len() == width => {
            names.iter().map(|name| name.text().map(str::to_owned)).collect()
        }
        _ => Ok(unnamed_features(width)),
    }
}

/// The number of rounds up to the best one, where early stopping has noted it.
fn best_round(learner: &Value<'_>) -> Option<usize> {
    let best = learner.path(&["attributes", "best_iteration"])?.count(usize::MAX >> 1).ok()?;
    Some(best + 1)
}

fn finish(
    mut model: Xgboost,
    shape: &Shape,
    meaning: Meaning,
    features: Vec<String>,
    labels: Option<Vec<Label>>,
) -> Result<Compiled, String> {
    let classifies = meaning == Meaning::Classifier;
    if classifies {
        model.objective = model.objective.of_classifier();
        model.two_classes = model.groups == shape.targets;
    }
    let transform = match model.outputs() {
        _ if classifies && shape.targets > 1 => {
            let classes = [Label::Integer(0), Label::Integer(1)];
            OutputTransform::Present(vec![(classes.into(), Link::Probabilities); shape.targets])
        }
        outputs if classifies => {
            let count = outputs.max(shape.classes);
            match labels.filter(|labels| labels.len() == count) {
                Some(labels) => OutputTransform::Classes { labels: labels.into(), link: Link::Probabilities },
                None => numbered_classes(count),
            }
        }
        outputs => numbers(outputs),
    };
    Ok(Compiled { features, head: Head::Booster(Arc::new(model)), transform })
}

impl Booster for Xgboost {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        if self.two_classes { 2 * self.groups } else { self.objective.outputs(self.groups) }
    }

    fn predict(&self, rows: Rows<'_>) -> Vec<f64> {
        let mut replaced = Vec::new();
        let rows = match self.missing {
            Some(missing) => {
                replaced.extend(rows.values().iter().map(|v| if *v as f32 == missing { f64::NAN } else { *v }));
                Rows::new(self.width, &replaced).unwrap_or(rows)
            }
            None => rows,
        };
        let mut margins = vec![0f32; rows.len() * self.groups];
        match &self.margins {
            Margins::Trees(forest) => forest.sum(rows.values(), &mut margins),
            Margins::Linear(linear) => linear.predict(rows, &mut margins),
            Margins::Constant(start) => {
                margins.chunks_exact_mut(self.groups).for_each(|row| row.copy_from_slice(start));
            }
        }
        let values = self.objective.apply(margins, self.groups);
        if self.two_classes {
            return values.iter().flat_map(|p| [f64::from(1.0 - p), f64::from(*p)]).collect();
        }
        values.into_iter().map(f64::from).collect()
    }

    fn coder(&self) -> Option<&Coder> {
        self.coder.as_ref()
    }

    fn tells_absent(&self) -> bool {
        true
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn name(&self) -> String {
        let margins = match &self.margins {
            Margins::Trees(forest) => forest.name(),
            Margins::Linear(linear) => linear.name(),
            Margins::Constant(_) => "no trees".to_owned(),
        };
        format!("XGBoost({}, {margins})", self.objective.name())
    }
}
