//! Compiles the tree operators of both generations to forests.

mod flat;
mod merged;

use std::collections::{BTreeMap, HashMap};

use burn::tensor::DType;

use super::compile::{Compiler, Value};
use super::learners::{Sides, class_scores};
use super::nodes::row;
use super::operation::{Arithmetic, Op};
use super::proto::NodeProto;
use super::transform;
use crate::forest::{Aggregate, ForestBuilder, Precision, RawTree};

/// The most targets of a tree operator.
const MAX_TARGETS: usize = 10_000;
/// The most leaf values that all trees together may have.
const MAX_VALUES: usize = 1 << 26;

/// A tree under construction; see [`RawTree`].
#[derive(Debug, Default)]
struct Tree {
    left: Vec<i64>,
    right: Vec<i64>,
    feature: Vec<i64>,
    threshold: Vec<f64>,
    missing_left: Vec<bool>,
    sets: HashMap<usize, Vec<f64>>,
    values: Vec<f64>,
}

/// The trees by id, and the meaning of their leaves.
#[derive(Debug)]
struct Ensemble {
    trees: BTreeMap<i64, Tree>,
    targets: usize,
    /// Whether one of two classes has all the weights and none is negative.
    positive: bool,
}

/// How a split compares.
#[derive(Debug, Clone, PartialEq)]
enum Mode {
    Leq,
    Lt,
    Gte,
    Gt,
    Eq,
    Neq,
    /// Membership in this set.
    Member(Vec<f64>),
}

/// A split as the file has it.
#[derive(Debug, Clone, Copy)]
struct Split {
    feature: i64,
    threshold: f64,
    /// Whether missing values take the true branch.
    missing_true: bool,
    yes: i64,
    no: i64,
}

impl Mode {
    fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "BRANCH_LEQ" => Self::Leq,
            "BRANCH_LT" => Self::Lt,
            "BRANCH_GTE" => Self::Gte,
            "BRANCH_GT" => Self::Gt,
            "BRANCH_EQ" => Self::Eq,
            "BRANCH_NEQ" => Self::Neq,
            other => return Err(format!("mode {other:?} is not supported")),
        })
    }
}

impl Tree {
    /// Adds a split. Every mode becomes `x <= t` or membership in a set: a strict comparison moves the threshold down
    /// by one float, greater-than and not-equal swap the branches. NaN compares false (and is unequal to anything),
    /// unless the split sends missing values to the true branch.
    fn split(&mut self, mode: Mode, split: Split, precision: Precision) {
        let Split { feature, threshold, missing_true, yes, no } = split;
        let below = match precision {
            Precision::Single => f64::from((threshold as f32).next_down()),
            Precision::Double => threshold.next_down(),
        };
        let (threshold, swapped, set) = match mode {
            Mode::Leq => (threshold, false, None),
            Mode::Lt => (below, false, None),
            Mode::Gte => (below, true, None),
            Mode::Gt => (threshold, true, None),
            Mode::Eq => (0.0, false, Some(vec![threshold])),
            Mode::Neq => (0.0, true, Some(vec![threshold])),
            Mode::Member(set) => (0.0, false, Some(set)),
        };
        let unequal = swapped && set.is_some();
        if let Some(set) = set {
            self.sets.insert(self.left.len(), set);
        }
        let (left, right) = if swapped { (no, yes) } else { (yes, no) };
        self.left.push(left);
        self.right.push(right);
        self.feature.push(feature);
        self.threshold.push(threshold);
        self.missing_left.push((missing_true || unequal) != swapped);
    }

    fn leaf(&mut self) {
        self.left.push(-1);
        self.right.push(-1);
        self.feature.push(0);
        self.threshold.push(0.0);
        self.missing_left.push(false);
    }
}

/// Compiles a tree operator.
pub(super) fn compile(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    let precision = if c.dtype == DType::F64 { Precision::Double } else { Precision::Single };
    let classifier = node.op_type == "TreeEnsembleClassifier";
    let aggregate = aggregate(node)?;
    let Ensemble { trees, targets, positive } = match node.op_type.as_str() {
        "TreeEnsemble" => merged::read(node, precision, aggregate.absent())?,
        _ => flat::read(node, classifier, precision, aggregate.absent())?,
    };
    // exporters also write the attribute for learners without a rule, with all zeros
    c.takes_missing |= node.ints("nodes_missing_value_tracks_true").iter().any(|t| *t != 0);
    let mut builder = ForestBuilder::new(width, targets, precision);
    for (id, tree) in &trees {
        let raw = RawTree {
            left: &tree.left,
            right: &tree.right,
            feature: &tree.feature,
            threshold: &tree.threshold,
            missing_left: &tree.missing_left,
            rules: &[],
            sets: Some(&tree.sets),
            values: &tree.values,
        };
        builder.push(&raw, 1.0).map_err(|e| format!("tree {id}: {e}"))?;
    }
    let combine = match aggregate {
        Aggregate::Mean(_) if average(node) => Aggregate::Mean(trees.len() as f64),
        other => other,
    };
    let forest = builder.finish(targets, combine)?;
    let mut out = c.inner(node, Op::Forest(Compiler::share(forest)), slot);
    let base = node.floats_or_tensor("base_values")?;
    if !base.is_empty() {
        if base.len() != targets {
            return Err(format!("{} base values for {targets} targets", base.len()));
        }
        out = c.inner(node, Op::Constant { how: Arithmetic::Add, row: row(c, &base), reversed: false }, out);
    }
    if classifier {
        let sides = if positive { Sides::Complement } else { Sides::Mirror };
        return class_scores(c, node, out, targets, sides);
    }
    let out = transform::scores(c, node, out, targets, &post_transform(node)?)?;
    c.alias(node, 0, Value::Slot { slot: out, width: targets });
    Ok(())
}

/// The name of the aggregate function; the newer operator has a number.
fn aggregate_name(node: &NodeProto) -> String {
    if node.op_type != "TreeEnsemble" {
        return node.string("aggregate_function", "SUM");
    }
    let number = node.int("aggregate_function", 1);
    let name = usize::try_from(number).ok().and_then(|i| ["AVERAGE", "SUM", "MIN", "MAX"].get(i));
    name.map_or_else(|| number.to_string(), |n| (*n).to_owned())
}

fn average(node: &NodeProto) -> bool {
    aggregate_name(node) == "AVERAGE"
}

fn aggregate(node: &NodeProto) -> Result<Aggregate, String> {
    match aggregate_name(node).as_str() {
        "SUM" | "AVERAGE" => Ok(Aggregate::Mean(1.0)),
        "MIN" => Ok(Aggregate::Min),
        "MAX" => Ok(Aggregate::Max),
        other => Err(format!("aggregate_function {other:?} is not supported")),
    }
}

/// The name of the post transform; the newer operator has a number.
fn post_transform(node: &NodeProto) -> Result<String, String> {
    if node.op_type != "TreeEnsemble" {
        return Ok(node.string("post_transform", "NONE"));
    }
    Ok(match node.int("post_transform", 0) {
        0 => "NONE".to_owned(),
        // softmax and logistic in the standard, the other way round in onnxruntime
        number @ 1..=2 => return Err(format!("post_transform {number} is not supported, runtimes differ on it")),
        3 => "SOFTMAX_ZERO".to_owned(),
        4 => "PROBIT".to_owned(),
        other => other.to_string(),
    })
}

fn same_length(name: &str, got: usize, want: usize) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{name} has {got} entries, expected {want}")) }
}

/// Counts the leaf values of one more tree with `nodes` nodes. Returns their number.
fn leaf_values(total: &mut usize, nodes: usize, targets: usize) -> Result<usize, String> {
    let values = nodes.saturating_mul(targets);
    *total = total.saturating_add(values);
    if *total > MAX_VALUES {
        return Err(format!("more than {MAX_VALUES} leaf values"));
    }
    Ok(values)
}
