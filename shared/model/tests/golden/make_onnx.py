#!/usr/bin/env python3
"""Make small ONNX files of operators and tree modes, with what onnxruntime predicts.

usage: make_onnx.py OUT_DIR [SEED]      (pip: scikit-learn skl2onnx onnx onnxruntime numpy)

For each case NAME: OUT_DIR/NAME.onnx and NAME.expected.json: {"x": [[..|null]], "y": native, "y_ort": onnxruntime's,
"accepts_missing": whether the file has a rule for missing values, if that is not plain from the rows}.
"""
import json, pathlib, sys, warnings
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, Normalizer, PolynomialFeatures, RobustScaler, StandardScaler
from sklearn.svm import SVR

warnings.filterwarnings("ignore")
OUT, SEED = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
OUT.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(SEED)
S = dict(random_state=SEED)
f32 = np.float32


def save(name, model, x, native=None, **more):
    raw = model.SerializeToString()
    session = ort.InferenceSession(raw, providers=["CPUExecutionProvider"])
    outs = session.run(None, {session.get_inputs()[0].name: x})
    got = np.asarray(outs[-1], dtype=float).reshape(len(x), -1)
    y = got if native is None else np.asarray(native, dtype=float).reshape(len(x), -1)
    (OUT / f"{name}.onnx").write_bytes(raw)
    rows = [[None if np.isnan(v) else float(v) for v in r] for r in x]
    (OUT / f"{name}.expected.json").write_text(json.dumps(dict(x=rows, y=y.tolist(), y_ort=got.tolist(), **more)) + "\n")
    print(f"{name:26s} {len(raw):7d} bytes", sorted({n.op_type for n in model.graph.node}))


def exported(name, model, data, missing=False, **options):
    X, y = data(return_X_y=True)
    X = X.astype(f32)
    model.fit(X, y)
    x = X[rng.permutation(len(X))[:24]].copy()
    if missing: x[::3, 2] = np.nan
    opts = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    native = model.predict_proba(x) if hasattr(model, "predict_proba") else model.predict(x)
    save(name, to_onnx(model, X[:1], options=opts), x, native)


exported("rf_clf_multi", RandomForestClassifier(4, max_leaf_nodes=16, **S), load_wine)
exported("rf_clf_binary", RandomForestClassifier(4, max_leaf_nodes=16, **S), load_breast_cancer)
exported("et_clf", ExtraTreesClassifier(4, max_leaf_nodes=16, **S), load_wine)
exported("gb_clf_binary", GradientBoostingClassifier(n_estimators=8, **S), load_breast_cancer)
exported("gb_clf_multi", GradientBoostingClassifier(n_estimators=4, **S), load_wine)
exported("robust_elastic", make_pipeline(RobustScaler(), ElasticNet(0.1)), load_diabetes)
exported("imputer_ridge", make_pipeline(SimpleImputer(), StandardScaler(), Ridge()), load_diabetes, missing=True)
exported("maxabs_ridge", make_pipeline(MaxAbsScaler(), Ridge()), load_diabetes)
exported("normalizer_l1", make_pipeline(Normalizer("l1"), Ridge()), load_diabetes)
exported("poly_ridge", make_pipeline(StandardScaler(), PolynomialFeatures(2), Ridge()), load_diabetes)
exported("logistic_multi", make_pipeline(StandardScaler(), LogisticRegression()), load_wine)
exported("mlp_tanh", make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), activation="tanh", **S)), load_diabetes)
exported("mlp_clf_binary", make_pipeline(StandardScaler(), MLPClassifier(hidden_layer_sizes=(8,), **S)), load_breast_cancer)
exported("mlp_clf_multi", make_pipeline(StandardScaler(), MLPClassifier(hidden_layer_sizes=(8,), **S)), load_wine)
exported("svr_poly", make_pipeline(StandardScaler(), SVR(kernel="poly", degree=2)), load_diabetes)


def graph(name, nodes, initializers, width, x, ml=3, opset=18, outputs=1, **more):
    model = helper.make_model(
        helper.make_graph(nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
                          [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, outputs])],
                          [numpy_helper.from_array(v, k) for k, v in initializers.items()]),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml)], ir_version=9)
    onnx.checker.check_model(model)
    save(name, model, x, **more)


x = rng.normal(size=(24, 4)).astype(f32)
x[:6, 1] = 0.5
x[6:9, 0] = -0.25
x[9:14, 2] = np.nan
clean = np.nan_to_num(x)
for mode in ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ"):
    for tracks in (0, 1):
        graph(f"mode_{mode.lower()}_{tracks}", [helper.make_node(
            "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1,
            nodes_treeids=[0] * 7 + [1] * 3, nodes_nodeids=list(range(7)) + list(range(3)),
            nodes_featureids=[1, 2, 0, 0, 0, 0, 0, 2, 0, 0], nodes_values=[0.5, 0.0, -0.25, 0, 0, 0, 0, 0.1, 0, 0],
            nodes_modes=[f"BRANCH_{mode}"] * 3 + ["LEAF"] * 4 + [f"BRANCH_{mode}"] + ["LEAF"] * 2,
            nodes_truenodeids=[1, 3, 5, 0, 0, 0, 0, 1, 0, 0], nodes_falsenodeids=[2, 4, 6, 0, 0, 0, 0, 2, 0, 0],
            nodes_missing_value_tracks_true=[tracks] * 3 + [0] * 4 + [tracks] + [0] * 2,
            target_treeids=[0] * 4 + [1] * 2, target_nodeids=[3, 4, 5, 6, 1, 2], target_ids=[0] * 6,
            target_weights=[1.0, 2.0, 4.0, 8.0, 16.0, 32.0], base_values=[0.5], aggregate_function="SUM")], {}, 4, x, accepts_missing=bool(tracks))
graph("average_two_targets", [helper.make_node(
    "TreeEnsembleRegressor", ["x"], ["both"], domain="ai.onnx.ml", n_targets=2,
    nodes_treeids=[3, 3, 3, 8], nodes_nodeids=[0, 1, 2, 0], nodes_featureids=[1, 0, 0, 0], nodes_values=[0.1, 0, 0, 0],
    nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0, 0], nodes_falsenodeids=[2, 0, 0, 0],
    target_treeids=[3, 3, 3, 8], target_nodeids=[1, 1, 2, 0], target_ids=[0, 1, 1, 0], target_weights=[1.0, 2.0, 4.0, 8.0],
    aggregate_function="AVERAGE"),
    helper.make_node("ReduceSum", ["both", "axes"], ["y"], keepdims=1)], {"axes": np.array([1])}, 4, clean)
graph("tree_ensemble_v5", [helper.make_node(
    "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, aggregate_function=1, post_transform=0,
    tree_roots=[0, 2], nodes_featureids=[1, 0, 2], nodes_modes=helper.make_tensor("m", TensorProto.UINT8, [3], [0, 1, 3]),
    nodes_splits=helper.make_tensor("s", TensorProto.FLOAT, [3], [0.5, -0.25, 0.0]),
    nodes_truenodeids=[1, 0, 2], nodes_trueleafs=[0, 1, 1], nodes_falsenodeids=[1, 2, 3], nodes_falseleafs=[1, 1, 1],
    leaf_targetids=[0, 0, 0, 0], leaf_weights=helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0, 2.0, 4.0, 8.0]))],
    {}, 4, clean, ml=5)
W, V, b, c = (rng.normal(size=s).astype(f32) for s in ((6, 4), (6, 1), (6,), (1,)))
unit = lambda: rng.uniform(0.5, 1.5, 6).astype(f32)
for act in ("Relu", "Tanh", "Gelu", "Sigmoid", "Elu", "LeakyRelu", "Softplus"):
    graph(f"net_{act.lower()}", [
        helper.make_node("Gemm", ["x", "W", "b"], ["h"], transB=1),
        helper.make_node(act, ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "V", "c"], ["y"])], dict(W=W, V=V, b=b, c=c), 4, clean, opset=20)
graph("net_norms", [
    helper.make_node("Gemm", ["x", "W", "b"], ["h"], transB=1, alpha=0.5, beta=2.0),
    helper.make_node("BatchNormalization", ["h", "g", "b", "m", "v"], ["n"], epsilon=1e-3),
    helper.make_node("LayerNormalization", ["n", "g", "b"], ["l"], axis=-1),
    helper.make_node("Softmax", ["l"], ["s"], axis=-1),
    helper.make_node("Clip", ["s", "low", "high"], ["k"]),
    helper.make_node("MatMul", ["k", "V"], ["y"])],
    dict(W=W, V=V, b=b, g=unit(), m=b * f32(0.5), v=unit(), low=f32(0.05), high=f32(0.4)), 4, clean)
graph("columns_and_arithmetic", [
    helper.make_node("Slice", ["x", "one", "three", "one"], ["mid"]),
    helper.make_node("Gather", ["x", "ids"], ["picked"], axis=1),
    helper.make_node("Mul", ["mid", "picked"], ["p"]), helper.make_node("Sub", ["half", "p"], ["q"]),
    helper.make_node("Exp", ["q"], ["e"]), helper.make_node("Concat", ["e", "mid"], ["all"], axis=-1),
    helper.make_node("Abs", ["all"], ["abs"]), helper.make_node("Pow", ["abs", "two"], ["sq"]),
    helper.make_node("ReduceMean", ["sq", "one"], ["y"], keepdims=1)],
    dict(one=np.array([1]), three=np.array([3]), ids=np.array([3, -4]), half=np.array([0.5], f32), two=np.array(2.0, f32)), 4, clean)
trees = dict(domain="ai.onnx.ml", nodes_treeids=[0, 0, 0, 1, 1, 1], nodes_nodeids=[0, 1, 2] * 2, nodes_featureids=[1, 0, 0, 0, 0, 0], nodes_values=[0.5, 0, 0, -0.25, 0, 0],
             nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_GT", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0] * 2, nodes_falsenodeids=[2, 0, 0] * 2)
for how in ("MIN", "MAX"):
    graph(f"aggregate_{how.lower()}", [helper.make_node("TreeEnsembleRegressor", ["x"], ["both"], n_targets=2, aggregate_function=how, base_values=[0.25, 0.5],
        target_treeids=[0, 0, 0, 1, 1], target_nodeids=[1, 1, 2, 1, 2], target_ids=[0, 1, 0, 1, 0], target_weights=[0.1, 0.4, 0.2, 0.3, 0.15], **trees),
        helper.make_node("ArrayFeatureExtractor", ["both", "first"], ["y"], domain="ai.onnx.ml")], {"first": np.array([0])}, 4, clean)
for post in ("SOFTMAX", "SOFTMAX_ZERO", "LOGISTIC", "PROBIT"):
    graph(f"post_{post.lower()}", [helper.make_node("TreeEnsembleRegressor", ["x"], ["both"], n_targets=2, post_transform=post,
        target_treeids=[0, 0, 0, 1, 1], target_nodeids=[1, 1, 2, 1, 2], target_ids=[0, 1, 0, 1, 1], target_weights=[0.1, 0.4, 0.2, 0.3, 0.5], **trees),
        helper.make_node("ArrayFeatureExtractor", ["both", "second"], ["y"], domain="ai.onnx.ml")], {"second": np.array([1])}, 4, clean)
whole = np.trunc(clean * 3)
graph("tree_ensemble_member", [helper.make_node(
    "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, aggregate_function=1, post_transform=0,
    tree_roots=[0, 2], nodes_featureids=[1, 0, 2], nodes_modes=helper.make_tensor("m", TensorProto.UINT8, [3], [6, 5, 6]),
    nodes_splits=helper.make_tensor("s", TensorProto.FLOAT, [3], [0.0, 1.0, 0.0]),
    membership_values=helper.make_tensor("v", TensorProto.FLOAT, [6], [1.0, -2.0, float("nan"), 0.0, 3.0, float("nan")]),
    nodes_truenodeids=[1, 0, 2], nodes_trueleafs=[0, 1, 1], nodes_falsenodeids=[1, 2, 3], nodes_falseleafs=[1, 1, 1],
    leaf_targetids=[0, 0, 0, 0], leaf_weights=helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0, 2.0, 4.0, 8.0]))],
    {}, 4, whole, ml=5)
print(sum(f.stat().st_size for f in OUT.iterdir()) // 1024, "KiB")
