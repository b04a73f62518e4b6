//! LightGBM's linear trees: a leaf is a linear function of some of the features.

use crate::forest::Forest;

/// The linear function of a leaf, and its value for rows that lack one of its features.
#[derive(Debug)]
pub(super) struct LinearLeaf {
    pub constant: f64,
    pub fallback: f64,
    /// Feature and coefficient.
    pub terms: Vec<(u32, f64)>,
}

/// Trees whose leaf values are numbers of leaves.
#[derive(Debug)]
pub(super) struct LinearLeaves {
    pub forest: Forest,
    pub leaves: Vec<LinearLeaf>,
    /// What sums are divided by, if they are means.
    pub count: Option<f64>,
}

impl LinearLeaves {
    /// Sums the leaves of rows.
    pub(super) fn sum(&self, rows: &[f64], sums: &mut [f64]) {
        let outputs = self.forest.outputs();
        self.forest.visit(rows, sums, |sums, row, tree, ordinal| {
            let leaf = &self.leaves[self.forest.leaf(ordinal)[0] as usize];
            sums[tree % outputs] += leaf.value(row);
        });
        if let Some(count) = self.count {
            sums.iter_mut().for_each(|s| *s /= count);
        }
    }

    pub(super) fn name(&self) -> String {
        format!("linear {}", self.forest.name())
    }
}

impl LinearLeaf {
    fn value(&self, row: &[f64]) -> f64 {
        let mut value = self.constant;
        for (feature, coefficient) in &self.terms {
            let x = row[*feature as usize];
            if x.is_nan() {
                return self.fallback;
            }
            value += coefficient * x;
        }
        value
    }
}
