"""Writes `refusing`: model files whose libraries refuse some rows, with a row that each answers and one that it refuses.

    pip install scikit-learn==1.9.1 xgboost==3.2.0 catboost==1.2.10 pandas && python make_refusing.py
"""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
from catboost import CatBoostRegressor
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import CategoricalNB
from sklearn.neighbors import RadiusNeighborsClassifier, RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, PowerTransformer
from sklearn.preprocessing import SplineTransformer, StandardScaler
from xgboost import XGBRegressor

HERE = Path(__file__).parent / "refusing"
CITIES = ["Lyon", "Oslo", "Rome"]


def frame(n=24):
    rng = np.random.default_rng(3)
    return pd.DataFrame({"age": rng.uniform(20, 60, n).round(1), "city": rng.choice(CITIES, n)})


def numbers(n=24):
    rng = np.random.default_rng(5)
    return pd.DataFrame({"a": rng.uniform(1, 4, n).round(2), "b": rng.uniform(1, 9, n).round(2)})


def columns(encoder):
    text = make_pipeline(SimpleImputer(strategy="most_frequent"), encoder)
    return ColumnTransformer([("text", text, ["city"]), ("number", StandardScaler(), ["age"])])


def scikit_learn():
    typed, plain = frame(), numbers()
    label = (typed["age"] > 40).astype(int)
    target = plain["a"] * 2 + plain["b"]
    two = np.where(target > target.median(), "high", "low")
    strict = make_pipeline(columns(OneHotEncoder()), LogisticRegression())
    bad_city = [33.5, "Lima"]
    yield "strict_onehot", strict.fit(typed, label), typed, bad_city, "city"
    tree = make_pipeline(columns(OrdinalEncoder()), Ridge())
    yield "strict_ordinal", tree.fit(typed, typed["age"]), typed, bad_city, "city"
    stack = StackingClassifier([("a", make_pipeline(columns(OneHotEncoder()), LogisticRegression()))], cv=2)
    yield "strict_stack", stack.fit(typed, label), typed, bad_city, "city"
    vote = VotingClassifier([("a", make_pipeline(columns(OneHotEncoder()), LogisticRegression()))], voting="soft")
    yield "strict_vote", vote.fit(typed, label), typed, bad_city, "city"
    box_cox = make_pipeline(PowerTransformer(method="box-cox"), Ridge())
    yield "box_cox", box_cox.fit(plain, target), plain, [2.0, -1.0], "b"
    spline = make_pipeline(SplineTransformer(n_knots=3, degree=2, extrapolation="error"), Ridge())
    yield "spline", spline.fit(plain, target), plain, [2.0, 50.0], "b"
    for name, function in [("log", np.log), ("reciprocal", np.reciprocal)]:
        model = make_pipeline(FunctionTransformer(function), LinearRegression())
        yield name, model.fit(plain, target), plain, [2.0, 0.0], None
    yield "radius_regressor", RadiusNeighborsRegressor(1.5).fit(plain, target), plain, [90.0, 90.0], None
    yield "radius_classifier", RadiusNeighborsClassifier(1.5).fit(plain, two), plain, [90.0, 90.0], None
    codes = pd.DataFrame({"a": [0, 1, 2, 1, 0, 2], "b": [1, 1, 0, 0, 1, 0]})
    yield "categorical_bayes", CategoricalNB().fit(codes, [0, 1, 1, 0, 1, 0]), codes, [1, 7], "b"
    words = pd.Series(["good new car", "bad old car", "good car", "old bad thing"])
    text = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(words, [1, 0, 1, 0])
    yield "tfidf", text, words, [None], "f0"


def refuses(predict, row):
    """Whether the library has no finite answer to a row."""
    try:
        return not np.isfinite(predict(row)[0])
    except Exception:
        return True


def write(name, file, model, rows, refused, column):
    def predict(row):
        if rows.ndim == 1:
            return model.predict(pd.Series(row))
        kinds = {name: "category" if kind == "category" else kind for name, kind in rows.dtypes.astype(str).items()}
        return model.predict(pd.DataFrame([row], columns=rows.columns).astype(kinds))

    good = [[text] for text in rows[:2]] if rows.ndim == 1 else rows[:2].to_numpy(dtype=object).tolist()
    answers = [np.ravel(predict(row))[0] for row in good]
    answers = [answer.item() if hasattr(answer, "item") else answer for answer in answers]
    assert refuses(predict, refused), name
    return {"file": file, "rows": good, "predict": answers, "refused": refused, "column": column}


def main():
    cases = {}
    for name, model, rows, refused, column in scikit_learn():
        file = f"{name}.pkl"
        (HERE / file).write_bytes(pickle.dumps(model, protocol=5))
        cases[name] = write(name, file, model, rows, refused, column)
    typed = frame()
    categories = typed.astype({"city": "category"})
    model = XGBRegressor(n_estimators=2, max_depth=2, enable_categorical=True).fit(categories, typed["age"])
    model.save_model(HERE / "xgb_category.ubj")
    cases["xgb_category"] = write("xgb_category", "xgb_category.ubj", model, categories, [33.5, "Zagreb"], "city")
    model = CatBoostRegressor(iterations=2, depth=2, cat_features=["city"], verbose=False, allow_writing_files=False)
    model.fit(typed, typed["age"]).save_model(str(HERE / "cat_category.cbm"))
    cases["cat_category"] = write("cat_category", "cat_category.cbm", model, typed, [33.5, None], "city")
    text = ",\n".join(f"  {json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items())
    (HERE / "expected.json").write_text(f"{{\n{text}\n}}\n")


main()
