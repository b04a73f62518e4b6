//! An npy file as every array of a linear model and of a tree.
#![no_main]

const LINEAR: &str = r#"{"__class__": "LinearRegression", "__module__": "sklearn.linear_model._base",
 "__loader__": "ObjectNode", "protocol": 2, "content": {"__class__": "dict", "__module__": "builtins",
 "__loader__": "DictNode", "content": {
  "coef_": {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy", "file": "0.npy"},
  "n_features_in_": {"__class__": "int", "__module__": "builtins", "__loader__": "JsonNode", "content": "2"},
  "intercept_": {"__class__": "int", "__module__": "builtins", "__loader__": "JsonNode", "content": "1"}}}}"#;
const TREE: &str = r#"{"__class__": "DecisionTreeRegressor", "__module__": "sklearn.tree._classes",
 "__loader__": "ObjectNode", "protocol": 2, "content": {"__class__": "dict", "__module__": "builtins",
 "__loader__": "DictNode", "content": {
  "n_features_in_": {"__class__": "int", "__module__": "builtins", "__loader__": "JsonNode", "content": "10"},
  "tree_": {"__class__": "Tree", "__module__": "sklearn.tree._tree", "__loader__": "TreeNode", "content":
   {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {
    "nodes": {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy", "file": "0.npy"},
    "values": {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy", "file": "0.npy"}
  }}}}}}"#;

libfuzzer_sys::fuzz_target!(|npy: &[u8]| {
    for schema in [LINEAR, TREE] {
        let file = forebay_model_fuzz::skops(schema.as_bytes(), [("0.npy", npy)]);
        forebay_model_fuzz::read("model.skops", &file);
    }
});
