"""Models of CatBoost."""

import numpy as np
from catboost import CatBoost, CatBoostClassifier, CatBoostRanker, CatBoostRegressor, Pool

from __main__ import data, rows_of, targets

WITHIN = [1e-12, 1e-9]
CASES = [
    # name, class, loss, kind of target, parameters
    ("rmse", CatBoostRegressor, "RMSE", "any", {}),
    ("mae", CatBoostRegressor, "MAE", "any", {}),
    ("quantile", CatBoostRegressor, "Quantile:alpha=0.7", "any", {}),
    ("poisson", CatBoostRegressor, "Poisson", "count", {}),
    ("tweedie", CatBoostRegressor, "Tweedie:variance_power=1.5", "count", {}),
    ("mape", CatBoostRegressor, "MAPE", "positive", {}),
    ("logcosh", CatBoostRegressor, "LogCosh", "any", {}),
    ("huber", CatBoostRegressor, "Huber:delta=1", "any", {}),
    ("expectile", CatBoostRegressor, "Expectile:alpha=0.3", "any", {}),
    ("uncertainty", CatBoostRegressor, "RMSEWithUncertainty", "any", {}),
    ("multiquantile", CatBoostRegressor, "MultiQuantile:alpha=0.2,0.8", "any", {}),
    ("multirmse", CatBoostRegressor, "MultiRMSE", "several", {}),
    ("logloss", CatBoostClassifier, "Logloss", "binary", {}),
    ("logloss_text", CatBoostClassifier, "Logloss", "names", {}),
    ("crossentropy", CatBoostClassifier, "CrossEntropy", "unit", {}),
    ("multiclass", CatBoostClassifier, "MultiClass", "classes", {}),
    ("multiclass_text", CatBoostClassifier, "MultiClass", "class_names", {}),
    ("multiclass_given", CatBoostClassifier, "MultiClass", "classes", {"classes_count": 6}),
    ("onevsall", CatBoostClassifier, "MultiClassOneVsAll", "classes", {}),
    ("multilogloss", CatBoostClassifier, "MultiLogloss", "labels", {}),
    ("raw_logloss", CatBoost, "Logloss", "binary", {}),
    ("raw_multiclass", CatBoost, "MultiClass", "classes", {}),
    ("rank", CatBoostRanker, "YetiRank", "any", {}),
]
POLICIES = ["SymmetricTree", "Depthwise", "Lossguide"]


def target(rng, kind, y):
    if kind == "names":
        return np.where(y > np.median(y), "stay", "churn")
    if kind == "class_names":
        return np.array(["low", "mid", "high", "top"])[targets(rng, "classes", y)]
    if kind == "labels":
        return (np.c_[y, -y + rng.normal(size=len(y))] > 0).astype(int)
    if kind == "several":
        return np.c_[y, -2 * y + rng.normal(size=len(y))]
    return targets(rng, kind, y)


CTRS = ["Borders", "Buckets", "BinarizedTargetMeanValue", "Counter"]


def of_categories(cases):
    for i in range(16):
        name = f"cat_category_{i}"
        if not cases.wanted(name):
            continue
        rng = cases.rng(name)
        n, kinds = 500, int(rng.choice([3, 8, 40]))
        cities = np.array([f"{'long ' * int(k % 7) * int(k % 3)}Łódź {k}" for k in range(kinds)])
        columns = [np.round(rng.normal(size=n), 3), rng.choice(cities, n), rng.integers(-5, 12, n),
                   np.round(rng.lognormal(size=n), 3), rng.choice(["a", "b", ""], n)]
        effect = dict(zip(cities, rng.normal(size=kinds)))
        y = np.array([effect[c] for c in columns[1]]) + columns[0] * (columns[2] % 3) + (columns[4] == "a")
        rows = [list(row) for row in zip(*[c.tolist() for c in columns])]
        several = i % 4 == 3
        kind = "class_names" if several else ["any", "names", "any"][i % 3]
        cls = CatBoostRegressor if kind == "any" else CatBoostClassifier
        ctr = CTRS[i % 4] + (f":TargetBorderCount={int(rng.integers(1, 4))}" if i % 4 < 3 and cls is CatBoostRegressor else "")
        chosen = {
            "iterations": cases.rounds, "depth": int(rng.integers(2, cases.deepest + 1)), "verbose": 0, "thread_count": 1,
            "one_hot_max_size": int(rng.choice([1, 2, 10])), "max_ctr_complexity": int(rng.integers(1, 5)),
            "simple_ctr": [ctr, "Counter"], "combinations_ctr": [ctr, "Borders"], "allow_writing_files": False,
            "grow_policy": POLICIES[i % 3 if i > 8 else 0], "random_seed": int(rng.integers(1 << 30)),
            "model_size_reg": 0, "learning_rate": 0.3, "cat_features": [1, 2, 4],
        }
        model = cls(**chosen).fit(rows, target(rng, kind, y))
        asked = [list(rows[k]) for k in rng.choice(n, cases.rows)]
        asked[0][1], asked[0][2], asked[0][4] = "Atlantis", 99, "new"
        save = lambda path: model.save_model(path, format="json" if path.endswith("json") else "cbm", pool=Pool(rows, cat_features=[1, 2, 4]))
        proba = model.predict_proba(asked) if cls is CatBoostClassifier else None
        predicted = model.predict(asked)
        if predicted.ndim == 2:
            predicted = predicted[:, 0]
        file = "model.json" if i % 5 == 4 and chosen["grow_policy"] == "SymmetricTree" else "model.cb"
        cases.write(name, "catboost", file, save, {"model_type": cls.__name__}, asked, predicted, proba, WITHIN)


def make(cases):
    of_categories(cases)
    for i, (short, cls, loss, kind, more) in enumerate(CASES):
        for policy in POLICIES:
            name = f"cat_{short}_{policy.lower()}"
            if not cases.wanted(name) or (loss in ("MultiRMSE", "MultiLogloss") and policy != "SymmetricTree"):
                continue
            rng = cases.rng(name)
            missing = 0.1 if rng.random() < 0.5 else 0.0
            X, y = data(rng, missing=missing)
            y = target(rng, kind, y)
            chosen = {
                "iterations": cases.rounds, "depth": int(rng.integers(1, cases.deepest + 1)), "loss_function": loss,
                "learning_rate": float(rng.uniform(0.05, 0.5)), "random_seed": int(rng.integers(1 << 30)), "verbose": 0,
                "grow_policy": policy, "border_count": int(rng.choice([4, 32, 254])), "thread_count": 1,
                "nan_mode": str(rng.choice(["Min", "Max"])), "allow_writing_files": False, **more,
            }
            if short == "rmse" and policy == "SymmetricTree":
                chosen["depth"] = min(10, cases.deepest + 4)
            fit(cases, name, cls, chosen, rng, X, y, missing, "model.json" if i % 4 == 3 else "model.cb")


def fit(cases, name, cls, chosen, rng, X, y, missing, file):
    model = cls(chosen) if cls is CatBoost else cls(**chosen)
    if cls is CatBoostRanker:
        model.fit(Pool(X, y, group_id=np.repeat(np.arange(len(X) // 10), 10)))
    else:
        model.fit(X, y)
    rows = rows_of(cases, rng, X, missing)
    save = lambda path: model.save_model(path, format="json" if path.endswith("json") else "cbm")
    proba = model.predict_proba(rows) if cls is CatBoostClassifier else None
    predicted = model.predict(rows)
    if cls is CatBoostClassifier and predicted.ndim == 2 and predicted.shape[1] == 1:
        predicted = predicted[:, 0]
    cases.write(name, "catboost", file, save, {"model_type": cls.__name__}, rows, predicted, proba, WITHIN)
