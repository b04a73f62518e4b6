#!/usr/bin/env python3
"""Random models of XGBoost, LightGBM and CatBoost with what they predict, for `tests/boosters.rs`.

    make_boosters.py FOLDER [--seed N] [--rounds N] [--rows N] [--only REGEX] [--small]

Every case is a folder as MLflow saves it, and NAME.expected.json: rows (null is missing), predict, predict_proba, and
`within`, the absolute and relative tolerance. `--small` makes the selection that is in `boosters/`. Needs xgboost 3.2, lightgbm 4.6, catboost 1.2 and scikit-learn.
"""

import argparse
import json
import math
import pathlib
import re
import warnings

import numpy as np

warnings.filterwarnings("ignore")


# one or two of every kind, each objective once
SMALL = "|".join([
    r"xgb_.*_gbtree$", "xgb_reg_gamma_dart", "xgb_count_poisson_gblinear",
    "xgb_sk_(reg_early|reg_dart|reg_linear|rf|clf|clf_hinge|clf_multi_early)$",
    "cat_(rmse|poisson|uncertainty|multirmse|logloss_text|multiclass_given|onevsall|raw_multiclass|rank)_symmetrictree",
    "cat_multiclass_(depthwise|lossguide)", "(cat_category_(0|1|3|9|14)|xgb_category_[03]|lgb_category_[13])$",
    "pickle_(xgb_missing|xgb_scaled|lgb_clf_text|lgb_early|cat_scaled|voting_xgb_first)", "xgb_several_[13]", "xgb_quantiles",
    "lgb_(regression|poisson|binary|cross_entropy|cross_entropy_lambda|multiclass|multiclassova|lambdarank)_gbdt",
    "lgb_regression_(dart|rf|linear|category)", "lgb_multiclass_(rf|linear|category)",
])


class Cases:
    def __init__(self, args):
        self.folder = pathlib.Path(args.folder)
        self.rows, self.rounds, self.only = args.rows, args.rounds, args.only
        self.seed = args.seed
        self.deepest, self.leaves = (3, 7) if args.small else (6, 20)
        self.written = 0

    def rng(self, name):
        return np.random.default_rng([self.seed, *name.encode()])

    def wanted(self, name):
        return re.search(self.only, name) is not None

    def write(self, name, flavor, file, save, meta, rows, predict, proba=None, within=None):
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        save(str(folder / file))
        lines = ["flavors:", f"  {flavor}:", f"    {'pickled_model' if flavor == 'sklearn' else 'data'}: {file}"] + [f"    {k}: {v}" for k, v in meta.items()]
        (folder / "MLmodel").write_text("\n".join(lines) + "\n")
        expected = {"case": name, "rows": plain(rows), "predict": plain(predict)}
        if proba is not None:
            expected["predict_proba"] = plain(proba)
        if within is not None:
            expected["within"] = within
        (self.folder / f"{name}.expected.json").write_text(json.dumps(expected) + "\n")
        self.written += 1


def plain(value):
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        value = float(value)
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.bool_):
        return bool(value)
    return value


def data(rng, n=400, width=8, missing=0.0, zeros=0.0):
    X = np.round(rng.normal(size=(n, width)) * rng.choice([1.0, 10.0, 100.0], width), 3)
    if zeros:
        X[rng.random(X.shape) < zeros] = 0.0
    if missing:
        X[rng.random(X.shape) < missing] = np.nan
    Z = np.nan_to_num(X)
    signal = Z[:, 0] / (1 + abs(Z[:, 0])) + np.sin(Z[:, 1]) + 0.3 * Z[:, 2] * (Z[:, 3] > 0) / (1 + abs(Z[:, 2]))
    return X, signal + rng.normal(scale=0.2, size=n)


def targets(rng, kind, y):
    if kind == "positive":
        return np.exp(y / 2) + 0.01
    if kind == "count":
        return rng.poisson(np.exp(np.clip(y / 2, -3, 3))).astype(float)
    if kind == "unit":
        return 1 / (1 + np.exp(-y))
    if kind == "binary":
        return (y > np.median(y)).astype(int)
    if kind == "classes":
        return np.digitize(y, np.quantile(y, [0.3, 0.6, 0.8]))
    return y


def rows_of(cases, rng, X, missing):
    rows = X[rng.choice(len(X), cases.rows)].copy()
    rows += np.where(rng.random(rows.shape) < 0.5, rng.normal(scale=0.1, size=rows.shape), 0)
    if missing:
        rows[rng.random(rows.shape) < 0.15] = np.nan
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--only", default="")
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    if args.small:
        args.seed, args.rounds, args.rows, args.only = 3, 2, 5, SMALL
    from boosters_py import catboost_cases, lightgbm_cases, pickle_cases, xgboost_cases

    cases = Cases(args)
    for make in (xgboost_cases, lightgbm_cases, catboost_cases, pickle_cases):
        make.make(cases)
    print(f"{cases.written} cases in {args.folder}")


if __name__ == "__main__":
    main()
