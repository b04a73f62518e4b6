#!/usr/bin/env python3
"""Fit random pipelines of the kinds that people register (text, categories, several outputs, estimators of estimators) and
write down what they predict.

usage: pipeline_cases.py OUT_DIR [SEED [ROUNDS]]     (packages: sklearn_requirements.txt)

For each case NAME: OUT_DIR/NAME/{MLmodel,model.*} and OUT_DIR/NAME.expected.json, one of
  {"case", "rows": [[..] | {..}], "predict": [value | [values]], "predict_proba": [[..]]|null, "decision": [[..]]|null}
  {"case", "refused": "what the error must name"}
A case that scikit-learn itself refuses is left out and counted.
"""
import json, pathlib, pickle, sys, warnings
import catboost, cloudpickle, joblib, lightgbm, numpy as np, pandas as pd, skops.io, xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import AffinityPropagation, Birch, BisectingKMeans, FeatureAgglomeration, KMeans, MeanShift, MiniBatchKMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.covariance import EllipticEnvelope
from sklearn.cross_decomposition import CCA, PLSCanonical, PLSRegression
from sklearn.decomposition import *
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import *
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import *
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, RationalQuadratic, RBF, WhiteKernel
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator, SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_approximation import *
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import *
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, RandomizedSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import *
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import *
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection
from sklearn.semi_supervised import LabelPropagation, LabelSpreading
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC, NuSVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

warnings.filterwarnings("ignore")
OUT = pathlib.Path(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 1
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 1
OUT.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(SEED)
np.random.seed(SEED)  # estimators without a random_state draw from here
pick = lambda *options: options[rng.integers(len(options))]
number = lambda low, high: int(rng.integers(low, high))
FORMS = ["skops", 4, "cloudpickle", "joblib", 5, "joblib-zlib", 2]
made, skipped = [], []


# --- data ------------------------------------------------------------------------------------------------------------

def table(n=220, d=None):
    d = d or number(4, 9)
    kinds = [lambda: rng.normal(size=n), lambda: rng.integers(0, 9, n).astype(float), lambda: rng.exponential(size=n) * 30,
             lambda: rng.normal(size=n) * 100 + 400, lambda: rng.uniform(0.1, 3, n)]
    return np.column_stack([pick(*kinds)() for _ in range(d)])

def signal(X):
    Z = (X - X.mean(0)) / (X.std(0) + 1e-12)
    return Z @ rng.normal(size=X.shape[1]) + np.sin(2 * Z[:, 0]) + rng.normal(size=len(X)) * 0.3

def classes(X, count, kind=None):
    y = np.digitize(signal(X), np.quantile(signal(X), np.linspace(0, 1, count + 1)[1:-1]))
    names = {"int": np.array([3, 5, 8, 13, 21]), "str": np.array(["no", "yes", "Ünsure", "n/a", "x y"]), "plain": np.arange(5)}
    return names[kind or pick("int", "str", "plain")][y]

CITIES = ["Köln", "Lyon", "New York", "São Paulo", "Łódź", "東京", "", "a b", "O'Hara"]
def frame(n=300, holes=False):
    df = pd.DataFrame({"age": rng.integers(18, 90, n), "income": np.round(rng.normal(40000, 9000, n), 2), "city": rng.choice(CITIES[:number(3, 10)], n),
                       "plan": rng.choice(["free", "pro", "team"], n, p=[0.6, 0.3, 0.1]), "active": rng.random(n) < 0.5, "grade": rng.choice([1, 2, 5, 7], n),
                       "ratio": rng.choice([0.5, 1.0, 2.25], n)})
    df["city"], df["plan"] = df["city"].astype(object), df["plan"].astype(object)
    y = df["income"] / 1e4 + df["city"].map(lambda c: len(c)) - (df["plan"] == "pro") * 3 + df["active"] + rng.normal(size=n) * 0.4
    if holes:
        for c in ("income", "city", "plan", "ratio"):
            df.loc[rng.random(n) < 0.1, c] = None if df[c].dtype == object else np.nan
    return df, y.to_numpy()

WORDS = "great slow service Fast awful the and a of l'été naïve café STRASSE straße İstanbul ΟΔΟΣ 中文 x_y 42 3.14 don't e-mail re:re love hate very".split()
def documents(n=160):
    return np.array([" ".join(rng.choice(WORDS, number(1, 12))) + pick("", "!", ".  \t ok", "\n", " ①②") for _ in range(n)], dtype=object)


# --- files -----------------------------------------------------------------------------------------------------------

def dump(model, folder, form):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ("model.skops" if form == "skops" else "model.pkl")
    if form == "skops":
        file.write_bytes(skops.io.dumps(model))
    elif form == "cloudpickle":
        file.write_bytes(cloudpickle.dumps(model))
    elif str(form).startswith("joblib"):
        joblib.dump(model, file, compress={"joblib": 0, "joblib-zlib": ("zlib", 3)}[form])
    else:
        file.write_bytes(pickle.dumps(model, protocol=form))
    return file

KINDS = {"i": "long", "f": "double", "b": "boolean", "O": "string", "U": "string"}
def describe(folder, file, X):
    signature = ""
    if isinstance(X, pd.DataFrame):
        columns = [{"type": KINDS.get(X[c].dtype.kind, "string"), "name": c, "required": True} for c in X.columns]
        signature = f"signature: {{inputs: {json.dumps(json.dumps(columns))}}}\n"
    (folder / "MLmodel").write_text(f"flavors:\n  sklearn: {{pickled_model: {file.name}}}\n{signature}")

def plain(v):
    if isinstance(v, (np.ndarray, list, tuple)): return [plain(x) for x in v]
    if isinstance(v, np.generic): v = v.item()
    if v is None or v is pd.NA or (isinstance(v, float) and np.isnan(v)): return None
    return v

def rows_of(X):
    if isinstance(X, pd.DataFrame): return [{k: plain(v) for k, v in r.items()} for r in X.to_dict("records")]
    return [plain(r) if isinstance(r, np.ndarray) else [plain(r)] for r in X]

def case(name, model, X, y, Q=None, form=None, decision=True, alone=False, method="predict"):
    """`alone`: what is expected of each row is what it is answered in a batch of one."""
    try:
        model.fit(X, y)
        Q = X[:25] if Q is None else Q
        answer = getattr(model, method)
        predict = np.concatenate([answer(Q[i:i + 1]) for i in range(len(Q))]) if alone else answer(Q)
        # Gaussian processes that are compared pair by pair have the method alone
        pairs = getattr(model, "multi_class", None) == "one_vs_one" and len(model.classes_) > 2
        proba = model.predict_proba(Q) if hasattr(model, "predict_proba") and not pairs else None
        scores = model.decision_function(Q) if decision and hasattr(model, "decision_function") else None
    except Exception as e:
        skipped.append(f"{name}: {type(e).__name__} {str(e)[:150]}")
        return
    if isinstance(proba, list):
        proba = [np.concatenate([p[i] for p in proba]) for i in range(len(Q))]
    forms = [form] if form else [FORMS[len(made) % len(FORMS)]]
    for form in forms:
        label = f"{len(made):03d}_{name}_{form}"
        try:
            file = dump(model, OUT / label, form)
        except Exception as e:
            form = "cloudpickle"
            label = f"{len(made):03d}_{name}_{form}"
            file = dump(model, OUT / label, form)
        describe(OUT / label, file, X)
        expected = dict(case=label, rows=rows_of(Q), predict=plain(np.asarray(predict)), predict_proba=None if proba is None else plain(list(proba)),
                        decision=None if scores is None else plain(np.asarray(scores).reshape(len(Q), -1)))
        (OUT / f"{label}.expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n")
        made.append(label)

def refused(name, model, X, y, what, form="cloudpickle"):
    model.fit(X, y)
    label = f"{len(made):03d}_refused_{name}"
    file = dump(model, OUT / label, form)
    describe(OUT / label, file, X)
    (OUT / f"{label}.expected.json").write_text(json.dumps(dict(case=label, refused=what)) + "\n")
    made.append(label)


# --- numbers ---------------------------------------------------------------------------------------------------------

def transformers():
    X = table()
    positive = np.abs(X) + 0.5
    y = signal(X)
    R = lambda: Ridge(alpha=0.7)
    far = np.vstack([X[:15], X[:5] * 3, X[:5] - 50])
    for name, step in (("KBins_ordinal", KBinsDiscretizer(number(2, 7), encode="ordinal", strategy=pick("uniform", "quantile", "kmeans"))),
                       ("KBins_onehot", KBinsDiscretizer(number(2, 7), encode=pick("onehot", "onehot-dense"), strategy=pick("uniform", "quantile"))),
                       ("Quantile_uniform", QuantileTransformer(n_quantiles=number(5, 120))), ("Quantile_normal", QuantileTransformer(n_quantiles=number(5, 120), output_distribution="normal")),
                       ("Power_yj", PowerTransformer(standardize=pick(True, False))), ("Binarizer", Binarizer(threshold=pick(0.0, 1.5))), ("PCA", PCA(number(2, 4), whiten=pick(True, False))),
                       ("IncrementalPCA", IncrementalPCA(2)), ("SVD", TruncatedSVD(2)), ("FastICA", FastICA(3, max_iter=500, whiten=pick("unit-variance", "arbitrary-variance"))), ("FactorAnalysis", FactorAnalysis(2)),
                       ("KernelPCA", KernelPCA(3, kernel=pick("rbf", "poly", "cosine", "linear"), gamma=pick(None, 0.01))), ("Nystroem", Nystroem(n_components=12, kernel=pick("rbf", "laplacian"), gamma=0.01)),
                       ("RBFSampler", RBFSampler(gamma=0.1, n_components=20)), ("GaussianRP", GaussianRandomProjection(3)), ("SparseRP", SparseRandomProjection(3)), 
                       ("KMeans_step", KMeans(4, n_init=2)), ("Spline_" , SplineTransformer(n_knots=number(3, 7), degree=number(1, 5), extrapolation=pick("constant", "linear", "continue"), include_bias=pick(True, False), knots=pick("uniform", "quantile"))),
                       ("Spline_periodic", SplineTransformer(n_knots=6, degree=3, extrapolation="periodic")), ("VarianceThreshold", VarianceThreshold(0.5)),
                       ("SelectKBest", SelectKBest(f_regression, k=3)), ("SelectPercentile", SelectPercentile(f_regression, percentile=50)), ("SelectFdr", SelectFdr(f_regression, alpha=0.5)), ("SelectFpr", SelectFpr(f_regression)),
                       ("SelectFwe", SelectFwe(f_regression, alpha=0.3)), ("GenericUnivariate", GenericUnivariateSelect(f_regression, mode="k_best", param=2)), ("RFE", RFE(Ridge(), n_features_to_select=2)),
                       ("RFECV", RFECV(Ridge(), cv=3)), ("SFS", SequentialFeatureSelector(Ridge(), n_features_to_select=2, cv=2)), ("FromModel_l1", SelectFromModel(Lasso(0.01))), ("FromModel_forest", SelectFromModel(RandomForestRegressor(5, random_state=1), threshold=pick("mean", "0.5*median"))),
                       ("FromModel_max", SelectFromModel(GradientBoostingRegressor(n_estimators=5), max_features=2, threshold=-np.inf)), ("log", FunctionTransformer(np.log1p)), ("sqrt", FunctionTransformer(np.sqrt, validate=True)),
                       ("union", make_union(PCA(2), StandardScaler(), SelectKBest(f_regression, k=2))), ("union_weights", FeatureUnion([("a", PCA(2)), ("b", "passthrough"), ("c", "drop"), ("d", MinMaxScaler())], transformer_weights={"a": 2.0, "b": 0.5}))):
        data = positive if name in ("log", "sqrt") else X
        query = None if name in ("log", "sqrt") else far
        case(name, make_pipeline(step, R()), data, y, Q=query)
    case("BoxCox", make_pipeline(PowerTransformer("box-cox"), R()), positive, y)
    case("clip", make_pipeline(FunctionTransformer(np.clip, kw_args={"a_min": -1, "a_max": 2}), R()), X, y)
    holes = X.copy()
    holes[rng.random(X.shape) < 0.15] = np.nan
    ask = np.vstack([holes[:25], np.full((1, X.shape[1]), np.nan)])
    for name, step in (("KNNImputer", KNNImputer(n_neighbors=number(1, 6), weights=pick("uniform", "distance"), add_indicator=pick(True, False))), ("Iterative", IterativeImputer(max_iter=4, add_indicator=pick(True, False), imputation_order=pick("ascending", "roman"))),
                       ("Indicator", make_union(SimpleImputer(), MissingIndicator()))):
        case(name, make_pipeline(step, R()), holes, y, Q=ask)
    case("lda_step", make_pipeline(LinearDiscriminantAnalysis(n_components=1), LogisticRegression()), X, classes(X, 3))

def estimators():
    S = dict(random_state=number(0, 99))
    raw = table()
    X = StandardScaler().fit_transform(raw)
    y = signal(X)
    two = np.column_stack([y, np.abs(X[:, 0]) - y])
    for model in (PoissonRegressor(), GammaRegressor(), TweedieRegressor(power=pick(0, 1.5)), TweedieRegressor(power=1, link="log")):
        case(type(model).__name__, model, X, np.exp(y / 4))
    for model in (QuantileRegressor(quantile=0.3), KNeighborsRegressor(number(1, 9), weights=pick("uniform", "distance"), p=pick(1, 2, 3), algorithm=pick("auto", "brute")), RadiusNeighborsRegressor(radius=5.0), KernelRidge(kernel=pick("rbf", "linear", "poly"), gamma=0.1), PLSRegression(2),
                  DummyRegressor(strategy=pick("mean", "median")), RANSACRegressor(**S), LarsCV(cv=3), LassoLarsIC(), OrthogonalMatchingPursuit(), PassiveAggressiveRegressor(**S) if "PassiveAggressiveRegressor" in globals() else Ridge(),
                  BaggingRegressor(SVC_R(), 3, **S), StackingRegressor([("a", Ridge()), ("b", DecisionTreeRegressor(max_depth=3))], passthrough=pick(True, False), final_estimator=pick(None, RandomForestRegressor(4, **S))),
                  VotingRegressor([("a", Ridge()), ("b", KNeighborsRegressor())], weights=pick(None, [1, 3])), GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": [0.1, 1]}, cv=2), RandomizedSearchCV(Ridge(), {"alpha": [1, 2]}, n_iter=1, cv=2)):
        case(type(model).__name__, model, X, y)
    case("isotonic", IsotonicRegression(increasing=pick(True, False, "auto"), out_of_bounds="clip"), X[:, :1], y, Q=X[:25, :1] * 1.5)
    apart = {"metric": "mahalanobis", "metric_params": {"VI": np.linalg.inv(np.cov(X.T))}}
    case("knn_mahalanobis", KNeighborsRegressor(number(1, 9), weights=pick("uniform", "distance"), algorithm=pick("ball_tree", "brute"), **apart), X, y)
    for count in (2, number(3, 5)):
        c = classes(X, count)
        stack = [("a", LogisticRegression()), ("b", pick(LinearSVC(), RidgeClassifier())), ("c", DecisionTreeClassifier(max_depth=3))]
        for model in (KNeighborsClassifier(number(1, 9), weights=pick("uniform", "distance"), metric=pick("minkowski", "manhattan", "chebyshev")), RadiusNeighborsClassifier(radius=9.0), GaussianNB(), BernoulliNB(), LinearDiscriminantAnalysis(solver=pick("svd", "lsqr", "eigen")), QuadraticDiscriminantAnalysis(reg_param=0.1),
                      NearestCentroid(), SVC(kernel=pick("rbf", "linear", "poly", "sigmoid"), probability=True, **S), SVC(decision_function_shape=pick("ovr", "ovo"), break_ties=False), NuSVC(nu=0.2), DummyClassifier(strategy=pick("prior", "most_frequent")),
                      AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=6, **S), BaggingClassifier(pick(DecisionTreeClassifier(max_depth=4), LogisticRegression(), LinearSVC()), 4, max_features=0.7, **S), VotingClassifier(stack[:1] + stack[2:], voting="soft", weights=pick(None, [2, 1])), VotingClassifier(stack, voting="hard"),
                      StackingClassifier(stack, passthrough=pick(True, False), cv=3), StackingClassifier(stack, final_estimator=RandomForestClassifier(4, **S), stack_method="predict", cv=3), CalibratedClassifierCV(pick(LinearSVC(), RandomForestClassifier(4, **S), GaussianNB()), method=pick("sigmoid", "isotonic"), cv=3, ensemble=pick(True, False)),
                      CalibratedClassifierCV(LogisticRegression(), method="temperature", cv=3), OneVsRestClassifier(pick(LogisticRegression(), LinearSVC(), DecisionTreeClassifier(max_depth=3))), OneVsOneClassifier(pick(LogisticRegression(), LinearSVC(), DecisionTreeClassifier(max_depth=3))), OutputCodeClassifier(LogisticRegression(), code_size=3, **S),
                      GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2)):
            case(f"{type(model).__name__}_{count}", model, X, c)
        counts = np.abs(np.round(raw)).astype(int) % 4
        counts[:4] = np.arange(4)[:, None]
        for model in (MultinomialNB(), ComplementNB(norm=pick(True, False)), CategoricalNB(min_categories=4)):
            case(f"{type(model).__name__}_{count}", model, counts.astype(float), c)
    for model in (IsolationForest(n_estimators=number(5, 30), max_features=pick(1.0, 0.6), contamination=pick("auto", 0.1), **S), OneClassSVM(nu=0.2, gamma=pick("scale", 0.1)), LocalOutlierFactor(n_neighbors=7, novelty=True), EllipticEnvelope(**S), SGDOneClassSVM(**S),
                  KMeans(3, n_init=2, **S), MiniBatchKMeans(3, n_init=2, **S), BisectingKMeans(4, **S), Birch(n_clusters=pick(3, None)), MeanShift(), AffinityPropagation(**S), BayesianGaussianMixture(n_components=3, covariance_type=pick("full", "tied", "diag", "spherical"), weight_concentration_prior_type=pick("dirichlet_process", "dirichlet_distribution"), **S), GaussianMixture(3, covariance_type=pick("full", "tied", "diag", "spherical"), **S)):
        case(type(model).__name__, model, X, None, Q=np.vstack([X[:20], X[:5] * 4]))
    for kernel in (ConstantKernel() * RBF(1.0) + WhiteKernel(), Matern(length_scale=np.ones(X.shape[1]), nu=pick(0.5, 1.5, 2.5)) + WhiteKernel(), RationalQuadratic() * DotProduct() + WhiteKernel()):
        case("GaussianProcess", GaussianProcessRegressor(kernel, normalize_y=pick(True, False), optimizer=None), X[:80], y[:80])
    for model in (FixedThresholdClassifier(LogisticRegression(), threshold=0.3), FixedThresholdClassifier(LinearSVC(), threshold=-0.2), TunedThresholdClassifierCV(pick(LogisticRegression(), GaussianNB()), cv=3)):
        case(type(model).__name__, model, X, classes(X, 2, "plain"))
    multi = np.column_stack([classes(X, 2, "plain"), classes(X, 3, "plain"), classes(X, 2, "plain")])
    labels = np.column_stack([classes(X, 2, "plain") for _ in range(3)])
    for model in (LinearRegression(), Ridge(), MultiTaskLasso(0.01), DecisionTreeRegressor(max_depth=4), RandomForestRegressor(4, max_depth=4, **S), ExtraTreesRegressor(3, **S), MLPRegressor(hidden_layer_sizes=(5,), max_iter=60, **S), KNeighborsRegressor(), PLSRegression(2), PLSCanonical(2), CCA(1), KernelRidge(), DummyRegressor(),
                  MultiOutputRegressor(GradientBoostingRegressor(n_estimators=5)), RegressorChain(Ridge(), order=pick(None, [1, 0])), TransformedTargetRegressor(Ridge(), transformer=StandardScaler()), GridSearchCV(Ridge(), {"alpha": [1, 2]}, cv=2)):
        case(f"two_{type(model).__name__}", model, X, two)
    for model in (DecisionTreeClassifier(max_depth=4), RandomForestClassifier(4, max_depth=4, **S), KNeighborsClassifier(), MultiOutputClassifier(pick(LogisticRegression(), RandomForestClassifier(3, **S)))):
        case(f"many_{type(model).__name__}", model, X, multi)
    for model in (OneVsRestClassifier(pick(LogisticRegression(), LinearSVC())), MLPClassifier(hidden_layer_sizes=(5,), max_iter=60, **S), RidgeClassifier(), ClassifierChain(LogisticRegression(), chain_method=pick("predict", "predict_proba", "decision_function"), order=pick(None, [2, 0, 1])), RandomForestClassifier(3, max_depth=3, **S)):
        case(f"labels_{type(model).__name__}", model, X, labels, decision=False)
    for name, transformer in (("log", dict(func=np.log1p, inverse_func=np.expm1)), ("sqrt", dict(func=np.sqrt, inverse_func=np.square)), ("quantile", dict(transformer=QuantileTransformer(n_quantiles=50, output_distribution=pick("normal", "uniform")))),
                              ("power", dict(transformer=PowerTransformer())), ("boxcox", dict(transformer=PowerTransformer("box-cox"))), ("minmax", dict(transformer=make_pipeline(MinMaxScaler(), StandardScaler())))):
        case(f"target_{name}", TransformedTargetRegressor(make_pipeline(StandardScaler(), Ridge()), **transformer), X, np.abs(y) + 0.5)

def SVC_R():
    from sklearn.svm import SVR
    return SVR()


# --- text and categories ---------------------------------------------------------------------------------------------

def columns():
    X, y = frame()
    c = np.where(y > np.median(y), "stay", "churn")
    strange = X.head(20).copy()
    strange.loc[strange.index[:3], "city"] = "Atlantis"
    strange.loc[strange.index[3:5], "plan"] = "FREE"
    many = dict(handle_unknown="ignore")
    encoders = [OneHotEncoder(**many), OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=pick(0.1, 30)), OneHotEncoder(drop=pick("first", "if_binary", None), handle_unknown="ignore", sparse_output=False), OneHotEncoder(max_categories=3, handle_unknown="infrequent_if_exist"),
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=pick(-1, np.nan) if False else -1), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-5, min_frequency=25), TargetEncoder(smooth=pick("auto", 5.0)),
                OneHotEncoder(categories=[["Lyon", "Köln", "New York"], ["team", "free"]], **many)]
    for i, encoder in enumerate(encoders):
        pre = ColumnTransformer([("num", StandardScaler(), ["age", "income"]), ("cat", encoder, ["city", "plan"])], remainder=pick("drop", "drop", "passthrough"), sparse_threshold=pick(0.3, 1.0))
        case(f"{type(encoder).__name__}{i}_ridge", make_pipeline(pre, Ridge()), X, y, Q=strange)
        pre = ColumnTransformer([("cat", encoder, ["city", "plan"]), ("num", "passthrough", [0, 1])])
        case(f"{type(encoder).__name__}{i}_forest", make_pipeline(pre, RandomForestClassifier(4, max_depth=5, random_state=1)), X, c, Q=strange)
    case("TargetEncoder_multiclass", make_pipeline(ColumnTransformer([("t", TargetEncoder(), ["city", "plan", "grade"])]), LogisticRegression()), X, np.digitize(y, np.quantile(y, [0.3, 0.6])), Q=strange)
    case("bool_and_numbers", make_pipeline(ColumnTransformer([("o", OneHotEncoder(**many), ["active", "grade", "ratio", "city"])]), Ridge()), X, y, Q=strange)
    case("selectors", make_pipeline(ColumnTransformer([("n", MinMaxScaler(), make_column_selector(dtype_include=np.number)), ("t", OneHotEncoder(**many), make_column_selector(dtype_include=object))]), LogisticRegression()), X, c, Q=strange)
    case("whole_frame", make_pipeline(OneHotEncoder(**many), LogisticRegression()), X[["city", "plan"]], c, Q=strange[["city", "plan"]])
    case("nested", make_pipeline(ColumnTransformer([("a", ColumnTransformer([("x", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["city"]), ("y", "passthrough", ["grade"])]), ["city", "grade"]), ("b", make_pipeline(SimpleImputer(), PCA(1)), ["age", "income"])]), Ridge()), X, y, Q=strange)
    H, yh = frame(holes=True)
    ask = H.head(30)
    text = lambda strategy: SimpleImputer(strategy=strategy, fill_value="none" if strategy == "constant" else None, add_indicator=pick(True, False))
    for strategy in ("most_frequent", "constant"):
        pre = ColumnTransformer([("n", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["age", "income"]), ("t", make_pipeline(SimpleImputer(strategy=strategy, fill_value="none" if strategy == "constant" else None), OneHotEncoder(**many)), ["city", "plan"])])
        case(f"impute_{strategy}", make_pipeline(pre, LogisticRegression()), H, np.where(yh > 4, 1, 0), Q=ask)
    # mostly None, which such an imputer takes for a value
    empty = H.assign(city=np.where(rng.random(len(H)) < 0.7, None, H["city"]))
    case("impute_none", make_pipeline(ColumnTransformer([("t", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(**many)), ["city", "plan"])]), LogisticRegression()), empty, np.where(yh > 4, 1, 0), Q=empty.head(30))
    pre = ColumnTransformer([("o", OneHotEncoder(**many), ["city", "ratio"]), ("e", OrdinalEncoder(encoded_missing_value=-2, handle_unknown="use_encoded_value", unknown_value=-1), ["plan"]), ("t", TargetEncoder(), ["city"])])
    case("missing_categories", make_pipeline(pre, DecisionTreeRegressor(max_depth=5)), H, yh, Q=ask)
    for name, model in (("reg", HistGradientBoostingRegressor(max_iter=12, categorical_features=["city", "plan"], min_samples_leaf=5)), ("clf", HistGradientBoostingClassifier(max_iter=8, categorical_features=[2, 3], min_samples_leaf=5))):
        part = X[["age", "income", "city", "plan"]]
        case(f"hgb_{name}", model, part, y if name == "reg" else c, Q=strange[["age", "income", "city", "plan"]])
    inner = lambda: ColumnTransformer([("o", OneHotEncoder(**many), ["city", "plan"]), ("n", "passthrough", ["age", "grade"])])
    for name, model, target in (("voting", VotingClassifier([("a", make_pipeline(inner(), LogisticRegression())), ("b", make_pipeline(inner(), DecisionTreeClassifier(max_depth=3)))], voting="soft"), c), ("stacking", StackingClassifier([("a", make_pipeline(inner(), LogisticRegression())), ("b", make_pipeline(inner(), GaussianNB_dense()))], cv=3), c),
                                ("target", TransformedTargetRegressor(make_pipeline(inner(), Ridge()), func=np.log1p, inverse_func=np.expm1), np.abs(y)), ("search", GridSearchCV(make_pipeline(inner(), Ridge()), {"ridge__alpha": [1, 10]}, cv=2), y), ("calibrated", CalibratedClassifierCV(make_pipeline(inner(), LinearSVC()), cv=2), c),
                                ("multi", MultiOutputRegressor(make_pipeline(inner(), Ridge())), np.column_stack([y, -y])), ("ovr", OneVsRestClassifier(make_pipeline(inner(), LogisticRegression())), np.digitize(y, np.quantile(y, [0.3, 0.6]))), ("voting_reg", VotingRegressor([("a", make_pipeline(inner(), Ridge())), ("b", make_pipeline(inner(), Lasso(0.1)))]), y)):
        case(f"typed_{name}", model, X, target, Q=strange)

def GaussianNB_dense():
    return DecisionTreeClassifier(max_depth=2)

def texts():
    docs = documents()
    y = np.array(["neg", "pos"])[(np.char.find(docs.astype(str), "great") >= 0).astype(int)]
    n = np.char.str_len(docs.astype(str)).astype(float)
    ask = np.concatenate([docs[:20], np.array(["", "unknown words only", "GREAT great Great 😀 café", "İİ ßß ﬁ Ⅷ ½ x²", "a\u0301b \u00a0 \u2003 c", "e\u0301te\u0301 naïve"], dtype=object)])
    V = (CountVectorizer, TfidfVectorizer)
    for i, options in enumerate((dict(), dict(ngram_range=(1, 2)), dict(lowercase=False), dict(strip_accents="unicode"), dict(strip_accents="ascii", stop_words="english"), dict(analyzer="char", ngram_range=(1, 3)), dict(analyzer="char_wb", ngram_range=(2, 4)),
                                 dict(token_pattern=r"[A-Za-z]+"), dict(token_pattern=r"(?u)\b\w+\b"), dict(token_pattern=r"\w+(?:['-]\w+)*"), dict(token_pattern=r"#?(\w+)"), dict(binary=True, min_df=2), dict(max_features=15), dict(stop_words=["great", "the"]), dict(vocabulary=["great", "slow", "service", "l'été"]))):
        vectorizer = V[i % 2](**options)
        case(f"text{i}", make_pipeline(vectorizer, pick(LogisticRegression(), LinearSVC(), MultinomialNB(), ComplementNB(), RidgeClassifier(), SGDClassifier(loss="log_loss"))), docs, y, Q=ask)
    for i, options in enumerate((dict(sublinear_tf=True), dict(norm="l1"), dict(norm=None), dict(use_idf=False), dict(smooth_idf=False))):
        case(f"tfidf{i}", make_pipeline(TfidfVectorizer(**options), LogisticRegression()), docs, y, Q=ask)
    case("hashing", make_pipeline(HashingVectorizer(n_features=pick(64, 1024, 2**20), alternate_sign=pick(True, False), norm=pick("l2", None)), SGDClassifier(loss="log_loss")), docs, y, Q=ask)
    case("count_tfidf", make_pipeline(CountVectorizer(), TfidfTransformer(), pick(LogisticRegression(), SGDClassifier())), docs, y, Q=ask)
    case("hash_tfidf", make_pipeline(HashingVectorizer(n_features=256, alternate_sign=False), TfidfTransformer(), LogisticRegression()), docs, y, Q=ask)
    case("svd", make_pipeline(TfidfVectorizer(), TruncatedSVD(4), StandardScaler(), LogisticRegression()), docs, y, Q=ask)
    case("chi2", make_pipeline(CountVectorizer(), SelectKBest(chi2, k=8), MultinomialNB()), docs, y, Q=ask)
    case("union_text", make_pipeline(make_union(TfidfVectorizer(), CountVectorizer(analyzer="char", ngram_range=(2, 2))), MaxAbsScaler(), LogisticRegression()), docs, y, Q=ask)
    case("forest_text", make_pipeline(TfidfVectorizer(), RandomForestClassifier(4, random_state=1)), docs, y, Q=ask)
    case("knn_text", make_pipeline(TfidfVectorizer(), KNeighborsRegressor(1)), docs, n, Q=ask[:20])
    case("ridge_text", make_pipeline(CountVectorizer(), Ridge()), docs, n, Q=ask)
    case("bernoulli_text", make_pipeline(CountVectorizer(), BernoulliNB()), docs, y, Q=ask)
    case("ovr_text", make_pipeline(TfidfVectorizer(), OneVsRestClassifier(LogisticRegression())), docs, np.digitize(n, [20, 40]), Q=ask)
    case("calibrated_text", make_pipeline(TfidfVectorizer(), CalibratedClassifierCV(LinearSVC(), cv=2)), docs, y, Q=ask)
    case("search_text", GridSearchCV(make_pipeline(TfidfVectorizer(), LogisticRegression()), {"tfidfvectorizer__ngram_range": [(1, 1), (1, 2)]}, cv=2), docs, y, Q=ask)
    X = pd.DataFrame({"text": docs, "title": documents(), "length": n, "kind": rng.choice(["a", "b"], len(docs)).astype(object)})
    pre = ColumnTransformer([("t", TfidfVectorizer(), "text"), ("u", CountVectorizer(), "title"), ("n", StandardScaler(), ["length"]), ("o", OneHotEncoder(handle_unknown="ignore"), ["kind"])])
    case("columns_text", make_pipeline(pre, LogisticRegression()), X, y, Q=X.head(20))

def numbers_as_they_are():
    """Functions that change the shape or the container of their input alone, and text that passes through a step."""
    docs = pd.DataFrame({"text": documents()})
    y = np.arange(len(docs)) % 3
    for function, X in ((np.ravel, docs.to_numpy()), (np.squeeze, docs)):
        case(function.__name__, make_pipeline(FunctionTransformer(function), CountVectorizer(), MultinomialNB()), X, y, Q=X[:20])
    X = table()
    case("asarray", make_pipeline(FunctionTransformer(np.asarray), Ridge()), X, X[:, 0])
    X, y = frame()
    scaled = ColumnTransformer([("n", StandardScaler(), ["age", "income"])], remainder="passthrough", verbose_feature_names_out=False).set_output(transform="pandas")
    encoded = ColumnTransformer([("c", TargetEncoder(), ["city", "plan"]), ("o", OneHotEncoder(), ["grade"])], remainder="passthrough")
    case("text_passes", make_pipeline(scaled, encoded, ExtraTreesRegressor(4, random_state=1)), X, y, Q=X.head(20))
    ordinal = ColumnTransformer([("drop", "drop", ["ratio"])], remainder="passthrough", verbose_feature_names_out=False).set_output(transform="pandas")
    case("text_to_histogram", make_pipeline(ordinal, HistGradientBoostingRegressor(max_iter=5, categorical_features=["city", "plan"], min_samples_leaf=5)), X, y, Q=X.head(20))

def boosters():
    """Boosters inside estimators of scikit-learn."""
    X = pd.DataFrame(table()).rename(columns="x{}".format)
    y = signal(X.to_numpy())
    three = np.digitize(y, np.quantile(y, [0.3, 0.6]))
    light = lambda **more: lightgbm.LGBMClassifier(n_estimators=4, num_leaves=6, verbose=-1, **more)
    extreme = lambda **more: xgboost.XGBClassifier(n_estimators=4, max_depth=3, **more)
    for target in (three, (three > 1).astype(int)):
        for method in ("sigmoid", "isotonic"):
            case(f"calibrated_lgbm_{method}", CalibratedClassifierCV(light(), method=method, cv=2), X, target, form="cloudpickle")
            case(f"calibrated_xgb_{method}", CalibratedClassifierCV(extreme(), method=method, cv=2), X, target, form="cloudpickle")
        case("lgbm_step", make_pipeline(StandardScaler(), light()), X, target, form=pick("skops", "cloudpickle"))
        case("lgbm_forest", make_pipeline(StandardScaler(), light(boosting_type="rf", subsample=0.7, subsample_freq=1)), X, target, form="cloudpickle")
        case("xgb_step", make_pipeline(StandardScaler(), extreme()), X, target, form="skops")
    case("ovr_lgbm", OneVsRestClassifier(light()), X, three, form="cloudpickle")
    case("xgb_alone", xgboost.XGBRegressor(n_estimators=3), X, y, form="skops")

def boosters_behind_encoders():
    """Boosters that take sparse rows, of which XGBoost takes an absent value for a missing one and the others for a zero."""
    heads = {"xgb": lambda: xgboost.XGBClassifier(n_estimators=6, max_depth=3), "xgb_missing": lambda: xgboost.XGBClassifier(n_estimators=6, max_depth=3, missing=1.0), "xgb_linear": lambda: xgboost.XGBClassifier(n_estimators=3, booster="gblinear"),
             "lgbm": lambda: lightgbm.LGBMClassifier(n_estimators=5, num_leaves=6, min_child_samples=5, verbose=-1, zero_as_missing=pick(True, False)),
             "catboost": lambda: catboost.CatBoostClassifier(iterations=5, depth=3, verbose=0, allow_writing_files=False)}
    xgb = lambda: heads["xgb"]()
    X, y = frame()
    X["visits"] = rng.poisson(0.7, len(X)).astype(float)
    c = (y + 2 * X["visits"] * X["active"] > np.median(y)).astype(int).to_numpy()
    text = ["city", "plan"]
    def columns(threshold):
        return ColumnTransformer([("c", OneHotEncoder(handle_unknown="ignore", drop=pick(None, "first")), text), ("b", KBinsDiscretizer(4, encode="onehot"), ["income"]), ("n", pick("passthrough", StandardScaler(with_mean=False)), ["visits", "active", "age"])], sparse_threshold=threshold, transformer_weights=pick(None, {"n": 2.0}))
    for name, head in heads.items():
        case(f"onehot_{name}", make_pipeline(OneHotEncoder(handle_unknown="ignore", min_frequency=pick(None, 20)), head()), X[text], c, Q=X[text].head(30), form="cloudpickle")
        case(f"columns_sparse_{name}", make_pipeline(columns(1.0), head()), X, c, Q=X.head(30), form="cloudpickle")
        case(f"columns_dense_{name}", make_pipeline(columns(0.0), head()), X, c, Q=X.head(30), form="cloudpickle")
    N = X[["grade", "visits", "ratio"]].to_numpy()
    for name, step in (("onehot_numbers", OneHotEncoder(handle_unknown="ignore")), ("bins", KBinsDiscretizer(3, encode="onehot")), ("bins_dense", KBinsDiscretizer(3, encode="onehot-dense")), ("spline", SplineTransformer(n_knots=4, degree=pick(1, 2, 3), include_bias=pick(True, False))),
                       ("union", make_union(OneHotEncoder(handle_unknown="ignore"), "passthrough")), ("union_dense", make_union(OneHotEncoder(handle_unknown="ignore", sparse_output=False), StandardScaler())),
                       ("select", make_pipeline(OneHotEncoder(handle_unknown="ignore"), SelectKBest(chi2, k=5))), ("scaled", make_pipeline(OneHotEncoder(handle_unknown="ignore"), pick(MaxAbsScaler(), StandardScaler(with_mean=False), RobustScaler(with_centering=False)))),
                       ("products", make_pipeline(OneHotEncoder(handle_unknown="ignore"), PolynomialFeatures(2, include_bias=pick(True, False)))), ("projected", make_pipeline(OneHotEncoder(handle_unknown="ignore"), pick(TruncatedSVD(3), GaussianRandomProjection(3)))),
                       ("projected_sparse", make_pipeline(OneHotEncoder(handle_unknown="ignore"), SparseRandomProjection(3, density=0.5))), ("imputed", make_pipeline(OneHotEncoder(handle_unknown="ignore"), SimpleImputer()))):
        case(f"{name}_xgb", make_pipeline(step, xgb()), N, c, Q=np.vstack([N[:25], N[:3] + 50]), form="cloudpickle")
    pipe = lambda: make_pipeline(columns(1.0), xgb())
    outer = lambda inner: make_pipeline(columns(1.0), inner)
    for name, model, target in (("calibrated_inside", CalibratedClassifierCV(pipe(), cv=2), c), ("calibrated", outer(CalibratedClassifierCV(xgb(), cv=2)), c), ("voting", outer(VotingClassifier([("a", LogisticRegression()), ("b", xgb())], voting="soft")), c),
                                ("stacking", outer(StackingClassifier([("a", xgb()), ("b", LogisticRegression())], cv=2, passthrough=True, final_estimator=pick(xgb(), LogisticRegression()))), c), ("stacking_last", outer(StackingClassifier([("a", LogisticRegression())], cv=2, passthrough=True, final_estimator=xgb())), c),
                                ("search", GridSearchCV(pipe(), {"xgbclassifier__max_depth": [2, 3]}, cv=2), c), ("bagging", outer(BaggingClassifier(xgb(), 3, max_features=0.7)), c), ("chain", outer(ClassifierChain(xgb())), np.column_stack([c, 1 - c, c])), ("multi", outer(MultiOutputRegressor(xgboost.XGBRegressor(n_estimators=3, max_depth=2))), np.column_stack([y, -y])),
                                ("voting_reg", outer(VotingRegressor([("a", Ridge()), ("b", xgboost.XGBRegressor(n_estimators=3))])), y),
                                ("threshold", FixedThresholdClassifier(pipe(), threshold=0.4), c)):
        case(f"{name}_sparse_xgb", model, X, target, Q=X.head(30), form="cloudpickle")
    docs = documents()
    t = (np.char.find(docs.astype(str), "great") >= 0).astype(int)
    for name, step in (("tfidf", TfidfVectorizer(sublinear_tf=pick(True, False))), ("count", CountVectorizer(binary=pick(True, False))), ("hashing", HashingVectorizer(n_features=16, alternate_sign=True, norm=pick("l2", None))), ("tfidf_svd", make_pipeline(TfidfVectorizer(), TruncatedSVD(4))),
                       ("count_tfidf", make_pipeline(CountVectorizer(), TfidfTransformer(), SelectKBest(chi2, k=9))), ("log_counts", make_pipeline(CountVectorizer(), FunctionTransformer(np.log1p))), ("binarized", make_pipeline(HashingVectorizer(n_features=16, norm=None), Binarizer())),
                       ("quantiles", make_pipeline(CountVectorizer(), QuantileTransformer(n_quantiles=10, ignore_implicit_zeros=pick(True, False))))):
        for head in ("xgb", "lgbm"):
            case(f"{name}_{head}", make_pipeline(step, heads[head]()), docs, t, Q=docs[:25], form="cloudpickle")
    kept = make_union(SelectKBest(chi2, k=6), MaxAbsScaler(), TruncatedSVD(2))
    case("union_of_sparse_xgb", make_pipeline(TfidfVectorizer(), kept, xgb()), docs, t, Q=docs[:25], form="cloudpickle")
    case("quantiles_logistic", make_pipeline(CountVectorizer(), QuantileTransformer(n_quantiles=10), LogisticRegression()), docs, t, Q=docs[:25])
    D = pd.DataFrame({"text": docs, "n": rng.poisson(0.7, len(docs)).astype(float)})
    D["shifted"] = D["n"] - 1
    for threshold, wanted in ((0.0, "normal"), (1.0, "uniform")):
        pre = ColumnTransformer([("t", CountVectorizer(), "text"), ("n", "passthrough", ["n", "shifted"])], sparse_threshold=threshold)
        quantiles = QuantileTransformer(n_quantiles=10, output_distribution=wanted) if threshold == 0 else MaxAbsScaler()
        case(f"quantiles_of_columns_{threshold}", make_pipeline(pre, quantiles, LogisticRegression()), D, t, Q=D.head(25), form="cloudpickle")
    one_hot = make_pipeline(OneHotEncoder(handle_unknown="ignore"), QuantileTransformer(n_quantiles=10), LogisticRegression())
    case("quantiles_of_one_hot", one_hot, X[text], c, Q=X[text].head(30), form="cloudpickle")
    D = D.drop(columns="shifted")
    for threshold in (0.0, 1.0):
        pre = ColumnTransformer([("t", TfidfVectorizer(), "text"), ("n", "passthrough", ["n"])], sparse_threshold=threshold)
        case(f"columns_text_{threshold}_xgb", make_pipeline(pre, xgb()), D, t, Q=D.head(25), form="cloudpickle")

def estimators_of_boosters_and_kernels():
    """CatBoost states no number of features; machines that were fitted on sparse rows; many categories, and categories of floats."""
    docs = documents()
    n = np.char.str_len(docs.astype(str)).astype(float)
    for machine in (SVR, NuSVR):
        for kernel in ("rbf", "linear", "poly", "sigmoid"):
            case(f"{machine.__name__}_{kernel}_text", make_pipeline(TfidfVectorizer(), machine(kernel=kernel)), docs, n, Q=docs[:10])
    K = rng.integers(0, 900, (2000, 2)).astype(float)
    K[rng.random(K.shape) < 0.1] = np.nan
    many = np.vstack([K[:10], [[5000, -1], [np.nan, 3]]])
    case("onehot_many", make_pipeline(OneHotEncoder(handle_unknown="ignore"), Ridge()), K, K[:, 0] == 1, Q=many)
    case("ordinal_many", make_pipeline(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2), Ridge()), K, K[:, 0] == 1, Q=many)
    cat = lambda of=catboost.CatBoostClassifier, **more: of(iterations=4, depth=2, verbose=0, allow_writing_files=False, **more)
    regressor = lambda **more: cat(catboost.CatBoostRegressor, **more)
    X = table(200, 4)
    y = signal(X)
    c = (y > 0).astype(int)
    for name, model, target in (("voting", VotingClassifier([("a", cat()), ("b", pick(cat(random_seed=3), LogisticRegression()))], voting="soft"), c), ("voting_reg", VotingRegressor([("a", regressor()), ("b", regressor(random_seed=3))]), y),
                                ("stacking", StackingClassifier([("a", cat()), ("b", LogisticRegression())], cv=2), c), ("calibrated", CalibratedClassifierCV(cat(), cv=2), c), ("search", GridSearchCV(VotingClassifier([("a", cat())], voting="soft"), {"a__depth": [2, 3]}, cv=2), c),
                                ("multi", MultiOutputRegressor(regressor()), np.column_stack([y, -y])), ("target", TransformedTargetRegressor(regressor(), func=np.log1p, inverse_func=np.expm1), np.abs(y)), ("bagging", BaggingRegressor(regressor(), 2), y)):
        case(f"catboost_{name}", model, X, target, form="cloudpickle")
    f = rng.choice([0.5, 1.0, 2.25, 1e22, -3.75, 100.0], 300)
    F = pd.DataFrame({"a": rng.normal(size=300), "f": pd.Categorical(f), "b": pd.Categorical(rng.random(300) < 0.5)})
    case("lgbm_float_categories", lightgbm.LGBMRegressor(n_estimators=5, min_child_samples=5, verbose=-1), F, np.where(f == 2.25, 5, 0) + f.clip(-9, 9), Q=F.head(20), form="cloudpickle")

def selections_and_labels():
    """Selections at the end of a pipeline, boosting on top of an estimator, labels that spread, distances on a sphere."""
    X = table(220, 5)
    y = signal(X)
    c = classes(X, 3)
    for name, model, target in (("rfe", RFE(Ridge(), n_features_to_select=2), y), ("rfecv", RFECV(RandomForestClassifier(4, random_state=1), cv=2), c), ("rfe_step", make_pipeline(StandardScaler(), RFE(LogisticRegression(), n_features_to_select=3)), c), ("rfe_search", GridSearchCV(RFE(Ridge()), {"n_features_to_select": [2, 3]}, cv=2), y),
                                ("gb_init", GradientBoostingRegressor(n_estimators=6, init=pick(DecisionTreeRegressor(max_depth=2), ExtraTreesRegressor(3, max_depth=3, random_state=1))), y), ("gb_zero", GradientBoostingClassifier(n_estimators=4, init="zero"), c)):
        case(name, model, X, target)
    Z = StandardScaler().fit_transform(X)
    some = np.where(rng.random(len(c)) < 0.5, np.unique(c, return_inverse=True)[1], -1)
    for model in (LabelPropagation(gamma=pick(0.5, 2.0)), LabelSpreading(gamma=0.7), LabelSpreading(kernel="knn", n_neighbors=number(3, 9))):
        case(type(model).__name__, model, Z, some)
    places = np.column_stack([rng.uniform(-1.5, 1.5, 200), rng.uniform(-3.1, 3.1, 200)])
    for model in (KNeighborsRegressor(number(2, 6), metric="haversine", weights=pick("uniform", "distance")), RadiusNeighborsRegressor(radius=1.5, metric="haversine")):
        case(f"haversine_{type(model).__name__}", model, places, places[:, 0] + 1)

def factors_and_processes():
    """Decompositions that are not linear, feature maps, Gaussian process classifiers, densities."""
    S = dict(random_state=number(0, 99))
    X = table(160, 5)
    Z, P, y = StandardScaler().fit_transform(X), np.abs(X) + 0.01, signal(X)
    docs = documents()
    n = np.char.str_len(docs.astype(str)).astype(float)
    for solver, loss in (("cd", "frobenius"), ("mu", "frobenius"), ("mu", "kullback-leibler")):
        for i, more in enumerate(({}, dict(alpha_W=0.01, l1_ratio=0.5), dict(tol=0, max_iter=35))):
            case(f"nmf_{solver}_{i}", make_pipeline(NMF(3, solver=solver, beta_loss=loss, **more), Ridge()), P, y, alone=True)
            case(f"nmf_text_{solver}_{i}", make_pipeline(TfidfVectorizer(), NMF(3, solver=solver, beta_loss=loss, **more), Ridge()), docs, n, alone=True)
    for loss in ("frobenius", "kullback-leibler"):
        case("nmf_batches", make_pipeline(TfidfVectorizer(), MiniBatchNMF(3, beta_loss=loss, **S), Ridge()), docs, n, alone=True)
    for more in ({}, dict(doc_topic_prior=0.3, learning_method="online"), dict(max_doc_update_iter=3)):
        case("topics_text", make_pipeline(CountVectorizer(), LatentDirichletAllocation(4, **more, **S), Ridge()), docs, n)
        case("topics", make_pipeline(LatentDirichletAllocation(4, **more, **S), Ridge()), np.round(P), y)
    for degree, constant in ((2, 0), (3, 1.5), (1, 0)):
        case("sketch", make_pipeline(PolynomialCountSketch(degree=degree, coef0=constant, gamma=0.3, n_components=number(5, 60), **S), Ridge()), Z, y)
    for function in (np.mean, np.median, np.max, np.min, np.sum):
        case("pool", make_pipeline(FeatureAgglomeration(2, pooling_func=function), Ridge()), Z, y)
    far = np.vstack([Z[:10] * 1.1, Z[:5] + 0.3])
    for model in (SparsePCA(3, ridge_alpha=0.2, **S), MiniBatchSparsePCA(2, **S), BernoulliRBM(4, n_iter=2, **S), Birch(n_clusters=3), SkewedChi2Sampler(skewedness=9.0, n_components=7, **S)):
        case(type(model).__name__, make_pipeline(model, Ridge()), Z, y, Q=far)
    for kernel in (None, 1.5 * RBF(2.0), Matern(nu=1.5) + WhiteKernel(0.2), RationalQuadratic() * ConstantKernel(2.0), DotProduct() + 0.5, RBF([1.0] * 5) ** 2):
        for count in (2, 3):
            case(f"process_{count}", GaussianProcessClassifier(kernel, multi_class=pick("one_vs_rest", "one_vs_one")), Z[:60], classes(X[:60], count))
    case("process_calibrated", CalibratedClassifierCV(GaussianProcessClassifier(), cv=2), Z[:60], classes(X[:60], 2))
    for kernel in ("gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"):
        for width in (1, 2, 5):
            case(f"density_{kernel}_{width}", KernelDensity(bandwidth=pick("scott", 1.3, "silverman"), kernel=kernel, algorithm=pick("kd_tree", "ball_tree")), Z[:, :width], None, Q=Z[:10, :width] * 1.01, method="score_samples")
    case("density_last", make_pipeline(StandardScaler(), KernelDensity(metric=pick("manhattan", "chebyshev"))), X, None, method="score_samples")

def compositions():
    """Every kind of classifier and regressor inside some of the estimators of estimators."""
    X = table(90, 4)
    Z, y = StandardScaler().fit_transform(X), signal(X)
    S = dict(random_state=number(0, 99))
    labels = np.column_stack([y > 0, Z[:, 0] > 0, Z[:, 1] > 0]).astype(int)
    for m in (LogisticRegression(), RidgeClassifier(), SGDClassifier(loss=pick("hinge", "modified_huber"), **S), LinearSVC(**S), SVC(), NuSVC(nu=0.2), KNeighborsClassifier(3), GaussianNB(), LinearDiscriminantAnalysis(), QuadraticDiscriminantAnalysis(), DecisionTreeClassifier(max_depth=3), RandomForestClassifier(3, max_depth=3),
              GradientBoostingClassifier(n_estimators=3), HistGradientBoostingClassifier(max_iter=3), AdaBoostClassifier(n_estimators=3), BaggingClassifier(LogisticRegression(), 2), MLPClassifier((3,), max_iter=40), NearestCentroid(), GaussianProcessClassifier(), DummyClassifier(), Perceptron(), make_pipeline(PCA(2), LogisticRegression())):
        wholes = [BaggingClassifier(m, 2, max_features=0.75, **S), AdaBoostClassifier(m, n_estimators=2, **S), VotingClassifier([("a", m), ("b", LogisticRegression())], voting=pick("soft", "hard")), StackingClassifier([("a", m), ("b", GaussianNB())], cv=2), StackingClassifier([("a", GaussianNB())], final_estimator=m, cv=2, passthrough=True),
                  CalibratedClassifierCV(m, method=pick("sigmoid", "isotonic", "temperature"), cv=2), OneVsRestClassifier(m), OneVsOneClassifier(m), OutputCodeClassifier(m, code_size=2, **S), FixedThresholdClassifier(m, threshold=0.3)]
        for model in wholes:
            case(f"{type(model).__name__}_of_{type(m).__name__}", model, Z, classes(X, pick(2, 3)), Q=Z[:9])
        for model in (MultiOutputClassifier(m), OneVsRestClassifier(m), ClassifierChain(m, order=[2, 0, 1])):
            case(f"labels_{type(model).__name__}_of_{type(m).__name__}", model, Z, labels, Q=Z[:9])
    # its first estimator is kept without any weight, however bad it is
    case("AdaBoostRegressor_without_weight", AdaBoostRegressor(DummyRegressor(strategy="constant", constant=-1e6), n_estimators=3), Z, y, Q=Z[:9])
    above = np.abs(y) + 1
    for m in (Ridge(), SVR(), KNeighborsRegressor(3), DecisionTreeRegressor(max_depth=3), GradientBoostingRegressor(n_estimators=3), HistGradientBoostingRegressor(max_iter=3), GaussianProcessRegressor(), KernelRidge(), PoissonRegressor(), HuberRegressor(), QuantileRegressor(), make_pipeline(PCA(2), Ridge())):
        for model in (BaggingRegressor(m, 2, **S), AdaBoostRegressor(m, n_estimators=2, **S), VotingRegressor([("a", m), ("b", Ridge())], weights=[1, 2]), StackingRegressor([("a", m), ("b", Ridge())], cv=2), StackingRegressor([("a", Ridge())], final_estimator=m, cv=2, passthrough=True), TransformedTargetRegressor(m, func=np.log1p, inverse_func=np.expm1), RANSACRegressor(m, **S)):
            case(f"{type(model).__name__}_of_{type(m).__name__}", model, Z, above, Q=Z[:9])
        for model in (MultiOutputRegressor(m), RegressorChain(m, order=[1, 0])):
            case(f"{type(model).__name__}_of_{type(m).__name__}", model, Z, np.column_stack([above, np.abs(Z[:, 1]) + 1]), Q=Z[:9])

def columns_in_another_order():
    """Ensembles of pipelines that find their columns by name, under a signature that lists them in another order; what
    scikit-learn refuses then is refused."""
    X, y = frame()
    c = (y > np.median(y)).astype(int)
    three = np.digitize(y, np.quantile(y, [0.3, 0.6]))
    inner = lambda: ColumnTransformer([("o", OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]), ("n", "passthrough", ["age", "grade"])])
    clf = lambda: make_pipeline(inner(), pick(LogisticRegression(max_iter=200), DecisionTreeClassifier(max_depth=3)))
    reg = lambda: make_pipeline(inner(), pick(Ridge(), DecisionTreeRegressor(max_depth=3)))
    nested = lambda: VotingClassifier([("a", clf()), ("b", CalibratedClassifierCV(clf(), cv=2))], voting="soft")
    for name, model, target in (("voting", VotingClassifier([("a", clf()), ("b", clf())], voting=pick("soft", "hard")), c), ("voting_reg", VotingRegressor([("a", reg()), ("b", reg())], weights=pick(None, [1, 2])), y), ("stacking", StackingClassifier([("a", clf()), ("b", clf())], cv=2), three),
                                ("stacking_reg", StackingRegressor([("a", reg()), ("b", reg())], cv=2), y), ("calibrated", CalibratedClassifierCV(clf(), cv=2), c), ("multi", MultiOutputRegressor(reg()), np.column_stack([y, -y])), ("ovr", OneVsRestClassifier(clf()), three), ("codes", OutputCodeClassifier(clf(), random_state=1), three),
                                ("threshold", FixedThresholdClassifier(clf(), threshold=0.4), c), ("nested", nested(), c), ("search", GridSearchCV(VotingRegressor([("a", reg())]), {"weights": [None, [1.0]]}, cv=2), y),
                                ("stacking_row", StackingRegressor([("a", make_pipeline(inner(), Ridge()))], cv=2, passthrough=True), y), ("voting_mixed", VotingRegressor([("a", reg()), ("b", Ridge())]), y)):
        used = X if name not in ("voting_mixed", "stacking_row") else X.select_dtypes("number")
        if used is not X:
            inner = lambda: ColumnTransformer([("s", StandardScaler(), ["income"]), ("n", "passthrough", ["age", "grade"])])
            model = {"voting_mixed": lambda: VotingRegressor([("a", reg()), ("b", Ridge())]), "stacking_row": lambda: StackingRegressor([("a", make_pipeline(inner(), Ridge()))], cv=2, passthrough=True, final_estimator=Ridge())}[name]()
        before = len(made)
        case(f"order_{name}", model, used, target)
        if len(made) == before:
            continue
        turned = used[list(used.columns[::-1])].assign(extra=0.5) if used is X else used[list(used.columns[::-1])]
        label = made[-1]
        expected = OUT / f"{label}.expected.json"
        describe(OUT / label, next((OUT / label).glob("model.*")), turned)
        try:
            assert np.array_equal(model.predict(turned[:25]), model.predict(used[:25])) == (name != "stacking_row")
            answers = name != "stacking_row"  # whose last estimator takes the row as it comes
        except ValueError:
            answers = False
        if not answers:
            expected.write_text(json.dumps(dict(case=label, refused="fitted on")) + "\n")

def estimators_inside():
    """Imputers and selections by any estimator, and boosting that starts from one."""
    X = table(200, 6)
    y = signal(X)
    two, three = classes(X, 2, "str"), classes(X, 3)
    H = X.copy()
    H[rng.random(H.shape) < 0.2] = np.nan
    S = dict(random_state=number(0, 99))
    for model in (RandomForestRegressor(4, max_depth=4, **S), ExtraTreesRegressor(4, **S), DecisionTreeRegressor(max_depth=4), KNeighborsRegressor(3), HistGradientBoostingRegressor(max_iter=4), GradientBoostingRegressor(n_estimators=4), SVR(), make_pipeline(StandardScaler(), Ridge()), HuberRegressor(), make_pipeline(Nystroem(n_components=10), Ridge()), BaggingRegressor(Ridge(), 2), TransformedTargetRegressor(Ridge(), transformer=StandardScaler())):
        imputer = IterativeImputer(model, max_iter=2, n_nearest_features=pick(None, 2), initial_strategy=pick("mean", "median"), add_indicator=pick(True, False), min_value=pick(-np.inf, -1.0))
        case(f"imputer_{type(model).__name__}", make_pipeline(imputer, Ridge()), H, y)
    trees = [DecisionTreeRegressor(max_depth=2), HistGradientBoostingRegressor(max_iter=3), GradientBoostingRegressor(n_estimators=3), DummyRegressor(strategy="median"), VotingRegressor([("a", DecisionTreeRegressor(max_depth=3))]), BaggingRegressor(DecisionTreeRegressor(max_depth=3), 3), AdaBoostRegressor(n_estimators=3)]
    for model in trees:
        case(f"boosted_{type(model).__name__}", GradientBoostingRegressor(n_estimators=4, init=model, loss=pick("squared_error", "huber")), X, y)
    of_classes = [DecisionTreeClassifier(max_depth=2), RandomForestClassifier(3, max_depth=3), HistGradientBoostingClassifier(max_iter=3), GradientBoostingClassifier(n_estimators=3), DummyClassifier(strategy="most_frequent"), VotingClassifier([("a", DecisionTreeClassifier(max_depth=3))], voting="soft"), AdaBoostClassifier(n_estimators=3)]
    for model in of_classes:
        case(f"boosted_{type(model).__name__}_2", GradientBoostingClassifier(n_estimators=4, init=model, loss=pick("log_loss", "exponential")), X, two)
        case(f"boosted_{type(model).__name__}_3", GradientBoostingClassifier(n_estimators=4, init=model), X, three)
    extreme = lambda **more: xgboost.XGBRegressor(n_estimators=8, max_depth=3, **more)
    light = lambda **more: lightgbm.LGBMRegressor(n_estimators=8, num_leaves=7, verbose=-1, min_child_samples=5, **more)
    cat = lambda: catboost.CatBoostRegressor(iterations=5, depth=3, verbose=0, allow_writing_files=False)
    for threshold in (None, "median", "0.5*mean", 0.1):
        for kind in ("gain", "weight", "cover", "total_gain", "total_cover"):
            case(f"select_xgb_{kind}", make_pipeline(SelectFromModel(extreme(importance_type=kind), threshold=threshold), Ridge()), X, y, form=pick("skops", "cloudpickle"))
        for kind in ("split", "gain"):
            case(f"select_lgbm_{kind}", make_pipeline(SelectFromModel(light(importance_type=kind), threshold=threshold), Ridge()), X, y, form=pick("skops", "cloudpickle"))
        case("select_catboost", make_pipeline(SelectFromModel(cat(), threshold=threshold), Ridge()), X, y, form="cloudpickle")
    case("select_xgb_most", make_pipeline(SelectFromModel(extreme(booster="dart", rate_drop=0.3), max_features=3), extreme()), X, y, form="cloudpickle")
    for model in (extreme(), light(), cat()):
        case(f"boosted_{type(model).__name__}", GradientBoostingRegressor(n_estimators=4, init=model), X, y, form="cloudpickle")
        case(f"imputer_{type(model).__name__}", make_pipeline(IterativeImputer(model, max_iter=2), Ridge()), H, y, form="cloudpickle")

def equally_near():
    """Neighbours at equal distances: which of them are found is a matter of the search."""
    metrics = {"kd_tree": ["euclidean", "manhattan", "chebyshev", "minkowski"], "ball_tree": ["euclidean", "manhattan", "chebyshev", "minkowski", "hamming", "canberra", "braycurtis"],
               "brute": ["euclidean", "manhattan", "chebyshev"], "auto": ["minkowski"]}
    for algorithm, names in metrics.items():
        for metric in names:
            for width in (1, 2, number(3, 7)):
                n = pick(20, 90, 400, 1500)
                X = rng.integers(0, pick(2, 4, 7), (n, width)).astype(float)
                Q = np.vstack([X[:20], X[:10] + 0.5, rng.integers(-2, 9, (10, width)).astype(float)])
                y = rng.normal(size=n)
                c = rng.integers(0, 4, n)
                more = dict(algorithm=algorithm, metric=metric, leaf_size=pick(1, 5, 30), p=pick(1, 2, 3) if metric == "minkowski" else 2)
                k = dict(n_neighbors=pick(1, 2, 3, 5, 12), weights=pick("uniform", "distance"))
                name = f"{algorithm}_{metric}_{width}"
                case(f"equally_near_regressor_{name}", KNeighborsRegressor(**k, **more), X, y, Q=Q)
                case(f"equally_near_classifier_{name}", KNeighborsClassifier(**k, **more), X, c, Q=Q)
                case(f"equally_near_radius_{name}", RadiusNeighborsRegressor(radius=pick(9.0, 6.0), weights=k["weights"], **more), X, y, Q=Q[:20])
                case(f"equally_near_outlier_{name}", LocalOutlierFactor(pick(3, 7), novelty=True, **more), X + rng.normal(size=X.shape) * pick(0, 0.1), None, Q=Q[:20])
    places = pd.DataFrame({"city": rng.choice(CITIES, 300), "plan": rng.choice(["free", "pro"], 300), "age": rng.integers(20, 30, 300)})
    encoded = ColumnTransformer([("c", OneHotEncoder(sparse_output=False), ["city", "plan"])], remainder=MinMaxScaler())
    case("equally_near_encoded", make_pipeline(encoded, KNeighborsClassifier(pick(1, 4, 7))), places, rng.integers(0, 3, 300), Q=places.head(60))
    X = rng.integers(0, 4, (200, 3)).astype(float)
    known = np.where(rng.random(200) < 0.4, rng.integers(0, 3, 200), -1)
    case("equally_near_spread", LabelSpreading(kernel="knn", n_neighbors=pick(3, 7)), X, known, Q=X[:30] + 0.5)

def refusals():
    docs = documents()
    y = np.arange(len(docs)) % 2
    for name, options, what in (("lookahead", dict(token_pattern=r"\w+(?=\s)"), "lookaround"), ("flag", dict(token_pattern=r"(?i)[a-z]+"), "flag"), ("tokenizer", dict(tokenizer=str.split, token_pattern=None), "tokenizer"),
                                ("analyzer", dict(analyzer=str.split), "analyzer"), ("preprocessor", dict(preprocessor=str.lower), "preprocessor")):
        refused(name, make_pipeline(CountVectorizer(**options), MultinomialNB()), docs, y, what)
    X = np.abs(table()) + 1
    refused("function", make_pipeline(FunctionTransformer(lambda x: x * 2), Ridge()), X, X[:, 0], "FunctionTransformer runs")
    refused("gb_init", GradientBoostingRegressor(n_estimators=2, init=Ridge()), X, X[:, 0], "initial estimator")
    refused("nmf_shuffle", make_pipeline(NMF(2, shuffle=True), Ridge()), X, X[:, 0], "random order")
    refused("chi2_sampler", make_pipeline(AdditiveChi2Sampler(), Ridge()), X, X[:, 0], "AdditiveChi2Sampler of scikit-learn 1.")
    refused("pooling", make_pipeline(FeatureAgglomeration(2, pooling_func=np.var), Ridge()), X, X[:, 0], "pooling_func is numpy.var")
    for vectorizer in (DictVectorizer(), FeatureHasher(8)):
        dicts = [{"a": float(i), "b": "xyz"[i % 3]} for i in range(9)]
        refused(type(vectorizer).__name__, make_pipeline(vectorizer, Ridge()), dicts, np.arange(9.0), f"{type(vectorizer).__name__} of scikit-learn 1.")
    refused("sparse_splines", make_pipeline(SplineTransformer(sparse_output=True), xgboost.XGBRegressor(n_estimators=2)), X, X[:, 0], "with sparse rows is not supported before XGBoost")
    refused("knn_callable", KNeighborsRegressor(weights=lambda d: 1 / (d + 1)), X, X[:, 0], "no code is run")

for _ in range(ROUNDS):
    for part in (transformers, estimators, columns, texts, numbers_as_they_are, boosters, boosters_behind_encoders, estimators_of_boosters_and_kernels, selections_and_labels, factors_and_processes, estimators_inside, columns_in_another_order, equally_near, compositions):
        part()
refusals()
print(f"{len(made)} cases; scikit-learn refused {len(skipped)}: " + "; ".join(skipped), file=sys.stderr)
