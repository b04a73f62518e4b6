#!/usr/bin/env python3
"""Make random ONNX files and write down what onnxruntime answers: tree operators of both generations in every mode,
aggregation and transformation, nets, exports of scikit-learn, and of XGBoost and LightGBM where they are installed.

usage: onnx_cases.py OUT_DIR [SEED [ROUNDS]]     (packages: sklearn_requirements.txt; optional: lightgbm xgboost-cpu onnxmltools)

For each case NAME: OUT_DIR/NAME/{MLmodel,model.onnx} and OUT_DIR/NAME.expected.json as sklearn_cases.py writes it.
"""
import json, pathlib, sys, warnings
import numpy as np, onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import *
from sklearn.impute import SimpleImputer
from sklearn.linear_model import *
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import *
from sklearn.svm import SVR, LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

warnings.filterwarnings("ignore")
ort.set_default_logger_severity(4)
OUT = pathlib.Path(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 1
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 2
OUT.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(SEED)
np.random.seed(SEED)  # estimators without a random_state draw from here
pick = lambda *options: options[rng.integers(len(options))]
number = lambda low, high: int(rng.integers(low, high))
f32 = np.float32
F, I, S = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
made, skipped = [], []


def save(name, model, x, native=None, tolerance="onnx", least=0.0):
    """Answers nearer to zero than `least` are left out: onnxruntime's f32 noise is larger there than the tolerance."""
    raw = model if isinstance(model, bytes) else model.SerializeToString()
    try:
        session = ort.InferenceSession(raw, providers=["CPUExecutionProvider"])
        answers = np.asarray(session.run(None, {session.get_inputs()[0].name: x})[-1], dtype=float).reshape(len(x), -1)
    except Exception as e:
        return skipped.append(f"{name}: {str(e)[-160:]}")
    finite = (np.isfinite(answers) & (np.abs(answers) >= least)).all(1)
    if finite.sum() < 4:
        return skipped.append(f"{name}: too few answers")
    origin = None if native is None else np.asarray(native, dtype=float).reshape(len(x), -1)[finite].tolist()
    folder = OUT / f"{len(made):03d}_{name}"
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(raw)
    (folder / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}\n")
    rows = [[None if np.isnan(v) else float(v) for v in row] for row in x[finite]]
    classifies = len(session.get_outputs()) > 1
    expected = dict(case=folder.name, tolerance=tolerance, task="classification" if classifies else "regression", rows=rows, predict=answers[finite].tolist(), origin=origin)
    (OUT / f"{folder.name}.expected.json").write_text(json.dumps(expected) + "\n")
    made.append(name)

def codes(x):
    """For splits by membership, of which onnxruntime knows integers alone, and reads others as their integer part."""
    return np.trunc(x)

def graph(name, nodes, outputs, x, constants=None, ml=3, opset=20, kind=F, **more):
    initializers = [numpy_helper.from_array(v, k) for k, v in (constants or {}).items()]
    inputs = [helper.make_tensor_value_info("x", kind, [None, x.shape[1]])]
    outputs = [helper.make_tensor_value_info(n, t, s) for n, t, s in outputs]
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml)]
    save(name, helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, initializers), opset_imports=opsets, ir_version=10), x, **more)


# --- tree operators --------------------------------------------------------------------------------------------------

VALUES = [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0]

def questions(width):
    x = rng.choice(VALUES, (40, width))
    x[:12] += rng.normal(size=(12, width))
    x = x.astype(f32)
    x[12:16] = np.nextafter(x[12:16], f32(9))
    x[16:20] = np.nextafter(x[16:20], f32(-9))
    x[30:][rng.random((10, width)) < 0.3] = np.nan
    return x

def shape(depth):
    """A random tree as nested pairs, None for a leaf."""
    return None if depth == 0 or rng.random() < 0.2 else (shape(depth - 1), shape(depth - 1))

def flat(modes, trees, targets, prefix, share=1.0, positive=True, ids=None):
    """Attributes of the older operators."""
    a = {k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true")}
    w = {k: [] for k in ("treeids", "nodeids", "ids", "weights")}
    for t in range(trees):
        count = 0
        def grow(node):
            nonlocal count
            at, me = len(a["treeids"]), count
            count += 1
            for k, v in (("treeids", t), ("nodeids", me), ("featureids", 0), ("values", 0.0), ("modes", "LEAF"), ("truenodeids", 0), ("falsenodeids", 0), ("missing_value_tracks_true", 0)):
                a[k].append(v)
            if node is None:
                for target in range(targets):
                    if rng.random() < share:
                        for k, v in (("treeids", t), ("nodeids", me), ("ids", ids if ids is not None else target), ("weights", float(rng.uniform(0.01, 0.4) if positive else rng.normal()))):
                            w[k].append(v)
                return me
            a["featureids"][at], a["values"][at], a["modes"][at] = number(0, 4), float(pick(*VALUES)), "BRANCH_" + pick(*modes)
            a["missing_value_tracks_true"][at] = number(0, 2)
            a["truenodeids"][at], a["falsenodeids"][at] = grow(node[0]), grow(node[1])
            return me
        grow((shape(3), shape(3)))
    return {**{f"nodes_{k}": v for k, v in a.items()}, **{f"{prefix}_{k}": v for k, v in w.items()}}

def tree_operators():
    every = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ")
    for modes in (*[(m,) for m in every], every, ("LEQ", "EQ")):
        for aggregate in ("SUM", pick("AVERAGE", "MIN", "MAX")):
            more = {"base_values": [0.25]} if rng.random() < 0.5 else {}
            post = pick("NONE", "NONE", "PROBIT") if aggregate != "SUM" else "NONE"
            node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, aggregate_function=aggregate, **more, post_transform=post, **flat(modes, number(1, 5), 1, "target", positive=aggregate != "SUM"))
            graph(f"regressor_{'_'.join(modes)}_{aggregate}", [node], [("y", F, [None, 1])], questions(4), least=0.3 if post == "PROBIT" else 0.0)
    for post in ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"):
        aggregate = pick("SUM", "AVERAGE", "MIN", "MAX")
        node = helper.make_node("TreeEnsembleRegressor", ["x"], ["all"], domain="ai.onnx.ml", n_targets=3, post_transform=post, aggregate_function=aggregate,
                                **flat(every, number(1, 3), 3, "target", share=pick(1.0, 0.7)))
        graph(f"targets_{aggregate}_{post}", [node, helper.make_node("ArrayFeatureExtractor", ["all", "k"], ["y"], domain="ai.onnx.ml")], [("y", F, [None, 1])], questions(4), {"k": np.array([number(0, 3)])}, least=0.3 if post == "PROBIT" else 0.0)
        labels = pick({"classlabels_int64s": [4, 9, 1]}, {"classlabels_strings": ["a", "b", "c"]})
        node = helper.make_node("TreeEnsembleClassifier", ["x"], ["l", "p"], domain="ai.onnx.ml", post_transform=post, **labels, **flat(every, number(1, 4), 3, "class", positive=post != "LOGISTIC"))
        graph(f"classes_{post}", [node], [("l", S if "classlabels_strings" in labels else I, [None]), ("p", F, [None, 3])], questions(4))
        if post != "PROBIT":
            for positive in (True, False):
                more = {"base_values": [float(rng.normal() / 9)]} if rng.random() < 0.5 else {}
                node = helper.make_node("TreeEnsembleClassifier", ["x"], ["l", "p"], domain="ai.onnx.ml", post_transform=post, classlabels_int64s=[0, 1], **more,
                                        **flat(pick(every, ("LT",)), number(1, 4), 1, "class", positive=positive, ids=0))
                graph(f"binary_{post}_{positive}", [node], [("l", I, [None]), ("p", F, [None, 2])], questions(4))

def merged(trees, targets, modes, kind):
    """Attributes of the newer operator; leaves and splits stand in arrays of their own."""
    a = {k: [] for k in ("featureids", "modes", "splits", "truenodeids", "trueleafs", "falsenodeids", "falseleafs", "missing_value_tracks_true")}
    leaves, roots, members = [], [], []
    def grow(node):
        if node is None:
            leaves.append((number(0, targets), float(rng.uniform(0.01, 0.4))))
            return len(leaves) - 1, 1
        at = len(a["modes"])
        mode = int(pick(*modes))
        for k, v in (("featureids", number(0, 4)), ("modes", mode), ("splits", float(pick(*VALUES))), ("truenodeids", 0), ("trueleafs", 0), ("falsenodeids", 0), ("falseleafs", 0), ("missing_value_tracks_true", number(0, 2))):
            a[k].append(v)
        if mode == 6:
            # onnxruntime takes integers only
            members.extend([*rng.choice([-1.0, 0.0, 1.0, 2.0, 3.0, 40.0], number(1, 4), replace=False).tolist(), np.nan])
        a["truenodeids"][at], a["trueleafs"][at] = grow(node[0])
        a["falsenodeids"][at], a["falseleafs"][at] = grow(node[1])
        return at, 0
    for _ in range(trees):
        roots.append(grow((shape(3), shape(3)))[0])
    tensor = lambda values: helper.make_tensor("t", kind, [len(values)], values)
    out = {f"nodes_{k}": v for k, v in a.items()}
    out.update(nodes_modes=helper.make_tensor("m", TensorProto.UINT8, [len(a["modes"])], a["modes"]), nodes_splits=tensor(a["splits"]), tree_roots=roots,
               leaf_targetids=[t for t, _ in leaves], leaf_weights=tensor([w for _, w in leaves]), n_targets=targets)
    return {**out, "membership_values": tensor(members)} if members else out

def tree_ensembles():
    for modes in (*[(m,) for m in range(7)], range(7), (0, 6), (4, 5, 6)):
        aggregate, post = number(0, 4), pick(0, 0, 4)
        node = helper.make_node("TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", aggregate_function=aggregate, post_transform=post, **merged(number(1, 4), 1, modes, F))
        graph(f"ensemble_{''.join(map(str, modes))}_{aggregate}", [node], [("y", F, [None, 1])], codes(questions(4)) if 6 in modes else questions(4), ml=5, least=0.3 if post == 4 else 0.0)
    for post in (0, 3, 4):
        aggregate = number(0, 4)
        node = helper.make_node("TreeEnsemble", ["x"], ["all"], domain="ai.onnx.ml", aggregate_function=aggregate, post_transform=post, **merged(number(2, 5), 2, range(7), F))
        graph(f"ensemble_targets_{aggregate}_{post}", [node, helper.make_node("ArrayFeatureExtractor", ["all", "k"], ["y"], domain="ai.onnx.ml")], [("y", F, [None, 1])], codes(questions(4)), {"k": np.array([number(0, 2)])}, ml=5, least=0.3 if post == 4 else 0.0)
    node = helper.make_node("TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", aggregate_function=1, **merged(3, 1, range(7), TensorProto.DOUBLE))
    graph("ensemble_double", [node], [("y", TensorProto.DOUBLE, [None, 1])], codes(questions(4)).astype(np.float64), ml=5, kind=TensorProto.DOUBLE)


# --- nets and exports ------------------------------------------------------------------------------------------------

def nets():
    for act in ("Relu", "Tanh", "Gelu", "Sigmoid", "Elu", "LeakyRelu", "Softplus", "Identity", "Erf", "Exp"):
        a, b = number(2, 30), number(2, 30)
        W, V, U = (rng.normal(size=s).astype(f32) / 3 for s in ((a, 6), (b, a), (b, 1)))
        c = {"W": W, "V": V, "U": U, "wb": rng.normal(size=a).astype(f32), "vb": rng.normal(size=b).astype(f32), "ub": rng.normal(size=1).astype(f32),
             **{k: rng.uniform(0.5, 1.5, b).astype(f32) for k in ("scale", "mean", "var")}}
        nodes = [helper.make_node("Gemm", ["x", "W", "wb"], ["h"], transB=1), helper.make_node(act, ["h"], ["i"]), helper.make_node("Gemm", ["i", "V", "vb"], ["j"], transB=1, alpha=0.5)]
        norm = pick("none", "batch", "layer", "softmax")
        if norm == "batch": nodes.append(helper.make_node("BatchNormalization", ["j", "scale", "vb", "mean", "var"], ["k"]))
        elif norm == "layer": nodes.append(helper.make_node("LayerNormalization", ["j", "scale", "vb"], ["k"]))
        elif norm == "softmax": nodes.append(helper.make_node("Softmax", ["j"], ["k"]))
        else: nodes.append(helper.make_node("Dropout", ["j"], ["k"]))
        nodes += [helper.make_node("MatMul", ["k", "U"], ["m"]), helper.make_node("Add", ["m", "ub"], ["y"])]
        graph(f"net_{act}_{norm}", nodes, [("y", F, [None, 1])], rng.normal(size=(20, 6)).astype(f32), c, tolerance="net")

def data(task, n=200):
    X = rng.normal(size=(n, number(3, 9))).astype(f32)
    X[:, 0] = rng.integers(-5, 20, n)
    z = X @ rng.normal(size=X.shape[1]) + np.sin(X[:, 1] * 3)
    return X, z if task == "regression" else np.digitize(z, np.quantile(z, [0.5] if task == 2 else [0.3, 0.7]))

def exports():
    R = dict(random_state=number(0, 99))
    size = lambda: dict(max_leaf_nodes=number(4, 20), **R)
    regressors = (DecisionTreeRegressor(**size()), RandomForestRegressor(4, **size()), ExtraTreesRegressor(4, **size()), GradientBoostingRegressor(n_estimators=number(1, 20), **R), HistGradientBoostingRegressor(max_iter=8, **R),
        LinearRegression(), Ridge(), Lasso(0.1), ElasticNet(0.1), SGDRegressor(**R), LinearSVR(**R), SVR(kernel=pick("rbf", "linear", "poly", "sigmoid")),
        make_pipeline(StandardScaler(), Ridge()), make_pipeline(MinMaxScaler(), Lasso(0.01)), make_pipeline(MaxAbsScaler(), LinearRegression()), make_pipeline(RobustScaler(), ElasticNet(0.01)),
        make_pipeline(Normalizer(pick("l1", "l2", "max")), Ridge(0.1)), make_pipeline(PolynomialFeatures(2), Ridge()), make_pipeline(SimpleImputer(strategy=pick("mean", "median")), StandardScaler(), LinearRegression()),
        make_pipeline(SimpleImputer(), GradientBoostingRegressor(n_estimators=9, **R)), make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(9, 5), activation=pick("relu", "tanh", "logistic", "identity"), max_iter=40, **R)),
        make_pipeline(ColumnTransformer([("a", StandardScaler(), [0, 2]), ("b", "passthrough", [1])]), Ridge()))
    classifiers = lambda: (DecisionTreeClassifier(**size()), RandomForestClassifier(4, **size()), ExtraTreesClassifier(4, **size()), GradientBoostingClassifier(n_estimators=number(1, 12), **R), HistGradientBoostingClassifier(max_iter=6, **R),
        LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression(C=0.3)), make_pipeline(StandardScaler(), MLPClassifier(hidden_layer_sizes=(7,), activation=pick("relu", "tanh", "logistic"), max_iter=40, **R)))
    for task, models in (("regression", regressors), (2, classifiers()), (3, classifiers())):
        for model in models:
            X, y = data(task)
            model.fit(X, y)
            x = X[rng.permutation(len(X))[:20]].copy()
            steps = [s for _, s in getattr(model, "steps", [("", model)])]
            if any(isinstance(s, (SimpleImputer, HistGradientBoostingRegressor, HistGradientBoostingClassifier)) for s in steps):
                x[::3, 1] = np.nan
            name = "_".join(type(s).__name__ for s in steps)
            classifies = task != "regression"
            try:
                exported = to_onnx(model, X[:1], options={id(model): {"zipmap": pick(True, False)}} if classifies and len(steps) == 1 and task == 2 else ({id(model): {"zipmap": False}} if classifies else None))
            except Exception as e:
                skipped.append(f"{name}: {str(e)[:100]}")
                continue
            if any(n.op_type == "ZipMap" for n in exported.graph.node):
                without_zipmap(exported, (OUT, f"{name}_zipmap"), x, model.predict_proba(x))
                continue
            save(f"{name}_{task}", exported, x, model.predict_proba(x) if classifies else model.predict(x))

def without_zipmap(model, where, x, native):
    """onnxruntime answers a ZipMap with a list of dicts; the origin's numbers are expected alone."""
    folder = where[0] / f"{len(made):03d}_{where[1]}"
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}\n")
    rows = [[None if np.isnan(v) else float(v) for v in row] for row in x]
    expected = dict(case=folder.name, tolerance="onnx", task="classification", rows=rows, predict=None, origin=native.tolist())
    (where[0] / f"{folder.name}.expected.json").write_text(json.dumps(expected) + "\n")
    made.append(where[1])

def boosters():
    """XGBoost and LightGBM, where they and their converter are installed."""
    try:
        import lightgbm, onnxmltools, xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType
    except ImportError as e:
        return skipped.append(f"boosters: {e}")
    for task in ("regression", 2, 3):
        X, y = data(task, 300)
        X[rng.random(X.shape) < 0.08] = np.nan
        x = X[rng.permutation(len(X))[:24]]
        types = [("x", FloatTensorType([None, X.shape[1]]))]
        more = dict(n_estimators=number(2, 25), max_depth=number(1, 6), random_state=1, n_jobs=1)
        for name, kind, convert in (("xgboost", xgboost.XGBRegressor if task == "regression" else xgboost.XGBClassifier, onnxmltools.convert_xgboost),
                                    ("lightgbm", lightgbm.LGBMRegressor if task == "regression" else lightgbm.LGBMClassifier, onnxmltools.convert_lightgbm)):
            try:
                model = kind(**more, **({"verbose": -1} if name == "lightgbm" else {})).fit(X, y)
                exported = convert(model, initial_types=types, **({"zipmap": False} if name == "lightgbm" else {}))
            except Exception as e:
                skipped.append(f"{name} {task}: {str(e)[:150]}")
                continue
            save(f"{name}_{task}", exported, x, model.predict(x) if task == "regression" else model.predict_proba(x))


if __name__ == "__main__":
    for round in range(ROUNDS):
        for group in (tree_operators, tree_ensembles, nets, exports, boosters):
            group()
    print(len(made), "cases,", f"seed {SEED},", f"{len(skipped)} skipped:", *skipped[:40], sep=" " if not skipped else "\n  ")
