//! Small files that describe large models: what they refer to many times, or what is larger in memory than in the file.
//! Each is refused within the memory that reading its size may take.

use super::memory::{bounded, field, pickled_array};
use super::pickled_text::{class, int, list, object, text};

const FAR_LARGER: &str = "far larger than its file";

/// A pickle of parts that stand in the memo, by their places, before its root.
fn pickle(before: &[Vec<u8>], root: &[u8]) -> Vec<u8> {
    let mut out = b"\x80\x04".to_vec();
    for (place, part) in before.iter().enumerate() {
        out.extend(part);
        out.extend([b'q', place as u8, b'0']);
    }
    out.extend(root);
    out.push(b'.');
    out
}

/// A list of one object of the memo.
fn many(place: u8, n: usize) -> Vec<u8> {
    [b"](".as_slice(), &[b'h', place].repeat(n), b"e"].concat()
}

fn pair(a: &[u8], b: &[u8]) -> Vec<u8> {
    [a, b, b"\x86"].concat()
}

fn doubles(values: &[f64]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    pickled_array("f8", values.len() as u32, &data)
}

/// An array of these axes.
fn array(kind: &str, axes: &[u32], data: &[u8]) -> Vec<u8> {
    let flat = pickled_array(kind, 7, data);
    let end = [int(7), b"\x85".to_vec()].concat();
    let at = flat.windows(end.len()).rposition(|window| window == end).unwrap();
    let shape = [b"(".to_vec(), axes.iter().flat_map(|axis| int(*axis)).collect(), b"t".to_vec()].concat();
    [&flat[..at], &shape, &flat[at + end.len()..]].concat()
}

/// A type of records, with its fields as (name, type, offset).
fn record(size: u32, fields: &[(String, Vec<u8>, u32)]) -> Vec<u8> {
    let names: Vec<u8> = fields.iter().flat_map(|(name, ..)| text(name)).collect();
    let places: Vec<u8> = fields.iter().flat_map(|(name, of, at)| [text(name), pair(of, &int(*at))].concat()).collect();
    let start = [class("numpy", "dtype"), b"(".to_vec(), text("V8"), b"\x89\x88tR(K\x03".to_vec(), text("|")];
    let state = [b"N(".to_vec(), names, b"t}(".to_vec(), places, b"u".to_vec(), int(size), b"K\x01K\x00tb".to_vec()];
    [start.concat(), state.concat()].concat()
}

fn dtype(code: &str) -> Vec<u8> {
    let state = [text("<"), b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00".to_vec()].concat();
    [class("numpy", "dtype"), text(code), b"\x89\x88\x87R(K\x03".to_vec(), state, b"tb".to_vec()].concat()
}

/// A pipeline of steps with any names.
fn pipeline(steps: &[Vec<u8>]) -> Vec<u8> {
    let steps: Vec<Vec<u8>> = steps.iter().map(|step| pair(&text("s"), step)).collect();
    object("sklearn.pipeline", "Pipeline", &[("steps", list(&steps))])
}

fn dummy() -> Vec<u8> {
    object("sklearn.dummy", "DummyRegressor", &[("constant_", doubles(&[1.0]))])
}

#[track_caller]
fn refused(case: &str, bytes: &[u8], reason: &str) {
    bounded(case, "model.pkl", bytes, bytes.len(), reason);
}

#[test]
fn types_of_records() {
    let fields = |of: &[u8]| -> Vec<_> { (0..64).map(|i| (format!("f{i:02}"), of.to_vec(), 0)).collect() };
    let value = [class("numpy.core.multiarray", "scalar"), pair(b"h\x02", b"C\x08\0\0\0\0\0\0\0\0"), b"R0".to_vec()];
    let root = [value.concat().repeat(20_000), b"N".to_vec()].concat();
    let flat = record(8, &fields(b"h\x00"));
    refused("records", &pickle(&[dtype("f8"), b"N".to_vec(), flat.clone()], &root), FAR_LARGER);
    let nested = record(8, &fields(b"h\x01"));
    refused("records in records", &pickle(&[dtype("f8"), flat, nested], &root), "records in records");
}

#[test]
fn labels_and_names() {
    let logistic = |classes: Vec<u8>| {
        let attributes = [
            ("n_features_in_", int(1)),
            ("coef_", array("f8", &[1, 1], &[0; 8])),
            ("intercept_", doubles(&[0.0])),
            ("classes_", classes),
        ];
        object("sklearn.linear_model._logistic", "LogisticRegression", &attributes)
    };
    let word: Vec<u8> = "x".repeat(65_536).chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    let long = array("U65536", &[1], &word);
    refused("references to a long label", &pickle(&[long], &logistic(many(0, 2_000))), FAR_LARGER);
    refused("labels of a byte", &pickle(&[], &logistic(pickled_array("u1", 8 << 20, &vec![0; 8 << 20]))), FAR_LARGER);
    let texts = [0u8, 0, 0, b'x'].repeat(2 << 20);
    refused("short labels", &pickle(&[], &logistic(array("U1", &[2 << 20], &texts))), FAR_LARGER);
    let linear = |names: Vec<u8>| {
        let attributes = [
            ("n_features_in_", int(1)),
            ("feature_names_in_", names),
            ("coef_", doubles(&[2.0])),
            ("intercept_", int(1)),
        ];
        object("sklearn.linear_model._base", "LinearRegression", &attributes)
    };
    refused("names of a byte", &pickle(&[], &linear(pickled_array("u1", 4 << 20, &vec![0; 4 << 20]))), FAR_LARGER);
}

#[test]
fn matrices_that_are_larger_than_the_file() {
    let sparse = |class: &str| {
        let nothing = |kind| array(kind, &[0], b"");
        let attributes = [
            ("_shape", pair(&int(400), &int(65_536))),
            ("indptr", pickled_array("u1", 401, &[0; 401])),
            ("indices", nothing("i4")),
            ("data", nothing("f8")),
        ];
        object("scipy.sparse._csr", class, &attributes)
    };
    let attributes = [("n_features_in_", int(65_536)), ("coef_", sparse("csr_matrix")), ("intercept_", int(1))];
    let file = pickle(&[], &object("sklearn.linear_model._base", "LinearRegression", &attributes));
    refused("a sparse matrix", &file, FAR_LARGER);
    let (width, n) = (600, 400);
    let attributes = [
        ("n_features_in_", int(width)),
        ("weights_", doubles(&vec![1.0; n])),
        ("means_", array("f4", &[n as u32, width], &vec![0; 4 * n * width as usize])),
        ("precisions_cholesky_", array("f4", &[width, width], &1f32.to_le_bytes().repeat((width * width) as usize))),
        ("covariance_type", text("tied")),
    ];
    let file = pickle(&[], &object("sklearn.mixture._gaussian_mixture", "GaussianMixture", &attributes));
    refused("one covariance of all components", &file, "it is a model");
}

#[test]
fn steps_that_are_referred_to() {
    let union = |transformer: Vec<u8>, width: u32| {
        let attributes = [("n_features_in_", int(width)), ("transformer_list", many(0, 1_000))];
        let union = object("sklearn.pipeline", "FeatureUnion", &attributes);
        pickle(&[pair(&text("a"), &transformer)], &pipeline(&[union, dummy()]))
    };
    refused("all columns", &union(text("passthrough"), 65_536), FAR_LARGER);
    let attributes = [
        ("degree", int(2)),
        ("interaction_only", b"\x89".to_vec()),
        ("include_bias", b"\x88".to_vec()),
        ("n_features_in_", int(400)),
    ];
    let products = object("sklearn.preprocessing._polynomial", "PolynomialFeatures", &attributes);
    refused("products", &union(products, 400), FAR_LARGER);
    let attributes = [
        ("input", text("content")),
        ("analyzer", text("word")),
        ("token_pattern", text(r"[aceg]{900}")),
        ("ngram_range", b"K\x01K\x01\x86".to_vec()),
        ("lowercase", b"\x88".to_vec()),
        ("binary", b"\x89".to_vec()),
        ("stop_words", text("english")),
        ("vocabulary_", [b"}".to_vec(), text("a"), b"K\x00s".to_vec()].concat()),
    ];
    let words = object("sklearn.feature_extraction.text", "CountVectorizer", &attributes);
    refused("patterns and stop words", &union(words, 1), FAR_LARGER);
    let mut hashed = attributes[..6].to_vec();
    hashed[2] = ("token_pattern", text(r"(?u)\b\w\w+\b"));
    hashed.extend([("n_features", int(1 << 21)), ("alternate_sign", b"\x88".to_vec())]);
    let hashing = object("sklearn.feature_extraction.text", "HashingVectorizer", &hashed);
    refused("columns of hashes", &union(hashing, 1), FAR_LARGER);
}

/// A search goes through all of a dict, which each reference to its object repeats.
#[test]
fn attributes_that_are_searched_for_long() {
    let weights = [b"}(".as_slice(), &b"K\x01N".repeat(200_000), b"u"].concat();
    let attributes =
        [("n_features_in_", int(1)), ("transformer_list", many(0, 30_000)), ("transformer_weights", weights)];
    let union = object("sklearn.pipeline", "FeatureUnion", &attributes);
    let file = pickle(&[pair(&text("a"), &text("passthrough"))], &pipeline(&[union, dummy()]));
    let began = std::time::Instant::now();
    refused("a long dict", &file, FAR_LARGER);
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
}

/// Steps are gone through one after another, also those of pipelines inside of unions.
#[test]
fn many_steps_need_no_deep_stack() {
    let norm = object("sklearn.preprocessing._data", "Normalizer", &[("norm", text("l2"))]);
    let mut parts = vec![pair(&text("n"), &norm), dummy()];
    let mut inner: Vec<u8> = vec![b'h', 0];
    for level in 0..12u8 {
        let steps = [b"](".as_slice(), &[b"h\x00".repeat(900), inner.clone()].concat(), b"e"].concat();
        let pipe = object("sklearn.pipeline", "Pipeline", &[("steps", steps)]);
        let attributes = [("n_features_in_", int(1)), ("transformer_list", list(&[pair(&text("p"), &pipe)]))];
        parts.push(pair(&text("u"), &object("sklearn.pipeline", "FeatureUnion", &attributes)));
        inner = vec![b'h', level + 2];
    }
    let steps = [b"](".as_slice(), &inner, &pair(&text("z"), b"h\x01"), b"e"].concat();
    let bytes = pickle(&parts, &object("sklearn.pipeline", "Pipeline", &[("steps", steps)]));
    // as small as those of the threads that load models
    let read = move || forebay_model::load_bytes("model.pkl", &bytes).map(|_| ()).map_err(|fault| fault.to_string());
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(read).unwrap();
    assert_eq!(thread.join().unwrap(), Ok(()));
}

#[test]
fn kernels_of_themselves() {
    let kernels = "sklearn.gaussian_process.kernels";
    let mut parts = vec![object(kernels, "ConstantKernel", &[("constant_value", int(1))])];
    for i in 0..20u8 {
        parts.push(object(kernels, "Sum", &[("k1", vec![b'h', i]), ("k2", vec![b'h', i])]));
    }
    let attributes = [
        ("n_features_in_", int(1)),
        ("X_train_", array("f8", &[2, 1], &[0; 16])),
        ("alpha_", doubles(&[0.0; 2])),
        ("_y_train_mean", doubles(&[0.0])),
        ("_y_train_std", doubles(&[1.0])),
        ("kernel_", b"h\x14".to_vec()),
    ];
    let process = object("sklearn.gaussian_process._gpr", "GaussianProcessRegressor", &attributes);
    refused("sums of one kernel", &pickle(&parts, &process), FAR_LARGER);
}

/// A HistGradientBoostingRegressor of one column with these nodes, of 56 bytes, in each of its trees.
fn histogram(nodes: &[u8], trees: usize, categorical: f64) -> Vec<u8> {
    let fields: Vec<(String, Vec<u8>, u32)> = [
        ("is_leaf", "u1", 0),
        ("left", "u4", 1),
        ("right", "u4", 5),
        ("missing_go_to_left", "u1", 9),
        ("feature_idx", "u4", 10),
        ("num_threshold", "f8", 14),
        ("is_categorical", "u1", 22),
        ("bitset_idx", "u4", 23),
        ("value", "f8", 27),
    ]
    .map(|(name, of, at)| (name.to_owned(), dtype(of), at))
    .to_vec();
    let data = [b"\x8e".to_vec(), (nodes.len() as u64).to_le_bytes().to_vec(), nodes.to_vec()].concat();
    let arguments = [data, b"h\x00".to_vec(), int(nodes.len() as u32 / 56), b"\x85".to_vec(), text("C")].concat();
    let nodes = [class("numpy._core.numeric", "_frombuffer"), b"(".to_vec(), arguments, b"tR".to_vec()].concat();
    let module = "sklearn.ensemble._hist_gradient_boosting";
    let tree = [("nodes", nodes), ("raw_left_cat_bitsets", array("u4", &[1, 8], &[0; 32]))];
    let tree = object(&format!("{module}.predictor"), "TreePredictor", &tree);
    let codes: Vec<u8> = (0..=255).collect();
    let bins =
        [("is_categorical_", doubles(&[categorical])), ("bin_thresholds_", list(&[pickled_array("u1", 256, &codes)]))];
    let attributes = [
        ("n_features_in_", int(1)),
        ("_bin_mapper", object(&format!("{module}.binning"), "_BinMapper", &bins)),
        ("_baseline_prediction", doubles(&[0.0])),
        ("_predictors", list(&vec![list(&[tree]); trees])),
        ("loss", text("squared_error")),
    ];
    let model = object(&format!("{module}.gradient_boosting"), "HistGradientBoostingRegressor", &attributes);
    pickle(&[record(56, &fields)], &model)
}

#[test]
fn categories_of_histogram_boosting() {
    let mut node = [0u8; 56];
    (node[1], node[5], node[9], node[22]) = (1, 1, 1, 1);
    refused("nodes by category", &histogram(&node.repeat(30_000), 1, 1.0), FAR_LARGER);
}

/// As large as people's are: what is read of a tree is gone when the tree is part of the forest.
#[test]
fn ordinary_histogram_boosting_is_read() {
    let mut nodes = Vec::new();
    for at in 0..61u32 {
        let (mut node, leaf) = ([0u8; 56], at % 2 == 1 || at == 60);
        node[0] = u8::from(leaf);
        node[1..5].copy_from_slice(&(at + 1).to_le_bytes());
        node[5..9].copy_from_slice(&(at + 2).to_le_bytes());
        nodes.extend(node);
    }
    let bytes = histogram(&nodes, 3_000, 0.0);
    bounded("3,000 trees of 31 leaves", "model.pkl", &bytes, bytes.len(), "it is a model");
}

/// An XGBoost model of `groups` outputs.
fn xgboost(groups: usize, trees: &str, rest: &str) -> String {
    format!(
        r#"{{"learner": {{"attributes": {{}}, "feature_names": [], "feature_types": [], "learner_model_param":
        {{"base_score": "5E-1", "num_class": "0", "num_feature": "1", "num_target": "{groups}"}},
        "objective": {{"name": "reg:squarederror"}}, "gradient_booster": {{"name": "gbtree", "model": {{{trees}{rest}}}}}}},
        "version": [3, 1, 0]}}"#
    )
}

fn chain(n: usize) -> String {
    let repeated = |item: &str| format!("[{}{item}]", format!("{item},").repeat(n - 1));
    let list = |name: &str, item: &str| format!(r#""{name}": {}"#, repeated(item));
    let lists = [("left_children", "0"), ("right_children", "0"), ("split_indices", "0"), ("split_conditions", "0")];
    let lists: Vec<String> = lists.iter().map(|(name, item)| list(name, item)).collect();
    format!(r#""tree_info": [0], "trees": [{{{}, {}}}]"#, lists.join(", "), list("default_left", "0"))
}

#[test]
fn boosters_in_ensembles() {
    let stump = r#"{"left_children": [-1], "right_children": [-1], "split_indices": [0], "split_conditions": [0.5],
        "default_left": [0]}"#;
    let model = xgboost(65_536, &format!(r#""tree_info": [0, 0], "trees": [{stump}, {stump}]"#), "");
    let handle = [b"\x8e".to_vec(), (model.len() as u64).to_le_bytes().to_vec(), model.into_bytes()].concat();
    let booster = object("xgboost.core", "Booster", &[("handle", handle)]);
    let member = object("xgboost.sklearn", "XGBRegressor", &[("_Booster", booster)]);
    let attributes = [("n_features_in_", int(1)), ("estimators_", many(0, 500))];
    let voting = object("sklearn.ensemble._voting", "VotingRegressor", &attributes);
    refused("references to a booster", &pickle(&[member], &voting), FAR_LARGER);
}

#[test]
fn boosters_that_are_larger_in_memory() {
    let n = 1_500_000;
    let zeros = "0 ".repeat(n);
    let lightgbm = |tree: String| {
        let header = "tree\nversion=v4\nnum_class=1\nmax_feature_idx=0\nobjective=regression\nfeature_names=a\n";
        format!("{header}\nTree=0\n{tree}\nend of trees\n").into_bytes()
    };
    let keys = ["split_feature", "threshold", "decision_type", "left_child", "right_child"];
    let lines: String = keys.iter().map(|key| format!("{key}={zeros}\n")).collect();
    let digits = lightgbm(format!("num_leaves={}\nnum_cat=0\n{lines}leaf_value={zeros}0\n", n + 1));
    let sets = |bounds: String, words: usize| {
        let k = bounds.split(' ').count() - 1;
        let line = |key: &str, item: &str, n: usize| format!("{key}={}\n", format!("{item} ").repeat(n));
        let places: Vec<String> = (0..k).map(|i| i.to_string()).collect();
        let lefts: Vec<String> = (1..=k as i64).map(|i| if i < k as i64 { i } else { -1 }.to_string()).collect();
        let rights: Vec<String> = (0..k as i64).map(|i| (-(i + 2)).to_string()).collect();
        lightgbm(format!(
            "num_leaves={}\nnum_cat={k}\n{}{}threshold={}\nleft_child={}\nright_child={}\n{}cat_boundaries={bounds}\n{}",
            k + 1,
            line("split_feature", "0", k),
            line("decision_type", "1", k),
            places.join(" "),
            lefts.join(" "),
            rights.join(" "),
            line("leaf_value", "1", k + 1),
            line("cat_threshold", "4294967295", words),
        ))
    };
    let back_and_forth: Vec<String> = (0..2_000).map(|i| if i % 2 == 0 { "0" } else { "1000" }.to_owned()).collect();
    let names = format!(
        "tree\nversion=v4\nnum_class=1\nmax_feature_idx=0\nobjective=regression\nfeature_names={}\n",
        "a ".repeat(4_000_000)
    );
    let offsets = format!(r#", "cats": {{"enc": [{{"offsets": [{}0], "values": []}}]}}"#, "0,".repeat(2 * n));
    let maps = format!(r#"{{"learner": [{}{{}}]}}"#, r#"{"":{}},"#.repeat(3 * n));
    let statistics = format!(r#"{{"features_info": {{}}, "ctr_data": {{"x": [{}"1"]}}}}"#, r#""1",1,"#.repeat(2 * n));
    for (case, name, file, reason) in [
        ("digits", "model.lgb", digits, FAR_LARGER),
        ("sets that overlap", "model.lgb", sets(back_and_forth.join(" "), 1_000), "out of order"),
        ("full sets", "model.lgb", sets("0 120000".to_owned(), 120_000), FAR_LARGER),
        ("names", "model.lgb", names.into_bytes(), "4000001 feature_names"),
        ("digits", "model.json", xgboost(1, &chain(2 * n), "").into_bytes(), FAR_LARGER),
        ("offsets", "model.json", xgboost(1, r#""tree_info": [], "trees": []"#, &offsets).into_bytes(), FAR_LARGER),
        ("maps", "model.json", maps.clone().into_bytes(), FAR_LARGER),
        ("maps that do not end", "model.json", maps.as_bytes()[..maps.len() - 2].to_vec(), FAR_LARGER),
        ("statistics", "model.json", statistics.into_bytes(), FAR_LARGER),
    ] {
        bounded(case, name, &file, file.len(), reason);
    }
}

#[test]
fn headers_of_nets() {
    let texts: String = (0..700_000).map(|i| format!(r#""{i:x}":"","#)).collect();
    let header = format!(r#"{{"__metadata__":{{{texts}"forebay.architecture":"{{}}"}}}}"#);
    let file = [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes()].concat();
    bounded("texts", "model.safetensors", &file, file.len(), FAR_LARGER);
    let mut pack = include_bytes!("../../sample/diabetes-rf-model/3/model.bpk")[..6].to_vec();
    // a map of one map of short texts, in CBOR
    let entries: Vec<u8> = (0..900_000u32).flat_map(|i| [&[0x63], &i.to_be_bytes()[1..], &[0x60]].concat()).collect();
    let head = [b"\xa1\x68metadata\xba".as_slice(), &900_000u32.to_be_bytes()].concat();
    pack.extend(((head.len() + entries.len()) as u32).to_le_bytes());
    pack.extend([head, entries].concat());
    bounded("texts", "model.bpk", &pack, pack.len(), "is larger than");
}

#[test]
fn layers_that_share_an_initializer() {
    let variable = |mut n: usize| {
        let mut out = Vec::new();
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        out
    };
    let width = 600;
    let sizes = [b"\x08".to_vec(), variable(width)].concat().repeat(2);
    let tensor = [sizes, b"\x10\x02".to_vec(), field(8, b"w"), field(9, &vec![0; width * width])].concat();
    let value = |name: &str| {
        let axis = |n: usize| field(1, &[b"\x08".to_vec(), variable(n)].concat());
        let shape = field(2, &[axis(1), axis(width)].concat());
        [field(1, name.as_bytes()), field(2, &field(1, &[b"\x08\x01".to_vec(), shape].concat()))].concat()
    };
    let layer = |i: usize| {
        let from = if i == 0 { "x".to_owned() } else { format!("c{i}") };
        let inputs = [field(1, from.as_bytes()), field(1, b"w")].concat();
        field(1, &[inputs, field(2, format!("c{}", i + 1).as_bytes()), field(4, b"MatMul")].concat())
    };
    let n = 500;
    let layers: Vec<u8> = (0..n).flat_map(layer).collect();
    let graph = [field(5, &tensor), layers, field(11, &value("x")), field(12, &value(&format!("c{n}")))].concat();
    let version = field(8, &[field(1, b""), b"\x10\x11".to_vec()].concat());
    let file = [b"\x08\x08".to_vec(), field(7, &graph), version].concat();
    bounded("layers", "model.onnx", &file, file.len(), FAR_LARGER);
}

/// Errors quote a file, and directories say what is in it: neither may take much more than the file.
#[test]
fn what_is_quoted_and_what_is_listed() {
    let long = "\u{1}".repeat(12 << 20);
    let word = [b"X".as_slice(), &(long.len() as u32).to_le_bytes(), long.as_bytes()].concat();
    let norm = object("sklearn.preprocessing._data", "Normalizer", &[("norm", word), ("n_features_in_", int(1))]);
    refused("a long parameter", &pickle(&[], &pipeline(&[norm, dummy()])), "is a text of 12582912 bytes");
    let lines = "tree\nversion=v4\nmax_feature_idx=0\nobjective=regression\nfeature_names=a\nnum_class=";
    let file = [lines.as_bytes(), long.as_bytes(), b"\n"].concat();
    bounded("a long count", "model.lgb", &file, file.len(), "num_class is \"\\u{1}");
    let zip = [b"PK\x03\x04".as_slice(), &b"PK\x01\x02".repeat(300_000)].concat();
    bounded("a directory of a zip", "model.skops", &zip, zip.len(), "more than 262144 entries");
}
