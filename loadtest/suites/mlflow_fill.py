#!/usr/bin/env python3
"""Fills an MLflow server with versions of one model, and says what each predicts.

usage: MLFLOW_TRACKING_URI=http://127.0.0.1:5000 mlflow_fill.py OUT.json

OUT.json: {"model": NAME, "rows": [[..]..], "versions": {"1": {"kind": .., "exact": bool, "predict": [..]}, ..}}
with numbers as scikit-learn (1, 2, 5) and onnxruntime's input, scikit-learn (3), gave them. The versions:

  1  random forest in a pipeline, as skops; alias champion
  2  another forest in a pipeline, as cloudpickle; stage Staging
  3  gradient boosting as ONNX
  4  what cannot be served: an estimator whose class is the author's own; not in "versions"
  5  forest without its scaler, logged below the run as MLflow 2 did, the scaler beside it as scaler.pkl
"""

import json
import logging
import os
import pickle
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import mlflow
import mlflow.onnx
import mlflow.sklearn
from mlflow.models import infer_signature
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NAME = "diabetes-rf-model"


class Mean(RegressorMixin, BaseEstimator):
    """Code of its author: no reader of files can know what it does."""

    def fit(self, X, y):
        self.mean_, self.n_features_in_ = float(y.mean()), X.shape[1]
        return self

    def predict(self, X):
        return [self.mean_] * len(X)


def forest(seed, trees=60):
    return RandomForestRegressor(n_estimators=trees, random_state=seed)


def registered(client, **log):
    """Logs a model in a run of its own and registers it; the run's id."""
    with mlflow.start_run() as run:
        flavor = log.pop("flavor")
        flavor.log_model(name="model", registered_model_name=NAME, **log)
    return run.info.run_id


def main(out):
    data = load_diabetes(as_frame=True)
    X, y = data.data, data.target
    client = mlflow.MlflowClient()
    mlflow.set_experiment("forebay")
    common = {"signature": infer_signature(X, y.astype(float).values), "input_example": X.iloc[:2]}
    first = make_pipeline(StandardScaler(), forest(1)).fit(X, y)
    second = make_pipeline(StandardScaler(), forest(2)).fit(X, y)
    boosted = GradientBoostingRegressor(random_state=3).fit(X.values, y)
    unread = Mean().fit(X, y)
    skops = {"serialization_format": "skops", "skops_trusted_types": ["sklearn.tree._tree.Tree"]}
    registered(client, flavor=mlflow.sklearn, sk_model=first, **skops, **common)
    registered(client, flavor=mlflow.sklearn, sk_model=second, serialization_format="cloudpickle", **common)
    onnx = to_onnx(boosted, initial_types=[("X", FloatTensorType([None, X.shape[1]]))])
    registered(client, flavor=mlflow.onnx, onnx_model=onnx, **common)
    registered(client, flavor=mlflow.sklearn, sk_model=unread, serialization_format="cloudpickle", **common)

    scaler = StandardScaler().fit(X)
    scaled = forest(5).fit(scaler.transform(X), y)
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
        mlflow.sklearn.save_model(scaled, f"{folder}/model", serialization_format="cloudpickle", **common)
        with open(f"{folder}/scaler.pkl", "wb") as file:
            pickle.dump(scaler, file)
        mlflow.log_artifacts(folder)
    version = client.create_model_version(NAME, f"runs:/{run.info.run_id}/model", run.info.run_id)
    client.set_model_version_tag(NAME, version.version, "forebay.preprocessing", f"runs:/{run.info.run_id}/scaler.pkl")

    client.set_registered_model_alias(NAME, "champion", "1")
    client.transition_model_version_stage(NAME, "2", "Staging")
    rows = X.iloc[::9]
    listed = {
        "1": ("skops", True, first.predict(rows)),
        "2": ("cloudpickle", True, second.predict(rows)),
        "3": ("onnx", False, boosted.predict(rows.values)),
        version.version: ("2.x layout", True, scaled.predict(scaler.transform(rows))),
    }
    versions = {
        number: {"kind": kind, "exact": exact, "predict": [float(p) for p in predict]}
        for number, (kind, exact, predict) in listed.items()
    }
    with open(out, "w") as file:
        json.dump({"model": NAME, "rows": rows.values.tolist(), "versions": versions}, file)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not os.environ.get("MLFLOW_TRACKING_URI"):
        sys.exit(__doc__)
    main(sys.argv[1])
