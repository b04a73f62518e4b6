//! Steps and processes that describe more than their file holds, or places that are not there.

use super::{array, doubles, npy, number, refused};

fn text(v: &str) -> String {
    format!(r#"{{"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": "\"{v}\""}}"#)
}

fn node(class: &str, attributes: &[(&str, String)]) -> String {
    let (module, class) = class.rsplit_once('.').unwrap();
    let content: Vec<String> = attributes.iter().map(|(name, node)| format!(r#""{name}": {node}"#)).collect();
    format!(
        r#"{{"__class__": "{class}", "__module__": "{module}", "__loader__": "ObjectNode",
            "content": {{"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {{{}}}}}}}"#,
        content.join(", ")
    )
}

fn matrix(rows: usize, columns: usize, value: f64) -> Vec<u8> {
    npy("'<f8'", &format!("({rows}, {columns})"), &doubles(&vec![value; rows * columns]))
}

/// A pipeline of a step, which takes `width` values, and an estimator that is never reached.
fn before_ridge(class: &str, width: &str, attributes: &[(&str, String)], files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut attributes = attributes.to_vec();
    attributes.push(("n_features_in_", number(width)));
    let step = node(class, &attributes);
    let ridge = node("sklearn.linear_model.Ridge", &[("n_features_in_", number("1"))]);
    let list = |class: &str, loader: &str, items: String| {
        format!(
            r#"{{"__class__": "{class}", "__module__": "builtins", "__loader__": "{loader}", "content": [{items}]}}"#
        )
    };
    let pair = |name: &str, object: String| list("tuple", "TupleNode", format!("{}, {object}", text(name)));
    let steps = list("list", "ListNode", format!("{}, {}", pair("a", step), pair("b", ridge)));
    super::skops("sklearn.pipeline.Pipeline", &[("steps", steps)], files)
}

#[test]
fn pipelines_and_estimators_without_an_end() {
    let norm = node("sklearn.preprocessing.Normalizer", &[("norm", text("l2")), ("n_features_in_", number("1"))]);
    let pair = format!(
        r#"{{"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": [{}, {norm}]}}"#,
        text("n")
    );
    let steps = format!(
        r#"{{"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "content": [{}]}}"#,
        vec![pair; 1001].join(", ")
    );
    let bytes = super::skops("sklearn.pipeline.Pipeline", &[("steps", steps)], &[]);
    refused("model.skops", &bytes, "is a step of a pipeline that has more than 1000");
    // an estimator that starts from itself
    let bytes =
        b"\x80\x04csklearn.ensemble._gb\nGradientBoostingRegressor\n)\x81r\0\0\0\0}(\x8c\x0en_features_in_J\x01\0\0\0\
        \x8c\x05init_j\0\0\0\0ub.";
    refused("model.pkl", bytes, "is nested too deep");
}

fn nmf(components: Vec<u8>, rounds: &str) -> Vec<u8> {
    let attributes = [
        ("components_", array("h.npy")),
        ("beta_loss", text("frobenius")),
        ("solver", text("cd")),
        ("shuffle", number("false")),
        ("max_iter", number(rounds)),
        ("tol", number("0.1")),
        ("alpha_W", number("0")),
        ("l1_ratio", number("0")),
    ];
    before_ridge("sklearn.decomposition.NMF", "1", &attributes, &[("h.npy", components)])
}

#[test]
fn decompositions_whose_matrices_are_larger_than_their_file() {
    refused("model.skops", &nmf(matrix(200_000, 1, 1.0), "9"), "has 200000 components, at most 2048");
    refused("model.skops", &nmf(matrix(2, 1, -1.0), "9"), "below zero");
    refused("model.skops", &nmf(matrix(2, 1, 1.0), "1000000000"), "expected an integer from 0 to 100000");
    let files = [("c.npy", matrix(200_000, 1, 1.0)), ("n.npy", npy("'<f8'", "(1,)", &doubles(&[1.0])))];
    for (class, more) in [("FactorAnalysis", "noise_variance_"), ("SparsePCA", "mean_")] {
        let attributes = [("components_", array("c.npy")), (more, array("n.npy")), ("ridge_alpha", number("0.1"))];
        let bytes = before_ridge(&format!("sklearn.decomposition.{class}"), "1", &attributes, &files);
        refused("model.skops", &bytes, "has 200000 components, at most 2048");
    }
}

#[test]
fn topics_without_a_prior_or_an_end() {
    let topics = |prior: &str, rounds: &str, word: f64| {
        let attributes = [
            ("exp_dirichlet_component_", array("w.npy")),
            ("doc_topic_prior_", number(prior)),
            ("max_doc_update_iter", number(rounds)),
            ("mean_change_tol", number("0")),
        ];
        let files = [("w.npy", matrix(2, 1, word))];
        before_ridge("sklearn.decomposition.LatentDirichletAllocation", "1", &attributes, &files)
    };
    refused("model.skops", &topics("0", "9", 0.5), "has a prior of 0");
    refused("model.skops", &topics("0.5", "9", -0.5), "shares below zero");
    refused("model.skops", &topics("0.5", "1000000000", 0.5), "expected an integer from 0 to 100000");
}

#[test]
fn places_that_are_not_there() {
    let attributes = [
        ("n_components", number("2")),
        ("degree", number("1")),
        ("gamma", number("1")),
        ("coef0", number("0")),
        ("indexHash_", array("i.npy")),
        ("bitHash_", array("b.npy")),
    ];
    let files = [("i.npy", matrix(1, 1, 2.0)), ("b.npy", matrix(1, 1, 1.0))];
    let sketch = before_ridge("sklearn.kernel_approximation.PolynomialCountSketch", "1", &attributes, &files);
    refused("model.skops", &sketch, "column 2 of 2");
    let mean = r#"{"__class__": "mean", "__module__": "numpy", "__loader__": "FunctionNode", "content": "numpy.mean"}"#;
    let pool = |labels: [f64; 2]| {
        let attributes = [("labels_", array("l.npy")), ("pooling_func", mean.to_owned())];
        let files = [("l.npy", npy("'<f8'", "(2,)", &doubles(&labels)))];
        before_ridge("sklearn.cluster.FeatureAgglomeration", "2", &attributes, &files)
    };
    refused("model.skops", &pool([0.0, 2.0]), "column 2 of 2");
    refused("model.skops", &pool([1.0, 1.0]), "leaves a cluster without columns");
}

#[test]
fn processes_that_divide_by_zero() {
    let process = |diagonal: f64, side: usize| {
        let attributes = [
            ("n_features_in_", number("1")),
            ("classes_", array("v.npy")),
            ("X_train_", array("x.npy")),
            ("y_train_", array("v.npy")),
            ("pi_", array("v.npy")),
            ("W_sr_", array("v.npy")),
            ("L_", array("l.npy")),
        ];
        let files = [
            ("v.npy", npy("'<f8'", "(2,)", &doubles(&[0.0, 1.0]))),
            ("x.npy", matrix(2, 1, 1.0)),
            ("l.npy", matrix(side, side, diagonal)),
        ];
        super::skops("sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace", &attributes, &files)
    };
    refused("model.skops", &process(0.0, 2), "has a zero on its diagonal");
    refused("model.skops", &process(1.0, 3), "has shape [3, 3], expected [2, 2]");
}
