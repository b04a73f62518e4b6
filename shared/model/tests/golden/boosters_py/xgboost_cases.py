"""Models of XGBoost."""

import numpy as np
import xgboost as xgb

from __main__ import data, rows_of, targets

REGRESSION = [
    ("reg:squarederror", "any"), ("reg:squaredlogerror", "unit"), ("reg:pseudohubererror", "any"),
    ("reg:absoluteerror", "any"), ("reg:quantileerror", "any"), ("reg:gamma", "positive"), ("reg:tweedie", "count"),
    ("count:poisson", "count"), ("reg:logistic", "unit"), ("binary:logistic", "binary"), ("binary:logitraw", "binary"),
    ("binary:hinge", "binary"), ("survival:cox", "positive"), ("survival:aft", "positive"), ("rank:pairwise", "classes"),
    ("rank:ndcg", "classes"), ("rank:map", "binary"), ("multi:softmax", "classes"), ("multi:softprob", "classes"),
]
SPELLINGS = ["model.ubj", "model.json", "model.xgb"]


def parameters(cases, rng, objective):
    chosen = {
        "objective": objective, "max_depth": int(rng.integers(2, cases.deepest + 1)), "eta": float(rng.uniform(0.05, 0.6)),
        "min_child_weight": float(rng.choice([0.1, 1.0, 3.0])), "lambda": float(rng.uniform(0, 2)), "nthread": 1,
        "subsample": float(rng.choice([0.7, 1.0])), "seed": int(rng.integers(1 << 30)),
        "tree_method": str(rng.choice(["hist", "exact", "approx"])),
    }
    if rng.random() < 0.3:
        chosen["grow_policy"], chosen["tree_method"], chosen["max_leaves"] = "lossguide", "hist", 2 * cases.deepest
    if rng.random() < 0.3:
        chosen["num_parallel_tree"] = 2
    if rng.random() < 0.3 and not objective.startswith(("multi", "survival")):
        chosen["base_score"] = 0.3
    if objective == "reg:quantileerror":
        chosen["quantile_alpha"], chosen["tree_method"] = 0.7, "hist"
    if objective.startswith("multi"):
        chosen["num_class"] = 4
    return chosen


def matrix(objective, X, y):
    if objective == "survival:aft":
        matrix = xgb.DMatrix(X)
        matrix.set_float_info("label_lower_bound", y)
        matrix.set_float_info("label_upper_bound", y * 1.5)
        return matrix
    matrix = xgb.DMatrix(X, label=y)
    if objective.startswith("rank"):
        matrix.set_group([len(X) // 4] * 4)
    return matrix


def boosters(cases):
    for i, (objective, kind) in enumerate(REGRESSION):
        for booster in ("gbtree", "dart", "gblinear"):
            name = f"xgb_{objective.replace(':', '_')}_{booster}"
            if not cases.wanted(name) or (booster == "gblinear" and objective in ("survival:aft", "reg:quantileerror")):
                continue
            rng = cases.rng(name)
            missing = 0.1 if rng.random() < 0.5 else 0.0
            X, y = data(rng, missing=missing)
            y = targets(rng, kind, y)
            chosen = parameters(cases, rng, objective) | {"booster": booster}
            if booster == "dart":
                chosen |= {"rate_drop": 0.3, "skip_drop": 0.2, "normalize_type": str(rng.choice(["tree", "forest"]))}
            if booster == "gblinear":
                for key in ("max_depth", "tree_method", "subsample", "min_child_weight", "grow_policy", "max_leaves",
                            "num_parallel_tree"):
                    chosen.pop(key, None)
                chosen |= {"updater": "coord_descent", "eta": 0.1}
            if objective == "reg:absoluteerror" and booster == "gblinear":
                continue
            model = xgb.train(chosen, matrix(objective, X, y), cases.rounds)
            if objective == "multi:softprob":
                continue_multi(cases, name, model, rng, X, missing)
                continue
            rows = rows_of(cases, rng, X, missing)
            cases.write(name, "xgboost", SPELLINGS[i % 3], lambda path: save(model, path),
                        {"model_class": "xgboost.core.Booster"}, rows, model.predict(xgb.DMatrix(rows)))


def continue_multi(cases, name, model, rng, X, missing):
    """Several outputs, one list a row."""
    rows = rows_of(cases, rng, X, missing)
    cases.write("many_" + name, "xgboost", "model.ubj", lambda path: save(model, path),
                {"model_class": "xgboost.core.Booster"}, rows, model.predict(xgb.DMatrix(rows)))


def save(model, path):
    """As MLflow does: UBJSON in `model.xgb`."""
    if path.endswith(".xgb"):
        open(path, "wb").write(model.save_raw("ubj"))
    else:
        model.save_model(path)


def estimators(cases):
    for name, cls, kind, extra in [
        ("xgb_sk_reg", xgb.XGBRegressor, "any", {}),
        ("xgb_sk_reg_early", xgb.XGBRegressor, "any", {"early_stopping_rounds": 2, "learning_rate": 1.5}),
        ("xgb_sk_reg_early_parallel", xgb.XGBRegressor, "any",
         {"early_stopping_rounds": 2, "learning_rate": 1.2, "num_parallel_tree": 3, "subsample": 0.5}),
        ("xgb_sk_reg_dart", xgb.XGBRegressor, "any", {"booster": "dart", "rate_drop": 0.3}),
        ("xgb_sk_reg_linear", xgb.XGBRegressor, "any", {"booster": "gblinear"}),
        ("xgb_sk_rf", xgb.XGBRFRegressor, "any", {}),
        ("xgb_sk_clf", xgb.XGBClassifier, "binary", {}),
        ("xgb_sk_clf_early", xgb.XGBClassifier, "binary", {"early_stopping_rounds": 1, "learning_rate": 1.5}),
        ("xgb_sk_clf_hinge", xgb.XGBClassifier, "binary", {"objective": "binary:hinge"}),
        ("xgb_sk_clf_multi", xgb.XGBClassifier, "classes", {}),
        ("xgb_sk_clf_multi_early", xgb.XGBClassifier, "classes", {"early_stopping_rounds": 1, "learning_rate": 1.2}),
        ("xgb_sk_clf_multi_dart", xgb.XGBClassifier, "classes", {"booster": "dart", "rate_drop": 0.2}),
        ("xgb_sk_rf_clf", xgb.XGBRFClassifier, "classes", {}),
    ]:
        if not cases.wanted(name):
            continue
        rng = cases.rng(name)
        missing = 0.1 if rng.random() < 0.5 and extra.get("booster") != "gblinear" else 0.0
        X, y = data(rng, missing=missing)
        y = targets(rng, kind, y)
        model = cls(n_estimators=cases.rounds, max_depth=int(rng.integers(2, cases.deepest + 1)), n_jobs=1,
                    random_state=int(rng.integers(1000)), **extra)
        if "early_stopping_rounds" in extra:
            model.fit(X[:300], y[:300], eval_set=[(X[300:], y[300:])], verbose=False)
        else:
            model.fit(X, y)
        rows = rows_of(cases, rng, X, missing)
        proba = model.predict_proba(rows) if hasattr(model, "predict_proba") else None
        meta = {"model_class": f"xgboost.sklearn.{cls.__name__}"}
        cases.write(name, "xgboost", "model.ubj", model.save_model, meta, rows, model.predict(rows), proba)


def categories(rng, accent="", n=400):
    """A data frame with categories of text and of integers."""
    import pandas as pd

    cities = [f"city {i}{accent}" for i in range(int(rng.choice([2, 5, 30])))]
    frame = pd.DataFrame({
        "age": np.round(rng.normal(40, 10, n), 1),
        "city": pd.Categorical(rng.choice(cities, n), categories=rng.permutation(cities)),
        "code": pd.Categorical(rng.integers(-3, 9, n)),
        "income": np.round(rng.lognormal(10, 1, n), 2),
    })
    frame.loc[rng.random(n) < 0.1, "income"] = np.nan
    frame.loc[rng.random(n) < 0.1, "city"] = None
    effect = {city: value for city, value in zip(cities, rng.normal(size=len(cities)))}
    y = frame["city"].map(effect).astype(float).fillna(0) + (frame["code"].astype(int) % 3) + frame["age"] / 20
    return frame, (y + rng.normal(scale=0.1, size=n)).to_numpy()


def frame_rows(rng, frame, count):
    import pandas as pd

    rows = frame.iloc[rng.choice(len(frame), count)].copy().reset_index(drop=True)
    values = [[None if pd.isna(v) else v for v in row] for row in rows.astype(object).to_numpy()]
    return rows, values


def of_categories(cases):
    import pandas as pd

    for i in range(6):
        name = f"xgb_category_{i}"
        if not cases.wanted(name):
            continue
        rng = cases.rng(name)
        frame, y = categories(rng)
        cls = xgb.XGBClassifier if i % 2 else xgb.XGBRegressor
        target = (y > np.median(y)).astype(int) if i == 1 else targets(rng, "classes", y) if i % 2 else y
        model = cls(n_estimators=cases.rounds, max_depth=int(rng.integers(2, cases.deepest + 1)), enable_categorical=True,
                    tree_method="hist", max_cat_to_onehot=int(rng.choice([1, 4, 50])), n_jobs=1,
                    booster="dart" if i == 4 else "gbtree")
        model.fit(frame, target)
        rows, values = frame_rows(rng, frame, cases.rows)
        if i > 2:
            # a category that training has not seen
            rows["city"] = rows["city"].cat.add_categories(["Atlantis"])
            rows.loc[0, "city"] = "Atlantis"
            values[0][1] = "Atlantis"
        proba = model.predict_proba(rows) if i % 2 else None
        file = "model.json" if i % 3 == 0 else "model.ubj"
        meta = {"model_class": f"xgboost.sklearn.{cls.__name__}"}
        cases.write(name, "xgboost", file, model.save_model, meta, values, model.predict(rows), proba)


def several_targets(cases):
    for i in range(4):
        name = f"xgb_several_{i}"
        if not cases.wanted(name):
            continue
        rng = cases.rng(name)
        X, y = data(rng)
        Y = np.c_[y, -y + rng.normal(size=len(y)), y * X[:, 0]]
        strategy = "multi_output_tree" if i % 2 else "one_output_per_tree"
        cls = xgb.XGBClassifier if i > 1 else xgb.XGBRegressor
        model = cls(n_estimators=cases.rounds, max_depth=3, multi_strategy=strategy, tree_method="hist", n_jobs=1)
        model.fit(X, (Y > 0).astype(int) if i > 1 else Y)
        rows = rows_of(cases, rng, X, 0)
        predicted = model.predict(rows)
        proba = model.predict_proba(rows) if i > 1 else None
        meta = {"model_class": f"xgboost.sklearn.{cls.__name__}"}
        predicted = predicted.astype(int) if i > 1 else predicted
        cases.write(name, "xgboost", "model.ubj", model.save_model, meta, rows, predicted, proba)
    name = "xgb_quantiles"
    if cases.wanted(name):
        rng = cases.rng(name)
        X, y = data(rng)
        model = xgb.XGBRegressor(objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9], n_estimators=cases.rounds,
                                 tree_method="hist", n_jobs=1).fit(X, y)
        rows = rows_of(cases, rng, X, 0)
        cases.write(name, "xgboost", "model.ubj", model.save_model, {"model_class": "xgboost.sklearn.XGBRegressor"},
                    rows, model.predict(rows))


def make(cases):
    boosters(cases)
    estimators(cases)
    of_categories(cases)
    several_targets(cases)
