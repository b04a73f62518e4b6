#!/usr/bin/env python3
"""Registers twenty models of the kinds that teams have in MLflow, and says what MLflow itself answers with each.

usage: MLFLOW_TRACKING_URI=http://127.0.0.1:5000 mlflow_models.py OUT.json

OUT.json: {"rows": [{COLUMN: VALUE}..], "models": {NAME: {"predict": [..]}}}, with what
`mlflow.pyfunc.load_model("models:/NAME/VERSION").predict` returns. Every model is alias champion of its name.
"""

import json
import logging
import os
import sys
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import catboost
import lightgbm
import mlflow
import mlflow.catboost
import mlflow.lightgbm
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
import xgboost
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import ComplementNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from sklearn.svm import LinearSVC

NUMBERS, CITY, TEXT = ["age", "income", "visits"], ["city"], "note"
WORDS = "late delivery refund thanks broken great never again happy slow Grüße naïve café resend invoice".split()


def table(rows, seed):
    """Columns of numbers, some missing, of categories and of text, with two targets."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "age": random.integers(18, 90, rows).astype(float),
        "income": np.where(random.random(rows) < 0.1, np.nan, np.round(random.lognormal(10, 1, rows), 2)),
        "visits": random.integers(0, 40, rows),
        "city": random.choice(["Bonn", "Köln", "São Paulo", "Łódź"], rows),
        "note": [" ".join(random.choice(WORDS, random.integers(3, 9))) for _ in range(rows)],
    })
    value = frame["age"] * 3 + frame["income"].fillna(0) / 1e4 + frame["visits"] ** 1.5 + random.normal(0, 5, rows)
    kind = np.where(frame["note"].str.contains("refund|broken"), "complaint", np.where(value > 250, "praise", "question"))
    return frame, value.to_numpy(), kind


def encoded():
    """Numbers with gaps and categories, as one matrix."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return ColumnTransformer([("numbers", numbers, NUMBERS), ("city", OneHotEncoder(handle_unknown="ignore"), CITY)])


def models(frame, value, kind):
    """Name, flavor, fitted model and the columns that it takes."""
    numbers = frame[NUMBERS].astype(float)
    codes, names = pd.factorize(kind, sort=True)
    small = {"n_estimators": 30, "random_state": 1}
    yield "xgb-regressor", mlflow.xgboost, xgboost.XGBRegressor(**small).fit(numbers, value), NUMBERS
    yield "xgb-classifier", mlflow.xgboost, xgboost.XGBClassifier(**small).fit(numbers, codes), NUMBERS
    yield "xgb-poisson", mlflow.xgboost, xgboost.XGBRegressor(objective="count:poisson", **small).fit(numbers, np.abs(value)), NUMBERS
    matrix = xgboost.DMatrix(numbers, label=codes == 1)
    yield "xgb-booster", mlflow.xgboost, xgboost.train({"objective": "binary:logistic", "seed": 1}, matrix, 25), NUMBERS
    yield "lgbm-regressor", mlflow.lightgbm, lightgbm.LGBMRegressor(verbose=-1, **small).fit(numbers, value), NUMBERS
    yield "lgbm-classifier", mlflow.lightgbm, lightgbm.LGBMClassifier(verbose=-1, **small).fit(numbers, kind), NUMBERS
    yield "lgbm-quantile", mlflow.lightgbm, lightgbm.LGBMRegressor(objective="quantile", alpha=0.9, verbose=-1, **small).fit(numbers, value), NUMBERS
    booster = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1, "seed": 1}, lightgbm.Dataset(numbers, codes), 20)
    yield "lgbm-booster", mlflow.lightgbm, booster, NUMBERS
    quiet = {"iterations": 40, "depth": 4, "random_seed": 1, "verbose": False, "allow_writing_files": False}
    yield "cat-regressor", mlflow.catboost, catboost.CatBoostRegressor(**quiet).fit(numbers, value), NUMBERS
    mixed = frame[NUMBERS + CITY].astype({"visits": float})
    yield "cat-classifier", mlflow.catboost, catboost.CatBoostClassifier(cat_features=CITY, **quiet).fit(mixed, kind), NUMBERS + CITY
    yield "cat-category-regressor", mlflow.catboost, catboost.CatBoostRegressor(cat_features=CITY, **quiet).fit(mixed, value), NUMBERS + CITY

    note, whole = frame[TEXT], NUMBERS + CITY + [TEXT]
    text = lambda vectorizer, model: make_pipeline(ColumnTransformer([("note", vectorizer, TEXT)]), model)
    sklearn = [
        ("text-tfidf", text(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=4)), [TEXT], kind),
        ("text-counts", text(CountVectorizer(strip_accents="unicode"), ComplementNB()), [TEXT], kind),
        ("text-hashed", text(HashingVectorizer(n_features=256), SGDClassifier(random_state=1)), [TEXT], kind),
        ("text-union", text(FeatureUnion([("words", TfidfVectorizer()), ("parts", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)))]), LinearSVC()), [TEXT], kind),
        ("table-forest", make_pipeline(encoded(), RandomForestClassifier(**small)), NUMBERS + CITY, kind),
        ("table-histograms", make_pipeline(
            ColumnTransformer([("city", OrdinalEncoder(), CITY)], remainder="passthrough"),
            HistGradientBoostingClassifier(max_iter=20, random_state=1)), NUMBERS + CITY, kind),
        ("table-target-encoded", make_pipeline(
            ColumnTransformer([("city", TargetEncoder(random_state=1), CITY), ("age", "passthrough", ["age"])]), Ridge()), ["age"] + CITY, value),
        ("table-boosted", make_pipeline(encoded(), xgboost.XGBClassifier(**small)), NUMBERS + CITY, codes),
        ("table-neighbours", make_pipeline(encoded(), KNeighborsRegressor()), NUMBERS + CITY, value),
        ("everything", make_pipeline(
            ColumnTransformer([("table", encoded(), NUMBERS + CITY), ("note", TfidfVectorizer(), TEXT)]),
            VotingClassifier([("linear", LogisticRegression(max_iter=500)), ("boosted", lightgbm.LGBMClassifier(verbose=-1, **small))], voting="soft"),
        ), whole, kind),
    ]
    for name, pipeline, columns, target in sklearn:
        yield name, mlflow.sklearn, pipeline.fit(frame[columns], target), columns


def plain(answers):
    """What `/v1/predict` answers: numbers and labels, a list for several outputs."""
    answers = answers.values if isinstance(answers, pd.DataFrame) else np.asarray(answers)
    return (answers[:, 0] if answers.ndim == 2 and answers.shape[1] == 1 else answers).tolist()


def main(out):
    frame, value, kind = table(400, 1)
    fresh, _, _ = table(40, 2)
    client = mlflow.MlflowClient()
    mlflow.set_experiment("twenty models")
    expected = {}
    parameters = {mlflow.xgboost: "xgb_model", mlflow.lightgbm: "lgb_model", mlflow.catboost: "cb_model", mlflow.sklearn: "sk_model"}
    for name, flavor, model, columns in models(frame, value, kind):
        more = {"serialization_format": "cloudpickle"} if flavor is mlflow.sklearn else {}
        logged = flavor.log_model(
            **{parameters[flavor]: model}, name="model", registered_model_name=name, pip_requirements=["mlflow"],
            signature=infer_signature(frame[columns]), **more)
        version = str(logged.registered_model_version)
        client.set_registered_model_alias(name, "champion", version)
        expected[name] = {"predict": plain(mlflow.pyfunc.load_model(f"models:/{name}/{version}").predict(fresh[columns]))}
    rows = [{key: None if value != value else value for key, value in row.items()} for row in fresh.to_dict("records")]
    with open(out, "w") as file:
        json.dump({"rows": rows, "models": expected}, file)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not os.environ.get("MLFLOW_TRACKING_URI"):
        sys.exit(__doc__)
    main(sys.argv[1])
