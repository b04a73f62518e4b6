#!/usr/bin/env python3
"""Fit random models of every class the model readers know, save them in every form, and write down what they predict.

usage: sklearn_cases.py OUT_DIR [SEED [ROUNDS]]     (packages: sklearn_requirements.txt)

For each case NAME: OUT_DIR/NAME/{MLmodel,model.*} and OUT_DIR/NAME.expected.json, one of
  {"case", "tolerance": "exact"|"close"|"onnx", "task", "rows": [[..|null]], "predict": [..], "predict_proba": [[..]]|null}
  {"case", "refused": "what the error must name"}
Rows hold training rows, values at thresholds and one float beside them, zeros, subnormals, huge values and, where the
model takes them, missing values. `onnx` cases expect what onnxruntime answers ("predict"), or the origin ("origin").
"""
import json, pathlib, pickle, sys, warnings
import cloudpickle, joblib, numpy as np, pandas as pd, skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import *
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import *
from sklearn.linear_model import Perceptron
from sklearn.manifold import Isomap
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import *
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

warnings.filterwarnings("ignore")
OUT = pathlib.Path(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 1
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 2
OUT.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(SEED)
np.random.seed(SEED)  # estimators without a random_state draw from here
pick = lambda *options: options[rng.integers(len(options))]
number = lambda low, high: int(rng.integers(low, high))
FORMS = ["skops", 2, 3, 4, 5, "joblib", "cloudpickle", "joblib-zlib", "joblib-gzip"]
made, skipped = [], []


# --- data ------------------------------------------------------------------------------------------------------------

def table(n=240, d=None):
    """Columns of many kinds: normal, integers that sit on thresholds, tiny, large, few values."""
    d = d or number(3, 11)
    kinds = [lambda: rng.normal(size=n), lambda: rng.integers(-20, 60, n).astype(float), lambda: rng.normal(size=n) * 1e-3,
             lambda: rng.normal(size=n) * 1e4 + 1e3, lambda: rng.integers(0, 3, n).astype(float), lambda: rng.exponential(size=n)]
    return np.column_stack([pick(*kinds)() for _ in range(d)])

def signal(X):
    Z = (X - X.mean(0)) / (X.std(0) + 1e-12)
    return Z @ rng.normal(size=X.shape[1]) + np.sin(2 * Z[:, 0]) + rng.normal(size=len(X)) * 0.3

def classes(X, count, kind):
    y = np.digitize(signal(X), np.quantile(signal(X), np.linspace(0, 1, count + 1)[1:-1]))
    names = {"int": np.array([7, -3, 0, 12, 5]), "str": np.array(["no", "yes", "Ünsure", "n/a", "x y"]),
             "object": np.array(["no", "yes", "maybe", "n/a", "x"], dtype=object), "bool": np.array([False, True]),
             "plain": np.arange(5)}[kind]
    return names[y]

def holes(X, share=0.08):
    X = X.copy()
    X[rng.random(X.shape) < share] = np.nan
    return X

def marks(model):
    """(feature, threshold) of all trees that see raw columns."""
    members = [model, *np.ravel(getattr(model, "estimators_", []))]
    for part in members:
        if hasattr(part, "tree_"):
            inner = part.tree_.children_left >= 0
            yield from zip(part.tree_.feature[inner].tolist(), part.tree_.threshold[inner].tolist())
    for iteration in getattr(model, "_predictors", []):
        for tree in iteration:
            inner = tree.nodes[(tree.nodes["is_leaf"] == 0) & (tree.nodes["is_categorical"] == 0)]
            yield from zip(inner["feature_idx"].tolist(), inner["num_threshold"].tolist())

def questions(model, X, missing, odd=True):
    rows = [X[i].copy() for i in rng.permutation(len(X))[:10]]
    at = [m for m in marks(model) if np.isfinite(m[1]) and m[0] < X.shape[1]] if odd else []
    for k in rng.permutation(len(at))[:14]:
        feature, t = at[k]
        near = np.float32(t)
        row = X[rng.integers(len(X))].copy()
        row[feature] = pick(t, np.nextafter(t, np.inf), np.nextafter(t, -np.inf), near, np.nextafter(near, np.float32(np.inf)),
                            np.nextafter(near, np.float32(-np.inf)))
        rows.append(row)
    if odd:
        for value in (0.0, -0.0, 5e-324, -1e-310, 1e-40, 3e38, -3e38, 1e30, -7e12):
            row = X[rng.integers(len(X))].copy()
            row[rng.integers(X.shape[1])] = value
            rows.append(row)
        rows.append(np.zeros(X.shape[1]))
    rows = [np.nan_to_num(r) if not missing else r for r in rows]
    if missing:
        for i in range(5):
            row = X[rng.integers(len(X))].copy()
            row[rng.permutation(X.shape[1])[:1 + i % 3]] = np.nan
            rows.append(row)
        rows.append(np.full(X.shape[1], np.nan))
    return np.array(rows)


# --- files -----------------------------------------------------------------------------------------------------------

def dump(model, folder, form):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ("model.skops" if form == "skops" else "model.pkl")
    if form == "skops":
        file.write_bytes(skops.io.dumps(model, compression=int(pick(0, 8))))
    elif form == "cloudpickle":
        file.write_bytes(cloudpickle.dumps(model))
    elif str(form).startswith("joblib"):
        joblib.dump(model, file, compress={"joblib": 0, "joblib-zlib": ("zlib", 3), "joblib-gzip": ("gzip", 6)}[form])
    else:
        file.write_bytes(pickle.dumps(model, protocol=form))
    (folder / "MLmodel").write_text(f"flavors:\n  sklearn: {{pickled_model: {file.name}}}\n")

def null(rows):
    return [[None if np.isnan(v) else float(v) for v in r] for r in np.asarray(rows, dtype=float)]

def write(name, **expected):
    (OUT / f"{name}.expected.json").write_text(json.dumps(dict(case=name, **expected)) + "\n")
    made.append(name)

def label(name):
    return f"{len(made):03d}_{name}"

def case(name, model, X, y, exact=False, missing=False, weights=False, odd=None, named=False, fit_holes=True, form=None, rows=None):
    extra = {"sample_weight": rng.uniform(0.2, 3.0, len(X))} if weights else {}
    given = holes(X) if missing and fit_holes else X
    if named:
        given = pd.DataFrame(given, columns=[f"c{i}" for i in range(X.shape[1])])
    model.fit(given, y, **extra)
    rows = questions(model, X, missing, exact if odd is None else odd) if rows is None else rows
    queried = pd.DataFrame(rows, columns=given.columns) if named else rows
    try:
        predict = np.asarray(model.predict(queried))
        proba = model.predict_proba(queried).tolist() if hasattr(model, "predict_proba") else None
    except ValueError as e:
        skipped.append(f"{name}: {e}")
        return model
    form = form or FORMS[len(made) % len(FORMS)]
    name = label(f"{name}_{form}")
    dump(model, OUT / name, form)
    write(name, tolerance="exact" if exact else "close", task="classification" if hasattr(model, "classes_") else "regression",
          rows=null(rows), predict=predict.tolist(), predict_proba=proba)
    return model

def refused(name, model, X, y, what, form):
    model.fit(X, y)
    name = label(f"refused_{name}_{form}")
    dump(model, OUT / name, form)
    write(name, refused=what)


# --- scikit-learn ----------------------------------------------------------------------------------------------------

def size():
    return pick({"max_leaf_nodes": number(4, 40)}, {"max_depth": number(1, 7)}, {"min_samples_leaf": number(1, 9), "max_depth": 6},
                {"min_samples_split": 0.05, "ccp_alpha": 0.01}, {"min_impurity_decrease": 0.001, "max_depth": 8})

def trees():
    S = dict(random_state=number(0, 1000))
    for reg, clf in ((DecisionTreeRegressor, DecisionTreeClassifier), (ExtraTreeRegressor, ExtraTreeClassifier),
                     (RandomForestRegressor, RandomForestClassifier), (ExtraTreesRegressor, ExtraTreesClassifier)):
        many = {"n_estimators": number(1, 9), "bootstrap": pick(True, False)} if "ensemble" in reg.__module__ else {}
        missing = pick(True, False)
        X = table()
        y = signal(X)
        criterion = pick("squared_error", "friedman_mse") if missing else pick("squared_error", "absolute_error", "poisson", "friedman_mse")
        more = {"monotonic_cst": [pick(-1, 0, 1) for _ in range(X.shape[1])]} if criterion in ("squared_error", "poisson") and not missing and rng.random() < 0.4 else {}
        case(reg.__name__, reg(criterion=criterion, max_features=pick(None, 0.6, "sqrt"), **many, **more, **size(), **S), X,
             np.exp(y / 3) if criterion == "poisson" else y, exact=True, missing=missing, weights=pick(True, False), fit_holes=pick(True, False))
        kind = pick("int", "str", "bool", "object", "plain")
        count = 2 if kind == "bool" else number(2, 6)
        case(clf.__name__, clf(criterion=pick("gini", "entropy", "log_loss"), class_weight=pick(None, "balanced"), **many, **size(), **S),
             X, classes(X, count, kind), exact=True, missing=pick(True, False), weights=pick(True, False))

def boosting():
    S = dict(random_state=number(0, 1000))
    X = table()
    case("GradientBoostingRegressor", GradientBoostingRegressor(n_estimators=number(1, 25), loss=pick("squared_error", "absolute_error", "huber", "quantile"),
         init=pick(None, "zero"), subsample=pick(1.0, 0.6), learning_rate=pick(0.1, 0.5), max_depth=number(1, 5), max_features=pick(None, 0.5), **S),
         X, signal(X), exact=True, weights=pick(True, False))
    for loss, count in ((pick("log_loss", "exponential"), 2), ("log_loss", number(3, 6))):
        case(f"GradientBoostingClassifier_{loss}_{count}", GradientBoostingClassifier(n_estimators=number(2, 12), loss=loss, init=pick(None, "zero"), **size(), **S),
             X, classes(X, count, pick("int", "str", "plain")), weights=pick(True, False), odd=True)
    y = signal(X)
    loss = pick("squared_error", "absolute_error", "gamma", "poisson", "quantile")
    case(f"HistGradientBoostingRegressor_{loss}", HistGradientBoostingRegressor(max_iter=number(2, 20), max_leaf_nodes=number(3, 20), max_bins=pick(255, 8, 40), loss=loss,
         quantile=0.7 if loss == "quantile" else None, l2_regularization=pick(0.0, 1.0), early_stopping=pick(True, False), min_samples_leaf=number(2, 20), **S),
         X, np.exp(y / 4) if loss in ("gamma", "poisson") else y, exact=loss not in ("gamma", "poisson"), missing=pick(True, False), odd=True)
    for count in (2, number(3, 5)):
        case(f"HistGradientBoostingClassifier_{count}", HistGradientBoostingClassifier(max_iter=number(2, 10), max_leaf_nodes=number(3, 14), class_weight=pick(None, "balanced"), **S),
             X, classes(X, count, pick("int", "str", "plain")), missing=pick(True, False), weights=pick(True, False), odd=True)

def categorical_boosting():
    """Categories as codes with gaps; queried with known, unknown, negative, fractional and missing ones."""
    X = table(300, 6)
    X[:, 1], X[:, 4] = rng.integers(0, 12, 300) * 3, rng.integers(0, 200, 300)
    y = signal(X) + np.isin(X[:, 1], (3, 9, 21)) * 4 + (X[:, 4] % 7 == 2) * 3
    rows = questions(None, X, True, odd=False)
    for value in (0, 1, 3, 21, 33, 34, 199, 200, 255, 256, 1000, -1, -5, 2.5, 1e30):
        row = X[rng.integers(300)].copy()
        row[pick(1, 4)] = value
        rows = np.vstack([rows, row])
    S = dict(random_state=number(0, 1000), max_iter=15, max_leaf_nodes=12, min_samples_leaf=3, categorical_features=[1, 4])
    case("HistGradientBoostingRegressor_categories", HistGradientBoostingRegressor(early_stopping=pick(True, False), **S), X, y, exact=True, missing=pick(True, False), rows=rows)
    case("HistGradientBoostingClassifier_categories", HistGradientBoostingClassifier(**S), X, np.digitize(y, [-1, 2]), missing=True, rows=rows)
    case("HistGradientBoostingRegressor_all_categories", HistGradientBoostingRegressor(**{**S, "categorical_features": [0, 1]}), X[:, [1, 4]], y, exact=True, rows=rows[:, [1, 4]])

def committees():
    S = dict(random_state=number(0, 1000))
    X = table()
    y = signal(X)
    case("BaggingRegressor_trees", BaggingRegressor(DecisionTreeRegressor(**size(), **S), number(1, 8), max_features=pick(1.0, 0.5), bootstrap_features=pick(True, False), **S), X, y, exact=True, odd=False)
    case("BaggingRegressor_pipelines", BaggingRegressor(make_pipeline(StandardScaler(), Ridge()), 4, max_samples=0.7, **S), X, y)
    case("AdaBoostRegressor", AdaBoostRegressor(DecisionTreeRegressor(max_depth=number(1, 5)), n_estimators=number(1, 10), loss=pick("linear", "square", "exponential"), **S), X, y, exact=True, weights=pick(True, False))
    case("VotingRegressor", VotingRegressor([("a", Ridge()), ("b", pick("drop", Lasso(0.1))), ("c", make_pipeline(RobustScaler(), GradientBoostingRegressor(n_estimators=5, **S)))], weights=pick(None, [1, 2, 0.5])), X, y)

def linear():
    S = dict(random_state=number(0, 1000))
    X = StandardScaler().fit_transform(table())
    y = signal(X)
    for model in (LinearRegression(fit_intercept=pick(True, False), positive=pick(True, False)), Ridge(alpha=pick(0.1, 10.0), solver=pick("auto", "svd", "lsqr", "sag"), fit_intercept=pick(True, False)),
                  RidgeCV(), Lasso(0.05), LassoCV(cv=3), ElasticNet(0.05), ElasticNetCV(cv=3), Lars(), LassoLars(0.01), BayesianRidge(), ARDRegression(), HuberRegressor(max_iter=500),
                  SGDRegressor(loss=pick("squared_error", "huber", "epsilon_insensitive"), penalty=pick("l1", "l2", "elasticnet"), average=pick(True, False), **S),
                  LinearSVR(max_iter=2000, **S), QuantileRegressor(quantile=0.6, alpha=0.01), TheilSenRegressor(max_subpopulation=50, n_jobs=1, **S)):
        case(type(model).__name__, model, X, y)
    for count in (2, number(3, 6)):
        y = classes(X, count, pick("int", "str", "object", "plain"))
        for model in (LogisticRegression(C=pick(0.1, 10.0), class_weight=pick(None, "balanced"), fit_intercept=pick(True, False)), LogisticRegressionCV(Cs=3, cv=3), RidgeClassifier(),
                      SGDClassifier(loss=pick("log_loss", "hinge", "modified_huber", "squared_hinge", "perceptron"), **S), LinearSVC(**S), Perceptron(**S)):
            case(f"{type(model).__name__}_{count}", model, X, y)
    case("LogisticRegression_liblinear", LogisticRegression(solver="liblinear", penalty=pick("l1", "l2")), X, classes(X, 2, "int"))
    case("SGDClassifier_modified_huber", SGDClassifier(loss="modified_huber", **S), X, classes(X, pick(2, 4), "int"))

def kernels_and_nets():
    S = dict(random_state=number(0, 1000))
    X = StandardScaler().fit_transform(table())
    y = signal(X)
    for kernel in ("linear", "rbf", "poly", "sigmoid"):
        case(f"SVR_{kernel}", pick(SVR, NuSVR)(kernel=kernel, C=pick(1.0, 20.0), gamma=pick("scale", "auto", 0.05), coef0=pick(0.0, 0.5), degree=number(2, 5)), X, y)
    for activation in ("relu", "tanh", "logistic", "identity"):
        hidden = tuple(number(2, 20) for _ in range(number(1, 4)))
        case(f"MLPRegressor_{activation}", MLPRegressor(hidden_layer_sizes=hidden, activation=activation, max_iter=30, **S), X, y)
        count = number(2, 5)
        case(f"MLPClassifier_{activation}_{count}", MLPClassifier(hidden_layer_sizes=hidden, activation=activation, max_iter=30, **S), X, classes(X, count, pick("int", "str", "plain")))
    case("MLPRegressor_poisson", MLPRegressor(hidden_layer_sizes=(6,), loss="poisson", max_iter=30, **S), X, np.exp(y / 4))

def scalers():
    tree = lambda: pick(DecisionTreeRegressor(max_leaf_nodes=30, random_state=1), RandomForestRegressor(4, max_leaf_nodes=20, random_state=1))
    for step in (StandardScaler(with_mean=pick(True, False), with_std=pick(True, False)), MinMaxScaler(clip=pick(True, False), feature_range=pick((0, 1), (-2, 3))),
                 RobustScaler(with_centering=pick(True, False), quantile_range=pick((25.0, 75.0), (5, 90)), unit_variance=pick(True, False)), MaxAbsScaler(), PolynomialFeatures(pick(2, (1, 2)), interaction_only=pick(True, False), include_bias=pick(True, False)),
                 FunctionTransformer(), "passthrough"):
        X = table(d=5)
        X[:, 2] = pick(X[:, 2], 4.0)
        missing = not isinstance(step, PolynomialFeatures) and pick(True, False)
        case(f"{type(step).__name__}_tree", Pipeline([("s", step), ("t", tree())]), X, signal(X), exact=True, missing=missing, odd=False)
    case("Normalizer_tree", make_pipeline(Normalizer(pick("l1", "max")), tree()), X := table(d=4), signal(X), exact=True, odd=False)
    case("Normalizer_ridge", make_pipeline(Normalizer("l2"), Ridge(0.01)), X, signal(X))
    case("nested", make_pipeline(make_pipeline(StandardScaler(), FunctionTransformer()), make_pipeline(PolynomialFeatures(2), make_pipeline(tree()))), X, signal(X), exact=True, odd=False)

def imputers():
    for strategy in ("mean", "median", "most_frequent", "constant"):
        X = table(d=6)
        X[:, 3] = pick(X[:, 3], np.nan)
        model = make_pipeline(SimpleImputer(strategy=strategy, fill_value=-2.5 if strategy == "constant" else None, add_indicator=pick(True, False), keep_empty_features=pick(True, False)),
                              DecisionTreeRegressor(max_leaf_nodes=25, random_state=1))
        case(f"SimpleImputer_{strategy}", model, X, signal(np.nan_to_num(X)), exact=True, missing=True, odd=False)
    X = table(d=4)
    X[rng.random(X.shape) < 0.1] = -999.0
    case("SimpleImputer_marker", make_pipeline(SimpleImputer(missing_values=-999.0, add_indicator=pick(True, False)), Ridge()), X, signal(X))

def encoders():
    n = 400
    X = np.column_stack([rng.geometric(0.3, n), rng.geometric(0.15, n) * 2.5, rng.integers(0, 2, n), rng.zipf(2.0, n).clip(0, 40)]).astype(float)
    y = signal(X)
    gaps = X.copy()
    gaps[rng.random(X.shape) < 0.1] = np.nan
    strange = np.vstack([X[:20], X[:6] + 0.25, np.full((1, 4), -1.0), np.full((1, 4), 1e30), np.zeros((1, 4))])
    for model in (OneHotEncoder(min_frequency=pick(0.05, 20), handle_unknown="infrequent_if_exist"), OneHotEncoder(max_categories=number(2, 5), handle_unknown="infrequent_if_exist", drop=pick(None, "first", "if_binary"), sparse_output=False),
                  OneHotEncoder(min_frequency=15, handle_unknown="ignore", drop=pick(None, "first")), OneHotEncoder(handle_unknown="ignore", drop=pick("first", "if_binary", None), sparse_output=False),
                  OneHotEncoder(handle_unknown="warn", max_categories=4), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-7, min_frequency=20),
                  OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-7, max_categories=3, encoded_missing_value=-2)):
        case(f"{type(model).__name__}_tree", make_pipeline(model, DecisionTreeRegressor(max_leaf_nodes=40, random_state=2)), X, y, exact=not getattr(model, "sparse_output", False), rows=strange)
        holed = np.vstack([strange, gaps[:25]])
        case(f"{type(model).__name__}_missing", make_pipeline(model, DecisionTreeRegressor(max_leaf_nodes=40, random_state=2)), gaps, y, exact=not getattr(model, "sparse_output", False), rows=holed)
    known = X[:30]
    case("OneHotEncoder_error", make_pipeline(OneHotEncoder(min_frequency=10), Ridge()), X, y, rows=known)
    case("OrdinalEncoder_error", make_pipeline(OrdinalEncoder(max_categories=6), Ridge()), X, y, rows=known)

def columns():
    X = table(d=7)
    X[:, 5] = rng.integers(0, 4, len(X))
    y = signal(X)
    T = lambda: RandomForestRegressor(3, max_leaf_nodes=20, random_state=3)
    mask = np.array([False, True, False, False, True, False, False])
    for name, parts, more in (
            ("indices", [("a", make_pipeline(SimpleImputer(), StandardScaler()), [0, 3]), ("b", OneHotEncoder(handle_unknown="ignore"), [5])], dict(remainder=pick("drop", "passthrough"))),
            ("mask", [("a", MinMaxScaler(), mask), ("b", "passthrough", slice(2, 4))], dict(remainder=StandardScaler())),
            ("negative", [("a", RobustScaler(), [-1, -3]), ("b", "drop", [0]), ("c", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=9), [5])], dict(remainder="passthrough")),
            ("repeated", [("a", MaxAbsScaler(), [0, 1, 1]), ("b", "passthrough", [1]), ("none", StandardScaler(), [])], {}),
            ("nested", [("a", ColumnTransformer([("x", MinMaxScaler(), [0]), ("y", "passthrough", [1])]), [2, 3])], dict(remainder=FunctionTransformer()))):
        case(f"ColumnTransformer_{name}", make_pipeline(ColumnTransformer(parts, **more), T()), X, y, exact=name != "indices", odd=False, missing=False)
    for form in ("skops", "cloudpickle", "joblib-zlib"):
        parts = [("a", StandardScaler(), ["c1", "c4"]), ("b", PolynomialFeatures(2), ["c0", "c6"])]
        case("ColumnTransformer_names", make_pipeline(ColumnTransformer(parts, remainder=pick("passthrough", "drop", MinMaxScaler())), T()), X, y, exact=True, named=True, odd=False, form=form)

def refusals():
    X = np.abs(table(d=4)) + 1
    y = signal(X)
    two = np.column_stack([y, -y])
    for name, model, target, what, form in (
            ("lambda", make_pipeline(FunctionTransformer(lambda x: x * 2), Ridge()), y, "FunctionTransformer", "cloudpickle"),
            ("embedding", make_pipeline(Isomap(), Ridge()), y, "Isomap", 4)):
        refused(name, model, X, target, what, form)


if __name__ == "__main__":
    for round in range(ROUNDS):
        for group in (trees, boosting, categorical_boosting, committees, linear, kernels_and_nets, scalers, imputers, encoders, columns):
            group()
    refusals()
    print(len(made), "cases", f"seed {SEED},", f"{len(skipped)} skipped:", *skipped[:5], sep=" ")
