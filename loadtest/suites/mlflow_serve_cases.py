#!/usr/bin/env python3
"""Compares `/invocations` of `forebay up` with that of `mlflow models serve`: same predictions and same class of status for
every layout of the input, of numbers and of typed columns, labels, several outputs and missing values.

usage: mlflow_serve_cases.py FOREBAY_BINARY     (a Python with mlflow, scikit-learn and pandas: `compose/native.sh python`)

Fits models, starts the servers on free ports, stops them at the end, prints one line for each case, exits 1 if any
differs. The named differences are in services/ingestion/src/http/scoring/mlflow.rs.
"""
import json
import math
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from mlflow.models.signature import ModelSignature
from mlflow.types import ColSpec, Schema
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

DATA = load_diabetes(as_frame=True).data
FRAME = DATA[:4]
SPLIT = FRAME.to_dict(orient="split")
RECORDS = FRAME.to_dict(orient="records")
COLUMNS = {name: FRAME[name].tolist() for name in FRAME}
MATRIX = FRAME.to_numpy().tolist()
JSON = "application/json"
PARAMS = {
    "a parameter's default": {"temperature": 1.0},
    "a parameter's default, an integer": {"temperature": 1},
    "params of nothing": {},
    "params, null": None,
    "a parameter of another type": {"temperature": "1.0"},
    "params, no object": [1],
    "another value of a parameter": {"temperature": 2.0},
    "an unknown parameter": {"top_k": 1},
    "an unknown parameter that is a list": {"top_k": [1, {"a": 2}]},
    "an unknown parameter beside a known one": {"top_k": 1, "temperature": 1.0},
}
STRICT = {"another value of a parameter"}
ARRAYS = {"instances of arrays", "inputs of arrays"}


def bodies():
    """Name, content type and body of each case. Those of `ARRAYS` are refused by MLflow, because the columns have names; those of
    `STRICT` are refused here, because the model would not do what they say, and MLflow's flavor of scikit-learn ignores them."""
    def case(name, document, kind=JSON):
        return name, kind, json.dumps(document).encode()

    yield case("dataframe_split", {"dataframe_split": SPLIT})
    yield case("dataframe_split with charset", {"dataframe_split": SPLIT}, "application/json; charset=utf-8")
    shuffled = FRAME[FRAME.columns[::-1]].to_dict(orient="split")
    yield case("dataframe_split, columns in another order", {"dataframe_split": shuffled})
    yield case("dataframe_split, an extra column", {"dataframe_split": FRAME.assign(extra=1.0).to_dict(orient="split")})
    yield case("dataframe_split, an extra column of text", {"dataframe_split": FRAME.assign(extra="a").to_dict(orient="split")})
    yield case("dataframe_split, a column missing", {"dataframe_split": FRAME.drop(columns="bmi").to_dict(orient="split")})
    yield case("dataframe_split without columns", {"dataframe_split": {"data": MATRIX}})
    yield case("dataframe_split, an unknown key", {"dataframe_split": SPLIT | {"colums": list(COLUMNS)}})
    yield case("dataframe_split, a list", {"dataframe_split": [list(COLUMNS), MATRIX]})
    yield case("a list", [SPLIT])
    yield case("dataframe_split, ragged", {"dataframe_split": SPLIT | {"data": [MATRIX[0], MATRIX[1][:5]]}})
    yield case("dataframe_records", {"dataframe_records": RECORDS})
    yield case("dataframe_records, a key missing", {"dataframe_records": [{k: v for k, v in row.items() if k != "bmi"} for row in RECORDS]})
    yield case("instances of objects", {"instances": RECORDS})
    yield case("instances of arrays", {"instances": MATRIX})
    yield case("inputs of columns", {"inputs": COLUMNS})
    yield case("inputs of arrays", {"inputs": MATRIX})
    yield case("inputs of one row", {"inputs": {name: values[0] for name, values in COLUMNS.items()}})
    yield case("inputs of columns, one missing", {"inputs": {k: v for k, v in COLUMNS.items() if k != "bmi"}})
    yield case("inputs of columns, lengths differ", {"inputs": COLUMNS | {"bmi": [0.1]}})
    for name, params in PARAMS.items():
        yield case(name, {"dataframe_split": SPLIT, "params": params})
    yield case("integers", {"dataframe_records": [{name: 1 for name in FRAME}]})
    yield case("text in a column of numbers", {"dataframe_records": [RECORDS[0] | {"bmi": "a"}]})
    yield case("two layouts", {"dataframe_split": SPLIT, "inputs": MATRIX})
    yield case("no layout", {"features": MATRIX})
    yield case("no object", [1, 2])
    yield "not JSON", JSON, b"{"
    yield "empty", JSON, b""
    yield case("another content type", {"dataframe_split": SPLIT}, "application/xml")
    yield case("another charset", {"dataframe_split": SPLIT}, "application/json; charset=latin-1")
    yield case("another parameter", {"dataframe_split": SPLIT}, "application/json; format=pandas-split")
    yield "CSV", "text/csv", FRAME.to_csv(index=False).encode()
    yield "CSV with an index", "text/csv", FRAME.to_csv().encode()
    yield "CSV, a column missing", "text/csv", FRAME.drop(columns="bmi").to_csv(index=False).encode()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def call(port, path, kind=None, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers={"content-type": kind} if kind else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def wait(port, path, process, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            if call(port, path)[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"port {port} did not become ready")


def same(ours, theirs):
    if ours[0] != 200 or theirs[0] != 200:
        # the same class: 4xx is the caller's error
        return ours[0] // 100 == theirs[0] // 100
    one, other = (json.loads(body)["predictions"] for _, body in (ours, theirs))
    return equal(one, other)


def equal(one, other):
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return type(one) is type(other) and one == other


def people():
    """Columns of every type, as typed_models.py has them."""
    generator = np.random.default_rng(7)
    return pd.DataFrame({
        "age": generator.integers(18, 90, 200),
        "city": generator.choice(["Paris", "Łódź", "Oslo"], 200),
        "member": generator.choice([True, False], 200),
        "income": generator.normal(3.0, 1.0, 200),
    })


def models(registry):
    """Fits and saves the models; the rows of each."""
    def save(name, model, rows, signature=None, **more):
        signature = signature or infer_signature(rows, model.predict(rows), **more)
        mlflow.sklearn.save_model(model, registry / name / "1", signature=signature, serialization_format="cloudpickle")
        (registry / name / "registered_model.yaml").write_text("stages:\n  1: Production\n")
        return name, rows

    target = load_diabetes(as_frame=True).target
    yield save("forest", RandomForestRegressor(20, random_state=0).fit(DATA, target), DATA, params={"temperature": 1.0})
    both = np.column_stack([target, -target])
    yield save("two", LinearRegression().fit(DATA, both), DATA)
    named = infer_signature(DATA, pd.DataFrame(both, columns=["up", "down"]))
    yield save("two-named", LinearRegression().fit(DATA, both), DATA, named)
    flowers = load_iris(as_frame=True)
    yield save("integers", LogisticRegression(max_iter=500).fit(flowers.data, flowers.target), flowers.data)
    names = flowers.target_names[flowers.target]
    yield save("texts", RandomForestClassifier(10, random_state=0).fit(flowers.data, names), flowers.data)
    rows = people()
    stays = ((rows["age"] > 50) ^ (rows["city"] == "Oslo")).to_numpy()
    columns = ColumnTransformer([("city", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough")
    yield save("typed", make_pipeline(columns, LogisticRegression(max_iter=500)).fit(rows, stays), rows)
    optional = ModelSignature(Schema([ColSpec("double", name, required=name != "bmi") for name in DATA]), Schema([ColSpec("double")]))
    yield save("missing", HistGradientBoostingRegressor(max_iter=20, random_state=0).fit(DATA, target), DATA, optional)


def layouts(rows):
    """Every layout of the first rows of a model, and of rows that do not suit it."""
    def case(name, document, kind=JSON):
        return name, kind, json.dumps(document).encode()

    rows = rows[:5]
    records, first = rows.to_dict(orient="records"), rows.columns[0]
    yield case("split", {"dataframe_split": rows.to_dict(orient="split")})
    yield case("records", {"dataframe_records": records})
    yield case("instances", {"instances": records})
    yield case("inputs", {"inputs": rows.to_dict(orient="list")})
    yield "CSV", "text/csv", rows.to_csv(index=False).encode()
    yield case("params of a model without any", {"dataframe_records": records, "params": {"top_k": 1}})
    yield case("params, no object, of a model without any", {"dataframe_records": records, "params": [1]})
    for column in rows:
        for what, value in (("null", None), ("text", "a"), ("an integer", 3), ("a fraction", 2.5), ("a whole float", 3.0), ("true", True), ("a large integer", 2**40)):
            yield case(f"{what} in {column}", {"dataframe_records": [records[0] | {column: value}]})
            yield case(f"{what} in {column}, split", {"dataframe_split": {"columns": list(rows), "data": [list((records[0] | {column: value}).values())]}})
    yield case("a column missing", {"dataframe_records": [{name: value for name, value in row.items() if name != first} for row in records]})
    yield case("an extra column", {"dataframe_records": [row | {"extra": "x"} for row in records]})
    yield "CSV, a value missing", "text/csv", (",".join(rows) + "\n" + ",".join(["", *map(str, list(records[0].values())[1:])]) + "\n").encode()


def compare(name, one, other, named=None):
    """Prints a case; whether it is as it should be: the same, or the two statuses `named`."""
    good = (one[0], other[0]) == named if named else same(one, other)
    if one[0] != 200:
        good = good and set(json.loads(one[1])) == {"error_code", "message"}
    print(f"{'ok' if good else 'DIFFERS'}: {name}: {one[0]} and {other[0]}")
    if not good:
        print(f"  ours   {one[1][:300]!r}\n  theirs {other[1][:300]!r}")
    return good


# the application that `mlflow models serve` runs
PROGRAM = "import sys, mlflow, uvicorn; from mlflow.pyfunc import scoring_server\n" \
    "uvicorn.run(scoring_server.init(mlflow.pyfunc.load_model(sys.argv[1])), port=int(sys.argv[2]))"


def run(folder, binary):
    """Serves every model by both, and compares."""
    registry, processes, results = folder / "registry", [], []
    log = open(folder / "log", "wb")
    rows = dict(models(registry))
    ours, admin = free_port(), free_port()
    settings = {
        "FOREBAY__HTTP__LISTEN": f"127.0.0.1:{ours}",
        "FOREBAY__ADMIN__LISTEN": f"127.0.0.1:{admin}",
        "FOREBAY__GRPC__ENABLED": "false",
        "FOREBAY__MODELS__REGISTRY": f"file:{registry}",
        "FOREBAY__MODELS__NAME": "forest",
    }
    quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    try:
        processes.append(subprocess.Popen([binary, "up"], env=os.environ | settings, stdout=log, stderr=log))
        wait(ours, "/ping", processes[0])
        for model, data in rows.items():
            wait(ours, f"/v2/models/{model}/ready", processes[0])
            theirs = free_port()
            server = subprocess.Popen([sys.executable, "-c", PROGRAM, str(registry / model / "1"), str(theirs)], env=quiet, stdout=log, stderr=log)
            processes.append(server)
            wait(theirs, "/ping", server)
            cases = bodies() if model == "forest" else layouts(data)
            named = {**dict.fromkeys(ARRAYS, (200, 400)), **dict.fromkeys(STRICT, (400, 200))} if model == "forest" else TYPED
            for name, kind, body in cases:
                one, other = call(ours, f"/models/{model}/invocations", kind, body), call(theirs, "/invocations", kind, body)
                expected = named.get(name) or named.get((model, name))
                results.append(compare(f"{model}: {name}", one, other, expected))
            server.terminate()
        for path in ("/ping", "/health", "/version"):
            assert call(ours, path)[0] == 200, path
        assert call(ours, "/invocations", JSON, json.dumps({"inputs": MATRIX}).encode())[0] == 200
        assert call(ours, "/models/absent/invocations", JSON, json.dumps({"inputs": MATRIX}).encode())[0] == 404
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)
    return results


# Values that MLflow converts (2.5 to 2, 3 to "3", "a" to true) and that are refused here: column and what is in it.
CONVERTED = {
    "age": ("a fraction",),
    "city": ("a fraction", "a whole float", "true"),
    "member": ("null", "text", "an integer", "a fraction", "a whole float", "a large integer"),
}
TYPED = {
    ("typed", f"{value} in {column}{layout}"): (400, 200)
    for column, values in CONVERTED.items() for value in values for layout in ("", ", split")
}


def main():
    with tempfile.TemporaryDirectory() as folder:
        results = run(pathlib.Path(folder), sys.argv[1])
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(not all(results))


main()
