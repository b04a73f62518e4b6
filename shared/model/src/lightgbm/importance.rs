//! The importances of features.

use forebay_artefact::Allowance;

use super::text;
use crate::Fault;

/// The importances by `kind` in the first `rounds` rounds or all, as LightGBM answers them.
pub(crate) fn importances(
    bytes: &[u8],
    kind: &str,
    rounds: Option<usize>,
    allowance: &Allowance,
) -> Result<Vec<f64>, Fault> {
    let by_gain = match kind {
        "split" => false,
        "gain" => true,
        other => return Err(Fault::new("", format!("importances by {other:?} are not supported"))),
    };
    let text = std::str::from_utf8(bytes).map_err(|e| Fault::new("", e.to_string()))?;
    let (header, blocks) = text::read(text, allowance)?;
    let used = rounds.map_or(blocks.len(), |rounds| rounds.saturating_mul(header.trees_per_iteration));
    let mut sums = vec![0.0; header.width];
    for (i, block) in blocks.iter().take(used).enumerate() {
        let within = |e: String| Fault::new(format!("tree {i}"), e);
        let splits = block.count("num_leaves", text.len()).map_err(within)?.saturating_sub(1);
        if splits == 0 {
            continue;
        }
        let features: Vec<usize> = block.numbers("split_feature", splits).map_err(within)?;
        let gains: Vec<f64> = block.numbers("split_gain", splits).map_err(within)?;
        // a split that gains nothing does not count
        for (feature, gain) in features.into_iter().zip(gains).filter(|(_, gain)| *gain > 0.0 && gain.is_finite()) {
            let width = header.width;
            let sum = sums.get_mut(feature).ok_or_else(|| within(format!("feature {feature} of {width}")))?;
            *sum += if by_gain { gain } else { 1.0 };
        }
    }
    Ok(sums)
}
