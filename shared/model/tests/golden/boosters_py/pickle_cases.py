"""Boosters inside pickles of scikit-learn."""

import pickle

import joblib
import lightgbm as lgb
import numpy as np
import xgboost as xgb
from catboost import CatBoostClassifier, CatBoostRegressor
from sklearn.ensemble import StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from __main__ import data, rows_of, targets

WITHIN = [1e-9, 1e-9]


def estimators(cases):
    rounds = cases.rounds
    lgb_quiet = {"n_estimators": rounds, "verbose": -1, "min_child_samples": 5, "num_leaves": cases.leaves}
    xgb_small = {"n_estimators": rounds, "max_depth": 3, "n_jobs": 1}
    cat_small = {"iterations": rounds, "depth": 3, "verbose": 0, "allow_writing_files": False}
    return {
        "xgb_reg": (xgb.XGBRegressor(**xgb_small), "any"),
        "xgb_missing": (xgb.XGBRegressor(missing=-999.0, **xgb_small), "gaps"),
        "xgb_clf": (xgb.XGBClassifier(**xgb_small), "binary"),
        "xgb_multi": (xgb.XGBClassifier(**xgb_small), "classes"),
        "xgb_early": (xgb.XGBRegressor(early_stopping_rounds=1, learning_rate=1.4, **xgb_small), "early"),
        "xgb_scaled": (make_pipeline(StandardScaler(), xgb.XGBClassifier(**xgb_small)), "binary"),
        "lgb_reg": (lgb.LGBMRegressor(**lgb_quiet), "any"),
        "lgb_clf_text": (lgb.LGBMClassifier(**lgb_quiet), "names"),
        "lgb_multi": (lgb.LGBMClassifier(**lgb_quiet), "classes"),
        "lgb_early": (lgb.LGBMRegressor(early_stopping_round=1, learning_rate=1.2, **lgb_quiet), "early"),
        "lgb_scaled": (make_pipeline(SimpleImputer(), StandardScaler(), lgb.LGBMClassifier(**lgb_quiet)), "names"),
        "lgb_grid": (GridSearchCV(lgb.LGBMRegressor(**lgb_quiet), {"learning_rate": [0.1, 0.3]}, cv=2), "any"),
        "cat_reg": (CatBoostRegressor(**cat_small), "any"),
        "cat_clf_text": (CatBoostClassifier(**cat_small), "names"),
        "cat_scaled": (make_pipeline(StandardScaler(), CatBoostClassifier(**cat_small)), "classes"),
        "voting": (VotingRegressor([("l", lgb.LGBMRegressor(**lgb_quiet)), ("x", xgb.XGBRegressor(**xgb_small))]), "any"),
        "voting_xgb_first": (VotingRegressor([("x", xgb.XGBRegressor(**xgb_small)), ("r", Ridge())]), "any"),
        "voting_clf": (VotingClassifier([("l", lgb.LGBMClassifier(**lgb_quiet)), ("x", xgb.XGBClassifier(**xgb_small))],
                                        voting="soft"), "binary"),
        "stacking": (StackingRegressor([("l", lgb.LGBMRegressor(**lgb_quiet)), ("c", CatBoostRegressor(**cat_small))],
                                       Ridge(), cv=2), "any"),
        "multi_output": (MultiOutputRegressor(lgb.LGBMRegressor(**lgb_quiet)), "several"),
    }


def make(cases):
    for i, (short, (model, kind)) in enumerate(estimators(cases).items()):
        name = f"pickle_{short}"
        if not cases.wanted(name):
            continue
        rng = cases.rng(name)
        X, y = data(rng)
        if kind == "gaps":
            X[rng.random(X.shape) < 0.2] = -999.0
        if kind == "several":
            y = np.c_[y, -y + X[:, 1]]
        target = np.where(y > np.median(y), "stay", "churn") if kind == "names" else targets(rng, kind, y)
        if kind == "early":
            model.fit(X[:300], y[:300], eval_set=[(X[300:], y[300:])])
        else:
            model.fit(X, target)
        rows = rows_of(cases, rng, X, 0)
        if kind == "gaps":
            rows[rng.random(rows.shape) < 0.2] = -999.0
        proba = model.predict_proba(rows) if hasattr(model, "predict_proba") else None
        protocol = [2, 4, 5][i % 3]
        save = lambda path: joblib.dump(model, path) if i % 5 == 4 else pickle.dump(model, open(path, "wb"), protocol)
        predicted = model.predict(rows)
        if predicted.ndim == 2 and predicted.shape[1] == 1:
            predicted = predicted[:, 0]
        cases.write(name, "sklearn", "model.pkl", save, {}, rows, predicted, proba, WITHIN)
