//! What a CatBoost file contains, whichever format it has.

use std::collections::HashMap;

use super::classes::Info;

/// What a missing value of a numeric feature is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Above no border.
    Below,
    /// Above every border.
    Above,
}

/// A numeric feature.
#[derive(Debug)]
pub(super) struct FloatFeature {
    /// Its number among the numeric features.
    pub index: i32,
    /// Its column in a row.
    pub column: usize,
    pub name: String,
    pub borders: Vec<f32>,
    pub missing: Missing,
}

/// A category feature.
#[derive(Debug)]
pub(super) struct CatFeature {
    /// Its number among the category features.
    pub index: i32,
    /// Its column in a row.
    pub column: usize,
    pub name: String,
}

/// A category feature whose hash is compared with values.
#[derive(Debug)]
pub(super) struct OneHot {
    /// The number of the category feature.
    pub index: i32,
    pub values: Vec<i32>,
}

/// The kind of a statistic about a combination of categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum CtrKind {
    Borders,
    Buckets,
    BinarizedTargetMean,
    FloatTargetMean,
    Counter,
    FeatureFrequency,
}

impl CtrKind {
    pub(super) const ALL: [(Self, &str); 6] = [
        (Self::Borders, "Borders"),
        (Self::Buckets, "Buckets"),
        (Self::BinarizedTargetMean, "BinarizedTargetMeanValue"),
        (Self::FloatTargetMean, "FloatTargetMeanValue"),
        (Self::Counter, "Counter"),
        (Self::FeatureFrequency, "FeatureFreq"),
    ];
}

/// The features that a statistic combines.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Combination {
    /// Numbers of category features.
    pub cats: Vec<i32>,
    /// Numbers of numeric features, with a border.
    pub floats: Vec<(i32, f32)>,
    /// Numbers of category features, with a value.
    pub one_hots: Vec<(i32, i32)>,
}

/// A statistic that is compared with borders.
#[derive(Debug)]
pub(super) struct CtrFeature {
    pub combination: Combination,
    pub kind: CtrKind,
    /// Names the table that has the counts.
    pub table: String,
    pub target: usize,
    pub prior: (f32, f32),
    pub shift: f32,
    pub scale: f32,
    pub borders: Vec<f32>,
}

/// Counts per combination of categories.
#[derive(Debug, Clone, Default)]
pub(super) struct CtrTable {
    /// From the hash of a combination to its index.
    pub indices: HashMap<u64, u32>,
    pub counts: Counts,
}

#[derive(Debug, Clone)]
pub(super) enum Counts {
    /// This many counts per index, one per class of the target.
    Classes(usize, Vec<i32>),
    /// Sum and number.
    Means(Vec<(f32, i32)>),
    /// A count per index, and what it is divided by.
    Totals(Vec<i32>, i32),
}

impl Default for Counts {
    fn default() -> Self {
        Self::Means(Vec::new())
    }
}

/// The trees.
#[derive(Debug)]
pub(super) enum Trees {
    /// The splits of every tree, one per level, from the bit of lowest value up; leaves in order.
    Symmetric(Vec<Vec<u32>>),
    /// The nodes of all trees, and where each tree begins.
    Any { nodes: Vec<Node>, roots: Vec<u32> },
}

/// A node of a tree that is not symmetric.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub split: u32,
    pub left: Step,
    pub right: Step,
}

/// Where a side of a node leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Node(u32),
    /// The place of the first value of a leaf.
    Leaf(u32),
}

/// Everything that a model needs.
#[derive(Debug)]
pub(super) struct Parts {
    /// The number of values in a leaf.
    pub dimension: usize,
    pub floats: Vec<FloatFeature>,
    pub cats: Vec<CatFeature>,
    pub one_hots: Vec<OneHot>,
    pub ctrs: Vec<CtrFeature>,
    pub tables: HashMap<String, CtrTable>,
    pub trees: Trees,
    pub leaves: Vec<f64>,
    pub scale: f64,
    /// One per value of a leaf.
    pub bias: Vec<f64>,
    pub info: Info,
}
