//! Booster files that were made to do harm: trees that lead nowhere, sizes without data, sets that are shared without
//! end. Each is refused for the right reason, in little time.
#![cfg(test)]

use std::path::Path;
use std::time::{Duration, Instant};

use forebay_model::load_bytes;
use serde_json::{Value, json};

/// The longest that any of these may take, even on a slow machine.
const LIMIT: Duration = Duration::from_secs(20);

fn refused(name: &str, bytes: &[u8], what: &str) {
    let began = Instant::now();
    let fault = load_bytes(name, bytes).map(|_| "it is a model").unwrap_err().to_string();
    assert!(began.elapsed() < LIMIT, "took {:?}: {fault}", began.elapsed());
    assert!(fault.contains(what), "expected {what:?}: {fault}");
}

/// An XGBoost model of one tree with three nodes.
fn xgboost() -> Value {
    json!({"learner": {
        "attributes": {}, "feature_names": [], "feature_types": [],
        "learner_model_param": {"base_score": "5E-1", "num_class": "0", "num_feature": "2", "num_target": "1"},
        "objective": {"name": "reg:squarederror"},
        "gradient_booster": {"name": "gbtree", "model": {"tree_info": [0], "iteration_indptr": [0, 1], "trees": [{
            "id": 0, "tree_param": {"num_nodes": "3", "size_leaf_vector": "1"},
            "left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [1, 0, 0],
            "split_conditions": [0.5, 1.5, 2.5], "default_left": [0, 0, 0], "split_type": [0, 0, 0],
            "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": []
        }]}}
    }})
}

/// The model with a change at a JSON pointer.
fn changed(pointer: &str, value: Value) -> Vec<u8> {
    let mut model = xgboost();
    *model.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    model.to_string().into_bytes()
}

fn tree(field: &str, value: Value) -> Vec<u8> {
    changed(&format!("/learner/gradient_booster/model/trees/0/{field}"), value)
}

#[test]
fn xgboost_trees_that_lead_nowhere() {
    assert!(load_bytes("model.json", xgboost().to_string().as_bytes()).is_ok());
    refused("m", &tree("left_children", json!([0, -1, -1])), "reached twice");
    refused("m", &tree("right_children", json!([1, -1, -1])), "reached twice");
    refused("m", &tree("right_children", json!([3, -1, -1])), "out of range");
    refused("m", &tree("right_children", json!([9e15, -1, -1])), "numbers of the right kind");
    refused("m", &tree("split_indices", json!([2, 0, 0])), "feature 2 of 2");
    refused("m", &tree("split_indices", json!([0, 0])), "differ in length");
    refused("m", &tree("split_conditions", json!(["x", 1, 1])), "split_conditions");
    refused("m", &tree("split_type", json!([1, 0, 0])), "split_type");
    refused("m", &tree("tree_param", json!({"size_leaf_vector": "65536"})), "65536 values");
    refused("m", &tree("id", json!(7)), "ID 7");
}

#[test]
fn xgboost_categories_that_are_shared_without_end() {
    let mut model = xgboost();
    let one = &mut model["learner"]["gradient_booster"]["model"]["trees"][0];
    one["split_type"] = json!([1, 0, 0]);
    one["categories_nodes"] = json!([0]);
    one["categories"] = json!([1, 2]);
    one["categories_segments"] = json!([0]);
    for (sizes, what) in [(json!([3]), "out of range"), (json!([-1]), "negative")] {
        one["categories_sizes"] = sizes;
        let text = json!({"learner": {
            "learner_model_param": {"base_score": "0", "num_feature": "2"}, "objective": {"name": "reg:squarederror"},
            "gradient_booster": {"name": "gbtree", "model": {"tree_info": [0], "trees": [one]}}}});
        refused("m", text.to_string().as_bytes(), what);
    }
    one["categories_nodes"] = json!([0, 0]);
    one["categories_segments"] = json!([0, 0]);
    one["categories_sizes"] = json!([2, 2]);
    refused("m", model.to_string().as_bytes(), "share categories");
}

#[test]
fn xgboost_claims_without_data() {
    refused("m", &changed("/learner/learner_model_param/num_class", json!("2147483647")), "num_class");
    refused("m", &changed("/learner/learner_model_param/num_feature", json!("0")), "no features");
    refused("m", &changed("/learner/learner_model_param/base_score", json!("NaN")), "base_score");
    refused("m", &changed("/learner/gradient_booster/model/tree_info", json!([9])), "group 9 of 1");
    refused("m", &changed("/learner/objective/name", json!("reg:mine")), "\"reg:mine\" is not supported");
    refused("m", &changed("/learner/gradient_booster/name", json!("gbforest")), "gbforest");
    refused("m.ubj", b"{L\0\0\0\0\0\0\0\x07learner[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff", "length is");
    refused("m.ubj", &[b"{L\0\0\0\0\0\0\0\x01a".as_slice(), &[b'['; 1 << 20]].concat(), "too deep");
    refused("m.json", &[b'['; 1 << 20], "");
    refused("m.json", &[b"{\"a\":".repeat(1 << 20)].concat(), "too deep");
    let linear = json!({"name": "gblinear", "model": {"weights": [1.0]}});
    refused("m", &changed("/learner/gradient_booster", linear), "1 weights");
}

#[test]
fn xgboost_structures_that_end_early() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/boosters/xgb176_sk_multi/model.xgb");
    let bytes = std::fs::read(file).unwrap();
    assert!(load_bytes("m", &bytes).is_ok());
    let with = |at: usize, value: u32| {
        let mut broken = bytes.clone();
        broken[at..at + 4].copy_from_slice(&value.to_le_bytes());
        broken
    };
    // parameters begin at 4; the texts of objective and booster follow them
    refused("m", &with(8, u32::MAX), "takes 4294967295 values");
    refused("m", &with(12, 2_000_000_000), "gives 2000000000");
    refused("m", &with(4 + 136, 0x7fff_ffff), "ends early");
    let trees = 4 + 136 + 8 + "multi:softprob".len() + 8 + "gbtree".len();
    refused("m", &with(trees, 0x7fff_ffff), "");
    refused("m", &with(trees + 160 + 4, 0x7fff_ffff), "ends early");
    refused("m", &with(trees + 160 + 4, 0), "no nodes");
    for at in (0..bytes.len()).step_by(101) {
        refused("m", &bytes[..at], "");
    }
}

/// A LightGBM model of one tree; `tree` replaces lines of it.
fn lightgbm(tree: &[(&str, &str)]) -> Vec<u8> {
    let mut lines = vec![
        ("num_leaves", "3"),
        ("num_cat", "0"),
        ("split_feature", "0 1"),
        ("threshold", "0.5 1.5"),
        ("decision_type", "2 2"),
        ("left_child", "1 -1"),
        ("right_child", "-2 -3"),
        ("leaf_value", "1 2 3"),
    ];
    for (key, value) in tree {
        lines.retain(|(k, _)| k != key);
        lines.push((key, value));
    }
    let tree: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\n\
         objective=regression\nfeature_names=a b\nfeature_infos=[0:1] [0:1]\n\nTree=0\n{tree}\nend of trees\n"
    )
    .into_bytes()
}

#[test]
fn lightgbm_trees_that_lead_nowhere() {
    assert!(load_bytes("model.lgb", &lightgbm(&[])).is_ok());
    for (change, what) in [
        (("left_child", "0 -1"), "reached twice"),
        (("left_child", "1 1"), "reached twice"),
        (("left_child", "2 -1"), "out of range"),
        (("right_child", "-9223372036854775808 -3"), "out of range"),
        (("right_child", "-4 -3"), "out of range"),
        (("right_child", "-2"), "1 values of 2"),
        (("split_feature", "2 0"), "feature 2 of 2"),
        (("threshold", "nan 1"), "NaN"),
        (("leaf_value", "inf 1 1"), "inf"),
        (("num_leaves", "16000000"), "values of 16000000"),
        (("num_leaves", "18446744073709551615"), "num_leaves"),
        (("decision_type", "1 2"), "no sets"),
    ] {
        refused("m", &lightgbm(&[change]), what);
    }
    let category = |more: &[(&'static str, &'static str)]| {
        let base = [("num_cat", "1"), ("decision_type", "1 2"), ("threshold", "0 1.5")];
        lightgbm(&[base.as_slice(), more].concat())
    };
    let sets = [("cat_boundaries", "0 1"), ("cat_threshold", "5")];
    assert!(load_bytes("m", &category(&sets)).is_ok());
    refused("m", &category(&[("cat_boundaries", "0 4000000000"), ("cat_threshold", "5")]), "values of 4000000000");
    refused("m", &category(&[("cat_boundaries", "1 1"), ("cat_threshold", "5 5")]), "values of 1");
    refused("m", &category(&[sets[0], sets[1], ("threshold", "1 1.5")]), "is not one of 1");
    refused("m", &category(&[sets[0], sets[1], ("decision_type", "1 1"), ("threshold", "0 0")]), "is not one of 1");
    let linear = [("is_linear", "1"), ("leaf_const", "1 2 3"), ("num_features", "1 0 0"), ("leaf_coeff", "2")];
    refused("m", &lightgbm(&[linear.as_slice(), &[("leaf_features", "2")]].concat()), "out of range");
    let huge = [("is_linear", "1"), ("leaf_const", "1 2 3"), ("num_features", "18446744073709551615 1 0")];
    refused("m", &lightgbm(&huge), "too large");
}

/// A CatBoost model of one symmetric tree.
fn catboost() -> Value {
    json!({
        "features_info": {"float_features": [
            {"borders": [0.5], "feature_index": 0, "flat_feature_index": 0, "has_nans": false, "nan_value_treatment": "AsIs"}
        ], "categorical_features": [{"feature_index": 0, "flat_feature_index": 1, "values": [7]}], "ctrs": [{
            "elements": [{"cat_feature_index": 0, "combination_element": "cat_feature_value"}], "ctr_type": "Borders",
            "identifier": "{\"type\":\"Borders\"}", "prior_numerator": 0, "prior_denomerator": 1, "shift": 0, "scale": 1,
            "target_border_idx": 0, "borders": [0.25]
        }]},
        "ctr_data": {"{\"type\":\"Borders\"}": {"hash_map": ["5", 1, 2], "hash_stride": 3}},
        "oblivious_trees": [{"leaf_values": [1, 2, 3, 4, 5, 6, 7, 8], "splits": [
            {"split_index": 0}, {"split_index": 1}, {"split_index": 2}]}],
        "scale_and_bias": [1, [0]]
    })
}

#[test]
fn catboost_documents_that_lead_nowhere() {
    assert!(load_bytes("model.json", catboost().to_string().as_bytes()).is_ok());
    for (pointer, value, what) in [
        ("/oblivious_trees/0/splits/0/split_index", json!(3), "split 3 of 3"),
        ("/oblivious_trees/0/leaf_values", json!([1, 2, 3, 4, 5, 6, 7, 8, 9]), "leaf values"),
        ("/oblivious_trees/0/leaf_values/0", json!("inf"), "finite"),
        ("/features_info/float_features/0/flat_feature_index", json!(1_000_000_000), "takes 1000000001 values"),
        ("/features_info/ctrs/0/elements/0/cat_feature_index", json!(9), "no category feature 9"),
        ("/features_info/ctrs/0/target_border_idx", json!(1), "not its class"),
        ("/features_info/ctrs/0/identifier", json!("x"), "no table"),
        ("/ctr_data/{\"type\":\"Borders\"}/hash_stride", json!(2), "hash_map"),
        ("/scale_and_bias", json!([1, [0, 0]]), "bias"),
    ] {
        let mut model = catboost();
        *model.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
        refused("m", model.to_string().as_bytes(), what);
    }
    let mut deep = json!({"value": 1});
    for _ in 0..2000 {
        deep = json!({"split": {"split_index": 0}, "left": deep, "right": {"value": 1}});
    }
    let text = format!("{{\"features_info\": {{}}, \"trees\": [{}]}}", serde_json::to_string(&deep).unwrap());
    refused("m", text.as_bytes(), "too deep");
}

#[test]
fn catboost_offsets_outside_the_file() {
    refused("m", b"CBM1", "ends early");
    refused("m", b"CBM1\xff\xff\xff\x7f", "ends early");
    refused("m", b"CBM1\x04\0\0\0\xff\xff\xff\x7f", "outside");
    // a table whose description lies before the file
    refused("m", b"CBM1\x08\0\0\0\x04\0\0\0\x05\0\0\0", "outside");
    // a table that is its own description, and its own trees
    refused("m", b"CBM1\x0c\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0", "");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/boosters/cat_onevsall_symmetrictree/model.cb");
    let bytes = std::fs::read(file).unwrap();
    for at in (8..bytes.len().min(4000)).step_by(28) {
        for value in [0u32, 1, 0x7fff_ffff, u32::MAX] {
            let mut broken = bytes.clone();
            broken[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let began = Instant::now();
            let _ = load_bytes("m", &broken);
            assert!(began.elapsed() < LIMIT, "{at} {value}");
        }
    }
}

#[test]
fn cut_and_corrupted_models_are_refused_or_predict() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/boosters");
    for case in [
        "xgb_sk_clf_multi_early",
        "xgb_reg_gamma_gbtree",
        "lgb_regression_category",
        "lgb_regression_linear",
        "cat_multiclass_depthwise",
        "cat_logloss_text_symmetrictree",
    ] {
        let mut files = std::fs::read_dir(folder.join(case)).unwrap().map(|e| e.unwrap().path());
        let file = files.find(|f| !f.ends_with("MLmodel")).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let mut seed = 7u64;
        for at in 0..120 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (seed >> 33) as usize % bytes.len();
            let mut broken = bytes.clone();
            match at % 3 {
                0 => broken.truncate(place),
                1 => broken[place] ^= 1 << (seed % 8),
                _ => broken[place] = (seed >> 20) as u8,
            }
            match load_bytes(name, &broken) {
                Err(fault) => assert!(fault.to_string().starts_with(name), "{fault}"),
                Ok(loaded) => {
                    let row = vec![0.5; loaded.model.signature().width()];
                    let rows = forebay_model::Rows::new(row.len(), &row).unwrap();
                    assert_eq!(loaded.model.predict(rows).unwrap().len(), 1, "{case} {at}");
                }
            }
        }
    }
}
