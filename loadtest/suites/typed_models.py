#!/usr/bin/env python3
"""Fits classifiers whose labels and columns are not all numbers, and writes them into a folder registry with what they answer.

usage: typed_models.py FOLDER     (a Python with mlflow, scikit-learn and pandas: `compose/native.sh python`)

Beside the models there is `expected.json`: the rows, and what scikit-learn answers to them.
"""
import json
import pathlib
import sys

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def save(folder, name, model, rows):
    signature = infer_signature(rows, model.predict(rows))
    mlflow.sklearn.save_model(model, folder / name / "1", signature=signature, serialization_format="cloudpickle")
    (folder / name / "registered_model.yaml").write_text("stages:\n  1: Production\n")
    some = rows[:: len(rows) // 5]
    answers = {"columns": {column: some[column].tolist() for column in some}}
    for output in ("predict", "predict_proba", "decision_function"):
        answers[output] = np.asarray(getattr(model, output)(some)).tolist()
    return answers


def main(folder):
    flowers = load_iris(as_frame=True)
    iris = LogisticRegression(max_iter=500).fit(flowers.data, flowers.target)
    generator = np.random.default_rng(7)
    people = pd.DataFrame({
        "age": generator.integers(18, 90, 200),
        "city": generator.choice(["Paris", "Łódź", "Oslo"], 200),
        "member": generator.choice([True, False], 200),
        "income": generator.normal(3.0, 1.0, 200),
    })
    stays = (people["age"] > 50) ^ (people["city"] == "Oslo")
    columns = ColumnTransformer([("city", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough")
    churn = make_pipeline(columns, LogisticRegression(max_iter=500)).fit(people, stays.to_numpy())
    expected = {"iris": save(folder, "iris", iris, flowers.data), "churn": save(folder, "churn", churn, people)}
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
