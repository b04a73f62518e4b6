//! CatBoost's JSON format.

use std::collections::HashMap;

use forebay_artefact::Allowance;

use super::classes::Info;
use super::parts::{
    CatFeature, Combination, Counts, CtrFeature, CtrKind, CtrTable, FloatFeature, Missing, Node, OneHot, Parts, Step,
    Trees,
};
use crate::document::{self, Value};

/// Bytes of an entry of a hash table of `u64` and `u32`, at its lowest load.
const ENTRY_BYTES: usize = 40;

/// Reads a document.
pub(super) fn read(document: &Value<'_>, allowance: &Allowance) -> Result<Parts, String> {
    let info = document.need("features_info")?;
    for kind in ["text_features", "embedding_features"] {
        if let Some(Value::List(features)) = info.get(kind)
            && let Some(feature) = features.first()
        {
            let name = feature.get("feature_id").and_then(|id| id.text().ok()).unwrap_or_default();
            return Err(format!("features of text and embeddings are not supported: {name:?}"));
        }
    }
    let list = |key: &str| info.get(key).map_or(Ok([].as_slice()), |v| v.items().map_err(|e| format!("{key} {e}")));
    let floats = list("float_features")?.iter().map(float_feature).collect::<Result<_, _>>()?;
    let (mut cats, mut one_hots) = (Vec::new(), Vec::new());
    for feature in list("categorical_features")? {
        let index = feature.need("feature_index")?.number::<i64>()? as i32;
        cats.push(CatFeature { index, column: column(feature)?, name: name(feature) });
        if let Some(values) = feature.get("values") {
            let values = values.numbers::<i64>()?.iter().map(|v| *v as i32).collect();
            one_hots.push(OneHot { index, values });
        }
    }
    let ctrs = list("ctrs")?.iter().map(ctr_feature).collect::<Result<_, _>>()?;
    let mut tables = HashMap::new();
    if let Some(Value::Map(pairs)) = document.get("ctr_data") {
        for (name, table) in pairs {
            tables.insert(
                name.clone().into_owned(),
                ctr_table(name, table, allowance).map_err(|e| format!("ctr_data: {e}"))?,
            );
        }
    }
    let mut leaves = Vec::new();
    let (trees, dimension) = match document.get("oblivious_trees") {
        Some(trees) => symmetric(trees.items()?, &mut leaves)?,
        None => any(document.need("trees")?.items()?, &mut leaves)?,
    };
    let (scale, bias) = scale_and_bias(document, dimension)?;
    let info = |key: &str| document.path(&["model_info", key]);
    let threshold = info("binclass_probability_threshold").map(Value::number).transpose()?;
    let info = Info::read(info("params"), info("class_params").or_else(|| info("multiclass_params")), threshold)?;
    Ok(Parts { dimension, floats, cats, one_hots, ctrs, tables, trees, leaves, scale, bias, info })
}

fn column(feature: &Value<'_>) -> Result<usize, String> {
    feature.need("flat_feature_index")?.count(usize::MAX >> 1).map_err(|e| format!("flat_feature_index {e}"))
}

fn name(feature: &Value<'_>) -> String {
    let name = feature.get("feature_id").or_else(|| feature.get("feature_name"));
    name.and_then(|n| n.text().ok()).unwrap_or_default().to_owned()
}

fn float_feature(feature: &Value<'_>) -> Result<FloatFeature, String> {
    let treatment = feature.get("nan_value_treatment").and_then(|t| t.text().ok());
    let nans = matches!(feature.get("has_nans"), Some(Value::Bool(true)));
    Ok(FloatFeature {
        index: feature.need("feature_index")?.number::<i64>()? as i32,
        column: column(feature)?,
        name: name(feature),
        borders: feature.get("borders").map_or(Ok(Vec::new()), Value::numbers)?,
        missing: if nans && treatment == Some("AsTrue") { Missing::Above } else { Missing::Below },
    })
}

fn ctr_feature(feature: &Value<'_>) -> Result<CtrFeature, String> {
    let number = |key: &str| feature.need(key)?.number::<f32>().map_err(|e| format!("{key} {e}"));
    Ok(CtrFeature {
        combination: combination(feature.need("elements")?)?,
        kind: kind(feature.need("ctr_type")?.text()?)?,
        table: feature.need("identifier")?.text()?.to_owned(),
        target: feature.get("target_border_idx").map_or(Ok(0), |t| t.count(usize::MAX >> 1))?,
        prior: (number("prior_numerator")?, number("prior_denomerator")?),
        shift: number("shift")?,
        scale: number("scale")?,
        borders: feature.numbers_at("borders")?,
    })
}

fn kind(name: &str) -> Result<CtrKind, String> {
    let found = CtrKind::ALL.iter().find(|(_, known)| *known == name);
    found.map(|(kind, _)| *kind).ok_or_else(|| format!("statistic of kind {name:?} is not supported"))
}

fn combination(elements: &Value<'_>) -> Result<Combination, String> {
    let mut out = Combination::default();
    for element in elements.items()? {
        let integer = |key: &str| Ok::<_, String>(element.need(key)?.number::<i64>()? as i32);
        match element.need("combination_element")?.text()? {
            "cat_feature_value" => out.cats.push(integer("cat_feature_index")?),
            "float_feature" => out.floats.push((integer("float_feature_index")?, element.need("border")?.number()?)),
            _ => out.one_hots.push((integer("cat_feature_index")?, integer("value")?)),
        }
    }
    Ok(out)
}

fn ctr_table(name: &str, table: &Value<'_>, allowance: &Allowance) -> Result<CtrTable, String> {
    let kind = document::read(name.as_bytes(), allowance)?;
    let kind = self::kind(kind.need("type")?.text()?)?;
    let stride = table.need("hash_stride")?.count(1 << 20)?;
    let map = table.need("hash_map")?.items()?;
    if stride < 2 || !map.len().is_multiple_of(stride) {
        return Err(format!("hash_map has {} values, {stride} per hash", map.len()));
    }
    allowance.spend(map.len() / stride * ENTRY_BYTES + size_of_val(map) / 2)?;
    let mut indices = HashMap::with_capacity(map.len() / stride);
    let (mut numbers, mut sums): (Vec<i32>, Vec<(f32, i32)>) = (Vec::new(), Vec::new());
    for (index, entry) in map.chunks_exact(stride).enumerate() {
        let hash = entry[0].text()?.parse::<u64>().map_err(|e| e.to_string())?;
        indices.insert(hash, index as u32);
        match kind {
            CtrKind::BinarizedTargetMean | CtrKind::FloatTargetMean => {
                let count = entry.get(2).ok_or("hash_stride is too small")?.number::<i64>()? as i32;
                sums.push((entry[1].number()?, count));
            }
            _ => {
                for value in &entry[1..] {
                    numbers.push(value.number::<i64>()? as i32);
                }
            }
        }
    }
    let counts = match kind {
        CtrKind::BinarizedTargetMean | CtrKind::FloatTargetMean => Counts::Means(sums),
        CtrKind::Counter | CtrKind::FeatureFrequency => {
            Counts::Totals(numbers, table.need("counter_denominator")?.number::<i64>()? as i32)
        }
        CtrKind::Borders | CtrKind::Buckets => Counts::Classes(stride - 1, numbers),
    };
    Ok(CtrTable { indices, counts })
}

fn symmetric(trees: &[Value<'_>], leaves: &mut Vec<f64>) -> Result<(Trees, usize), String> {
    let mut out = Vec::with_capacity(trees.len());
    let mut dimension = 1;
    for tree in trees {
        let values: Vec<f64> = tree.numbers_at("leaf_values")?;
        let splits = tree.get("splits").map_or(Ok([].as_slice()), Value::items)?;
        let index = |split: &Value<'_>| Ok::<_, String>(split.need("split_index")?.count(u32::MAX as usize)? as u32);
        let splits: Vec<u32> = splits.iter().map(index).collect::<Result<_, _>>()?;
        if splits.len() <= super::MAX_DEPTH {
            dimension = values.len() >> splits.len();
        }
        leaves.extend(values);
        out.push(splits);
    }
    Ok((Trees::Symmetric(out), dimension))
}

/// Trees of nested maps. They are read without recursion, since the document bounds only how deep they are.
fn any(trees: &[Value<'_>], leaves: &mut Vec<f64>) -> Result<(Trees, usize), String> {
    let (mut nodes, mut roots, mut dimension) = (Vec::new(), Vec::new(), 1);
    for tree in trees {
        roots.push(nodes.len() as u32);
        let first = nodes.len();
        nodes.push(Node { split: 0, left: Step::Leaf(0), right: Step::Leaf(0) });
        let mut open = vec![(tree, first)];
        while let Some((value, at)) = open.pop() {
            let Some(split) = value.get("split") else {
                let leaf: Vec<f64> = match value.need("value")? {
                    list @ (Value::Numbers(_) | Value::List(_)) => list.numbers()?,
                    number => vec![number.number()?],
                };
                let step = Step::Leaf(leaves.len() as u32);
                dimension = leaf.len();
                leaves.extend(leaf);
                nodes[at] = Node { split: 0, left: step, right: step };
                continue;
            };
            let split = split.need("split_index")?.count(u32::MAX as usize)? as u32;
            let next = nodes.len() as u32;
            nodes[at] = Node { split, left: Step::Node(next), right: Step::Node(next + 1) };
            nodes.extend([nodes[at]; 2]);
            open.push((value.need("left")?, next as usize));
            open.push((value.need("right")?, next as usize + 1));
        }
    }
    Ok((Trees::Any { nodes, roots }, dimension))
}

fn scale_and_bias(document: &Value<'_>, dimension: usize) -> Result<(f64, Vec<f64>), String> {
    let Some(pair) = document.get("scale_and_bias") else { return Ok((1.0, vec![0.0; dimension])) };
    let pair = match pair {
        Value::List(pair) => pair.as_ref(),
        _ => return Err("scale_and_bias is not a pair".to_owned()),
    };
    let [scale, bias] = pair else { return Err("scale_and_bias is not a pair".to_owned()) };
    Ok((scale.number()?, bias.numbers()?))
}
