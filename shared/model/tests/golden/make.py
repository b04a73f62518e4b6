#!/usr/bin/env python3
"""Make small model folders of every supported scikit-learn class, with what scikit-learn predicts.

usage: make.py OUT_DIR [SEED]      (pip: scikit-learn skops cloudpickle joblib numpy pandas)

For each case NAME: OUT_DIR/NAME/{MLmodel,model.skops|model.pkl} and OUT_DIR/NAME.expected.json:
  {"case", "task", "n_features", "rows": [[..|null]], "predict": [..], "predict_proba": [[..]]|null, "exact": bool}
`exact`: to the bit; otherwise within 1e-9 relative + 1e-9 absolute. The files go round skops, joblib and the pickle protocols.
"""
import json, pathlib, pickle, sys, warnings
import cloudpickle, joblib, numpy as np, pandas as pd, skops.io
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import (AdaBoostRegressor, BaggingRegressor, ExtraTreesClassifier, ExtraTreesRegressor,
    GradientBoostingClassifier, GradientBoostingRegressor, HistGradientBoostingClassifier, HistGradientBoostingRegressor,
    RandomForestClassifier, RandomForestRegressor, VotingRegressor)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge, RidgeClassifier,
    SGDClassifier, SGDRegressor)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (MaxAbsScaler, MinMaxScaler, Normalizer, OneHotEncoder, OrdinalEncoder,
    PolynomialFeatures, RobustScaler, StandardScaler)
from sklearn.svm import LinearSVC, LinearSVR, SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

warnings.filterwarnings("ignore")
OUT, SEED = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
S = dict(random_state=SEED)
rng = np.random.default_rng(SEED)


def diabetes():
    return load_diabetes(scaled=False, return_X_y=True)

def wide():
    X, y = load_breast_cancer(return_X_y=True)
    return np.hstack([X, X[:, ::-1] * 0.5, X * X]), X[:, 0] * 3 + y

def cancer():
    return load_breast_cancer(return_X_y=True)

def cancer_named():
    X, y = cancer()
    return X, np.array(["malignant", "benign"])[y]

def cancer_objects():
    X, y = cancer()
    return X, np.array(["malignant", "benign"], dtype=object)[y]

def cancer_bool():
    X, y = cancer()
    return X, y == 1

def wine():
    return load_wine(return_X_y=True)

def categories():
    X = rng.integers(0, 4, (300, 5)).astype(float)
    return X, X @ [1.0, -2.0, 0.5, 3.0, 0.0] + rng.normal(size=300)

def holes(X, share=0.06):
    X = X.copy()
    X[rng.random(X.shape) < share] = np.nan
    return X


def thresholds(model):
    members = getattr(model, "estimators_", [])
    for part in [model, *(members.ravel() if isinstance(members, np.ndarray) else members)]:
        if hasattr(part, "tree_"):
            inner = part.tree_.children_left >= 0
            yield from zip(part.tree_.feature[inner].tolist(), part.tree_.threshold[inner].tolist())


def rows(model, X, missing, edges):
    picked = [X[i].copy() for i in rng.permutation(len(X))[:24]]
    marks = [t for t in thresholds(model) if np.isfinite(t[1])] if edges else []
    for k in rng.permutation(len(marks))[:16]:
        feature, t = marks[k]
        row = X[rng.integers(len(X))].copy()
        near = np.float32(t)
        row[feature] = [t, near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf)), np.nextafter(t, np.inf)][k % 5]
        picked.append(row)
    if edges:
        picked += [np.zeros(X.shape[1]), X.mean(0) * 1e3, -X.max(0)]
    if missing:
        for i in range(6):
            row = X[rng.integers(len(X))].copy()
            row[rng.permutation(X.shape[1])[:1 + i % 3]] = np.nan
            picked.append(row)
        picked.append(np.full(X.shape[1], np.nan))
    return np.array(picked)


def dump(model, folder, form):
    folder.mkdir(parents=True, exist_ok=True)
    if form == "skops":
        (folder / "model.skops").write_bytes(skops.io.dumps(model, compression=8))
    elif form in ("joblib", "zlib", "gzip"):
        joblib.dump(model, folder / "model.pkl", compress=0 if form == "joblib" else (form, 6))
    elif form == "cloudpickle":
        (folder / "model.pkl").write_bytes(cloudpickle.dumps(model))
    else:
        (folder / "model.pkl").write_bytes(pickle.dumps(model, protocol=form))
    name = "model.skops" if form == "skops" else "model.pkl"
    (folder / "MLmodel").write_text(f"flavors:\n  sklearn: {{pickled_model: {name}}}\n")


def null(v):
    return [[None if np.isnan(x) else float(x) for x in r] for r in v]


def case(name, model, data, exact=True, missing=False, fit_holes=None, edges=True, form=None, named=False):
    X, y = data()
    if named:
        X = pd.DataFrame(X, columns=load_diabetes().feature_names)
        model.fit(X, y)
        X = X.to_numpy()
    else:
        model.fit(holes(X) if (missing if fit_holes is None else fit_holes) else X, y)
    form = form or FORMS[len(MADE) % len(FORMS)]
    R = rows(model, X, missing, edges)
    asked = pd.DataFrame(R, columns=model.feature_names_in_) if named else R
    proba = model.predict_proba(asked).tolist() if hasattr(model, "predict_proba") else None
    dump(model, OUT / name, form)
    predict = np.asarray(model.predict(asked)).tolist()
    expected = dict(case=f"{name} ({form})", task="classification" if hasattr(model, "classes_") else "regression",
                    n_features=X.shape[1], rows=null(R), predict=predict, predict_proba=proba, exact=exact)
    (OUT / f"{name}.expected.json").write_text(json.dumps(expected) + "\n")
    MADE.append(name)


FORMS, MADE = ["skops", 2, 3, 4, 5, "joblib", "cloudpickle"], []
T = dict(max_leaf_nodes=24)
case("rf_wide", RandomForestRegressor(6, **T, **S), wide)
case("rf_missing", RandomForestRegressor(6, **T, **S), diabetes, missing=True)
case("rf_missing_at_serving_only", RandomForestRegressor(6, **T, **S), diabetes, missing=True, fit_holes=False)
case("et_reg", ExtraTreesRegressor(6, **T, **S), diabetes)
case("et_clf", ExtraTreesClassifier(5, **T, **S), wine)
case("tree_clf_named", DecisionTreeClassifier(**T, **S), cancer_named)
case("tree_reg_missing", DecisionTreeRegressor(**T, **S), diabetes, missing=True)
case("rf_clf_missing", RandomForestClassifier(6, **T, **S), wine, missing=True)
case("gbr_huber", GradientBoostingRegressor(n_estimators=8, loss="huber", **S), diabetes)
case("gbr_zero", GradientBoostingRegressor(n_estimators=8, init="zero", **S), diabetes, form="joblib")
case("gbr_depth_one", GradientBoostingRegressor(n_estimators=20, max_depth=1, **S), diabetes)
case("gb_clf_binary", GradientBoostingClassifier(n_estimators=8, **S), cancer, exact=False)
case("gb_clf_exponential", GradientBoostingClassifier(n_estimators=8, loss="exponential", **S), cancer, exact=False)
case("gb_clf_multi", GradientBoostingClassifier(n_estimators=5, **S), wine, exact=False, form="joblib")
case("hist_reg_missing", HistGradientBoostingRegressor(max_iter=8, max_leaf_nodes=12, **S), diabetes, missing=True)
case("hist_reg_poisson", HistGradientBoostingRegressor(max_iter=8, max_leaf_nodes=12, loss="poisson", **S), diabetes, exact=False)
case("hist_clf_binary", HistGradientBoostingClassifier(max_iter=8, max_leaf_nodes=12, **S), cancer_named, exact=False)
case("hist_clf_multi", HistGradientBoostingClassifier(max_iter=5, max_leaf_nodes=8, **S), wine, exact=False, missing=True)
case("bagging", BaggingRegressor(DecisionTreeRegressor(**T), 5, max_features=0.6, **S), diabetes)
case("adaboost", AdaBoostRegressor(DecisionTreeRegressor(max_depth=3), n_estimators=9, **S), diabetes)
case("voting", VotingRegressor([("a", Ridge()), ("b", DecisionTreeRegressor(**T, **S)), ("c", "drop")], weights=[1, 2, 5]), diabetes, exact=False)
case("voting_plain", VotingRegressor([("a", make_pipeline(StandardScaler(), Lasso())), ("b", LinearRegression())]), diabetes, exact=False)
case("imputer_mean_rf", make_pipeline(SimpleImputer(), StandardScaler(), RandomForestRegressor(5, **T, **S)), diabetes, missing=True)
case("imputer_median_indicator_rf", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), RandomForestRegressor(5, **T, **S)), diabetes, missing=True)
case("imputer_frequent_gbr", make_pipeline(SimpleImputer(strategy="most_frequent"), GradientBoostingRegressor(n_estimators=6, **S)), diabetes, missing=True)
case("imputer_constant_tree", make_pipeline(SimpleImputer(strategy="constant", fill_value=-1.0), DecisionTreeRegressor(**T, **S)), diabetes, missing=True)
case("minmax_clip_rf", make_pipeline(MinMaxScaler(clip=True, feature_range=(-1, 2)), RandomForestRegressor(5, **T, **S)), diabetes)
case("robust_rf", make_pipeline(RobustScaler(), RandomForestRegressor(5, **T, **S)), diabetes)
case("maxabs_et", make_pipeline(MaxAbsScaler(), ExtraTreesRegressor(5, **T, **S)), diabetes)
case("scaler_without_mean", make_pipeline(StandardScaler(with_mean=False), DecisionTreeRegressor(**T, **S)), diabetes)
case("poly_tree", make_pipeline(PolynomialFeatures(2), DecisionTreeRegressor(**T, **S)), diabetes, edges=False)
case("poly_interaction_ridge", make_pipeline(StandardScaler(), PolynomialFeatures(3, interaction_only=True, include_bias=False), Ridge()), diabetes, exact=False, edges=False)
for norm in ("l1", "l2", "max"):
    case(f"normalizer_{norm}_ridge", make_pipeline(Normalizer(norm=norm), Ridge(0.001)), diabetes, exact=False)
case("one_hot_ridge", make_pipeline(OneHotEncoder(), Ridge()), categories, exact=False, edges=False)
case("one_hot_drop_tree", make_pipeline(OneHotEncoder(drop="first", handle_unknown="ignore", sparse_output=False), DecisionTreeRegressor(**T, **S)), categories)
case("ordinal_rf", make_pipeline(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), RandomForestRegressor(5, **T, **S)), categories)
case("columns", make_pipeline(ColumnTransformer([
    ("num", make_pipeline(SimpleImputer(), StandardScaler()), [0, 2, 3]), ("hot", OneHotEncoder(handle_unknown="ignore"), [1]),
    ("gone", "drop", [9])], remainder="passthrough"), RandomForestRegressor(5, **T, **S)), diabetes, edges=False)
case("columns_slice", make_pipeline(ColumnTransformer([("a", MinMaxScaler(), slice(2, 5)), ("b", "passthrough", slice(7, 9))]), Ridge()), diabetes, exact=False)
for form in ("skops", "cloudpickle", "joblib"):
    case(f"columns_named_{form}", make_pipeline(ColumnTransformer([("a", StandardScaler(), ["bmi", "bp"]), ("b", "passthrough", ["s5"])],
        remainder=MinMaxScaler()), DecisionTreeRegressor(max_depth=4, **S)), diabetes, edges=False, named=True, form=form)
    case(f"labels_objects_{form}", DecisionTreeClassifier(max_depth=2, **S), cancer_objects, form=form)
case("labels_bool", DecisionTreeClassifier(max_depth=2, **S), cancer_bool)
case("linear", LinearRegression(), diabetes, exact=False)
case("lasso", make_pipeline(StandardScaler(), Lasso(0.1)), diabetes, exact=False)
case("elastic_net", make_pipeline(StandardScaler(), ElasticNet(0.1)), diabetes, exact=False)
case("sgd_reg", make_pipeline(StandardScaler(), SGDRegressor(**S)), diabetes, exact=False)
case("logistic_binary", make_pipeline(StandardScaler(), LogisticRegression()), cancer_named, exact=False)
case("logistic_multi", make_pipeline(StandardScaler(), LogisticRegression()), wine, exact=False)
case("ridge_clf", make_pipeline(StandardScaler(), RidgeClassifier()), wine, exact=False)
case("sgd_clf_hinge", make_pipeline(StandardScaler(), SGDClassifier(**S)), cancer, exact=False)
case("sgd_clf_log", make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", **S)), wine, exact=False)
case("linear_svr", make_pipeline(StandardScaler(), LinearSVR(**S)), diabetes, exact=False)
case("linear_svc", make_pipeline(StandardScaler(), LinearSVC(**S)), wine, exact=False)
case("svr_rbf", make_pipeline(StandardScaler(), SVR(C=50.0)), diabetes, exact=False)
case("svr_linear", make_pipeline(StandardScaler(), SVR(kernel="linear")), diabetes, exact=False)
case("svr_poly", make_pipeline(StandardScaler(), SVR(kernel="poly", degree=2, coef0=1.0)), diabetes, exact=False)
for act in ("tanh", "logistic", "identity"):
    case(f"mlp_reg_{act}", make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(8, 5), activation=act, max_iter=60, **S)), diabetes, exact=False)
case("mlp_clf_binary", make_pipeline(StandardScaler(), MLPClassifier(hidden_layer_sizes=(8,), max_iter=60, **S)), cancer, exact=False)
case("mlp_clf_multi", make_pipeline(StandardScaler(), MLPClassifier(hidden_layer_sizes=(8,), max_iter=60, **S)), wine, exact=False)
case("compressed_zlib_rf", RandomForestRegressor(4, **T, **S), diabetes, form="zlib")
case("compressed_gzip_columns", make_pipeline(ColumnTransformer([("a", StandardScaler(), ["bmi", "bp"])], remainder="passthrough"), Ridge()), diabetes, exact=False, named=True, form="gzip")

def codes():
    X, y = categories()
    X[:, 1] = rng.integers(0, 40, len(X)) * 2
    return X, y + np.isin(X[:, 1], (4, 18, 20, 62)) * 5

CATEGORIES = dict(max_iter=8, max_leaf_nodes=10, min_samples_leaf=3, categorical_features=[1, 3], **S)
case("hist_reg_categories", HistGradientBoostingRegressor(**CATEGORIES), codes, missing=True)
case("hist_clf_categories", make_pipeline(HistGradientBoostingClassifier(early_stopping=True, **CATEGORIES)), lambda: (codes()[0], np.digitize(codes()[1], [0, 4])), exact=False, missing=True, form="skops")

def rare():
    X = np.column_stack([rng.geometric(0.3, 300), rng.geometric(0.15, 300), rng.integers(0, 2, 300)]).astype(float)
    return X, X @ [1.0, -0.5, 3.0] + rng.normal(size=300)

case("one_hot_infrequent", make_pipeline(OneHotEncoder(min_frequency=20, handle_unknown="infrequent_if_exist", drop="first"), DecisionTreeRegressor(**T, **S)), rare)
case("ordinal_infrequent", make_pipeline(OrdinalEncoder(max_categories=4, handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2), DecisionTreeRegressor(**T, **S)), rare, missing=True)
case("sgd_clf_modified_huber", make_pipeline(StandardScaler(), SGDClassifier(loss="modified_huber", **S)), wine, exact=False)
print(len(MADE), "cases,", sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file()) // 1024, "KiB")
