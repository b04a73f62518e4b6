"""Models of LightGBM."""

import lightgbm as lgb

import numpy as np

from __main__ import data, rows_of, targets

OBJECTIVES = [
    ("regression", "any"), ("regression_l1", "any"), ("huber", "any"), ("fair", "any"), ("poisson", "count"),
    ("quantile", "any"), ("mape", "positive"), ("gamma", "positive"), ("tweedie", "count"), ("binary", "binary"),
    ("cross_entropy", "unit"), ("cross_entropy_lambda", "unit"), ("lambdarank", "classes"), ("rank_xendcg", "classes"),
    ("multiclass", "classes"), ("multiclassova", "classes"),
]
WITHIN = [1e-12, 1e-9]


def parameters(cases, rng, objective, boosting):
    chosen = {
        "objective": objective, "boosting": boosting, "num_leaves": int(rng.integers(3, cases.leaves)), "verbose": -1,
        "learning_rate": float(rng.uniform(0.05, 0.4)), "min_data_in_leaf": int(rng.integers(2, 15)),
        "seed": int(rng.integers(1 << 30)), "num_threads": 1, "zero_as_missing": bool(rng.random() < 0.3),
        "use_missing": bool(rng.random() < 0.8), "lambda_l2": float(rng.uniform(0, 1)),
    }
    if boosting == "rf":
        chosen |= {"bagging_freq": 1, "bagging_fraction": 0.7}
    if objective.startswith("multiclass"):
        chosen["num_class"] = 4
    if objective in ("binary", "multiclassova") and rng.random() < 0.5:
        chosen["sigmoid"] = 1.7
    if objective in ("regression", "regression_l1") and rng.random() < 0.5:
        chosen["reg_sqrt"] = True
    return chosen


def of_categories(cases):
    from .xgboost_cases import categories, frame_rows

    for i in range(4):
        name = f"lgb_category_{i}"
        if not cases.wanted(name):
            continue
        rng = cases.rng(name)
        frame, y = categories(rng, " é")
        target = targets(rng, "classes", y) if i == 3 else y
        chosen = {"verbose": -1, "min_data_in_leaf": 5, "num_leaves": cases.leaves, "min_data_per_group": 3, "cat_smooth": 1}
        chosen |= {"objective": "multiclass", "num_class": 4} if i == 3 else {"objective": "regression"}
        model = lgb.train(chosen, lgb.Dataset(frame, target), cases.rounds)
        rows, values = frame_rows(rng, frame, cases.rows)
        if i:
            rows["city"] = rows["city"].cat.add_categories(["Atlantis"])
            rows.loc[0, "city"] = "Atlantis"
            values[0][1] = "Atlantis"
        cases.write(name, "lightgbm", "model.lgb", model.save_model, {"model_class": "lightgbm.basic.Booster"},
                    values, model.predict(rows), within=WITHIN)


def make(cases):
    of_categories(cases)
    for objective, kind in OBJECTIVES:
        for boosting in ("gbdt", "dart", "rf", "goss", "linear", "category"):
            name = f"lgb_{objective}_{boosting}"
            if not cases.wanted(name):
                continue
            if boosting == "linear" and objective in ("regression_l1", "quantile", "mape"):
                continue
            rng = cases.rng(name)
            missing = 0.1 if rng.random() < 0.5 else 0.0
            X, y = data(rng, missing=missing, zeros=0.1)
            categorical = "auto"
            if boosting == "category":
                X[:, 4] = rng.integers(0, 40, len(X))
                X[:, 5] = rng.integers(-1, 6, len(X))
                y = y + (X[:, 4] % 3) * 2 + (X[:, 5] == 2)
                categorical = [4, 5]
            y = targets(rng, kind, y)
            chosen = parameters(cases, rng, objective, "gbdt" if boosting in ("linear", "category") else boosting)
            if boosting == "category":
                chosen |= {"min_data_per_group": 2, "cat_smooth": 1.0, "max_cat_to_onehot": int(rng.choice([1, 4, 50]))}
            if boosting == "linear":
                chosen |= {"linear_tree": True, "zero_as_missing": False}
            group = [len(X) // 4] * 4 if "rank" in objective else None
            train = lgb.Dataset(X, y, group=group, categorical_feature=categorical, free_raw_data=False)
            model = lgb.train(chosen, train, cases.rounds)
            rows = rows_of(cases, rng, X, missing)
            if boosting == "category":
                rows[:, 4] = rng.integers(-2, 45, len(rows)) + rng.choice([0, 0, 0.5], len(rows))
            many = "many_" if objective.startswith("multiclass") else ""
            cases.write(many + name, "lightgbm", "model.lgb", model.save_model, {"model_class": "lightgbm.basic.Booster"},
                        rows, model.predict(rows), within=WITHIN)
