//! The importances of features, summed up in f32 in the order in which XGBoost visits the splits.

use crate::document::Value;

/// The importances by `kind`, divided by their sum, as scikit-learn's classes answer them.
pub(crate) fn importances(document: &Value<'_>, kind: &str, width: usize) -> Result<Vec<f64>, String> {
    let booster = document.need("learner")?.need("gradient_booster")?;
    let statistics = match kind {
        "gain" | "total_gain" => Some("loss_changes"),
        "cover" | "total_cover" => Some("sum_hessian"),
        "weight" => None,
        other => return Err(format!("importances by {other:?} are not supported")),
    };
    let model = booster.get("gbtree").unwrap_or(booster).get("model").filter(|model| model.get("trees").is_some());
    let trees = model.ok_or("has no trees, whose importances are supported alone")?.need("trees")?.items()?;
    let (mut sums, mut counts) = (vec![0f32; width], vec![0f32; width]);
    for (i, tree) in trees.iter().enumerate() {
        add(tree, statistics, &mut sums, &mut counts).map_err(|e| format!("tree {i}: {e}"))?;
    }
    match kind {
        "weight" => sums = counts,
        "gain" | "cover" => sums.iter_mut().zip(&counts).for_each(|(sum, count)| *sum /= count.max(1.0)),
        _ => {}
    }
    let total: f32 = sums.iter().sum();
    if total != 0.0 {
        sums.iter_mut().for_each(|sum| *sum /= total);
    }
    match sums.iter().all(|sum| sum.is_finite()) {
        true => Ok(sums.into_iter().map(f64::from).collect()),
        false => Err("importances are not finite".to_owned()),
    }
}

/// Adds the statistics of a tree's splits, from the root down, each right child before its sibling.
fn add(tree: &Value<'_>, statistics: Option<&str>, sums: &mut [f32], counts: &mut [f32]) -> Result<(), String> {
    let children: [Vec<i64>; 2] = [tree.numbers_at("left_children")?, tree.numbers_at("right_children")?];
    let features: Vec<i64> = tree.numbers_at("split_indices")?;
    let values: Vec<f32> = statistics.map_or(Ok(Vec::new()), |key| tree.numbers_at(key))?;
    let nodes = features.len();
    if children.iter().any(|c| c.len() != nodes) || (statistics.is_some() && values.len() != nodes) {
        return Err("node arrays differ in length".to_owned());
    }
    let (mut waiting, mut left) = (vec![0usize], nodes);
    while let Some(node) = waiting.pop() {
        left = left.checked_sub(1).ok_or("has a cycle")?;
        let [first, second] = children.each_ref().map(|c| c.get(node).copied());
        if first.ok_or("child out of range")? < 0 {
            continue;
        }
        let feature = usize::try_from(features[node]).ok().filter(|at| *at < sums.len());
        let feature = feature.ok_or_else(|| format!("feature {} of {}", features[node], sums.len()))?;
        counts[feature] += 1.0;
        sums[feature] += values.get(node).copied().unwrap_or(0.0);
        waiting.extend([first, second].into_iter().flatten().filter_map(|child| usize::try_from(child).ok()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;
    use forebay_artefact::Allowance;

    fn of(left: &str, right: &str, features: &str, kind: &str) -> Result<Vec<f64>, String> {
        let file = format!(
            r#"{{"learner": {{"gradient_booster": {{"model": {{"trees": [{{"left_children": {left},
                "right_children": {right}, "split_indices": {features}, "loss_changes": [3, 1, 0, 0, 0]}}]}}}}}}}}"#
        );
        importances(&document::read(file.as_bytes(), &Allowance::default())?, kind, 2)
    }

    #[test]
    fn importances_are_shares() {
        let (left, right) = ("[1, 3, -1, -1, -1]", "[2, 4, -1, -1, -1]");
        assert_eq!(of(left, right, "[0, 1, 0, 0, 0]", "gain"), Ok(vec![0.75, 0.25]));
        assert_eq!(of(left, right, "[1, 1, 0, 0, 0]", "gain"), Ok(vec![0.0, 1.0]));
        assert_eq!(of(left, right, "[0, 1, 0, 0, 0]", "weight"), Ok(vec![0.5, 0.5]));
    }

    #[test]
    fn trees_that_lead_nowhere() {
        let wrong = |left, right, features| of(left, right, features, "gain").unwrap_err();
        assert!(wrong("[0, 3, -1, -1, -1]", "[2, 4, -1, -1, -1]", "[0, 1, 0, 0, 0]").contains("has a cycle"));
        assert!(wrong("[9, 3, -1, -1, -1]", "[2, 9, -1, -1, -1]", "[0, 1, 0, 0, 0]").contains("out of range"));
        assert!(wrong("[1, 3, -1, -1, -1]", "[2, 4, -1, -1, -1]", "[2, 1, 0, 0, 0]").contains("feature 2 of 2"));
        assert!(wrong("[1]", "[2, 4]", "[2]").contains("differ in length"));
    }
}
