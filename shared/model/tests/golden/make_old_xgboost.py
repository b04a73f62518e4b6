#!/usr/bin/env python3
"""Models in the binary format that XGBoost wrote until 2.0, alone and in pickles, for `tests/boosters.rs`.

    make_old_xgboost.py FOLDER [SEED]

Needs xgboost 1.7 or 2.0, NumPy 1 and scikit-learn 1.4.
"""

import json
import pathlib
import pickle
import sys
import warnings

import numpy as np
import xgboost as xgb

warnings.filterwarnings("ignore")
folder = pathlib.Path(sys.argv[1])
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
release = xgb.__version__.replace(".", "")


def write(name, file, flavor, save, rows, predicted, proba=None):
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    save(str(place / file))
    (place / "MLmodel").write_text(f"flavors:\n  {flavor}")
    plain = lambda a: json.loads(json.dumps(np.asarray(a).tolist()).replace("NaN", "null"))
    expected = {"case": name, "rows": plain(rows), "predict": plain(predicted)}
    if proba is not None:
        expected["predict_proba"] = plain(proba)
    (folder / f"{name}.expected.json").write_text(json.dumps(expected) + "\n")


def main():
    cases = [
        ("reg:squarederror", "gbtree"), ("binary:logistic", "gbtree"), ("multi:softmax", "gbtree"),
        ("count:poisson", "dart"), ("reg:gamma", "gblinear"), ("reg:tweedie", "gbtree"), ("binary:hinge", "gbtree"),
    ]
    for i, (objective, booster) in enumerate(cases):
        rng = np.random.default_rng([seed, i])
        X = np.round(rng.normal(size=(300, 5)), 3)
        if booster != "gblinear":
            X[rng.random(X.shape) < 0.1] = np.nan
        y = np.nan_to_num(X[:, 0]) + np.sin(np.nan_to_num(X[:, 1]))
        y = (y > 0).astype(int) if objective.startswith("binary") else y
        y = np.digitize(y, [-1, 0, 1]) if objective.startswith("multi") else y
        y = np.exp(y) if objective in ("reg:gamma", "reg:tweedie", "count:poisson") else y
        chosen = {"objective": objective, "booster": booster, "seed": i, "nthread": 1}
        if booster != "gblinear":
            chosen |= {"max_depth": 3, "tree_method": "hist"}
        if booster == "dart":
            chosen["rate_drop"] = 0.3
        if objective.startswith("multi"):
            chosen["num_class"] = 4
        if i % 2:
            chosen["base_score"] = 0.3
        model = xgb.train(chosen, xgb.DMatrix(X, y), 4)
        rows = X[:12]
        flavor = "xgboost: {data: model.xgb, model_class: xgboost.core.Booster}\n"
        name = f"xgb{release}_{objective.replace(':', '_')}_{booster}"
        write(name, "model.xgb", flavor, model.save_model, rows, model.predict(xgb.DMatrix(rows)))
    for name, model, labels in [
        ("clf", xgb.XGBClassifier(n_estimators=3, max_depth=3), [0]),
        ("multi", xgb.XGBClassifier(n_estimators=3, max_depth=2), [-1, 0, 1]),
        ("early", xgb.XGBRegressor(n_estimators=9, max_depth=3, learning_rate=1.5, early_stopping_rounds=1), None),
    ]:
        rng = np.random.default_rng([seed, len(name)])
        X = np.round(rng.normal(size=(300, 5)), 3)
        y = X[:, 0] + X[:, 1] ** 2
        if labels is None:
            model.fit(X[:200], y[:200], eval_set=[(X[200:], y[200:])], verbose=False)
        else:
            model.fit(X, np.digitize(y, labels))
        rows = X[:12]
        proba = model.predict_proba(rows) if labels is not None else None
        predicted = model.predict(rows)
        flavor = f"xgboost: {{data: model.xgb, model_class: xgboost.sklearn.{type(model).__name__}}}\n"
        write(f"xgb{release}_sk_{name}", "model.xgb", flavor, model.save_model, rows, predicted, proba)
        save = lambda path: pickle.dump(model, open(path, "wb"))
        write(f"xgb{release}_pickle_{name}", "model.pkl", "sklearn: {pickled_model: model.pkl}\n", save, rows, predicted, proba)


main()
