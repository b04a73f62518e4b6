#!/usr/bin/env python3
"""Compares `/invocations` of `forebay up` with that of `mlflow models serve`: same predictions and same class of status for
every layout of the input.

usage: mlflow_serve_cases.py FOREBAY_BINARY     (a Python with mlflow, scikit-learn and pandas: `compose/native.sh python`)

Fits a model, starts both servers on free ports, stops them at the end, prints one line for each case, exits 1 if any
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
from mlflow.models import infer_signature
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor

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
}
STRICT = {"another value of a parameter", "an unknown parameter"}
ARRAYS = {"dataframe_split without columns", "instances of arrays", "inputs of arrays"}


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
    one, other = (np.array(json.loads(body)["predictions"], dtype=float) for _, body in (ours, theirs))
    return one.shape == other.shape and all(math.isclose(a, b, rel_tol=1e-12) for a, b in zip(one.ravel(), other.ravel()))


def main():
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        registry = pathlib.Path(folder) / "registry"
        target = load_diabetes(as_frame=True).target
        model = RandomForestRegressor(20, random_state=0).fit(DATA, target)
        mlflow.sklearn.save_model(model, registry / "forest" / "1", signature=infer_signature(DATA, model.predict(DATA), params={"temperature": 1.0}), skops_trusted_types=["sklearn.tree._tree.Tree"])
        (registry / "forest" / "registered_model.yaml").write_text("stages:\n  1: Production\n")
        ours, admin, theirs = free_port(), free_port(), free_port()
        settings = {
            "FOREBAY__HTTP__LISTEN": f"127.0.0.1:{ours}",
            "FOREBAY__ADMIN__LISTEN": f"127.0.0.1:{admin}",
            "FOREBAY__MODELS__REGISTRY": f"file:{registry}",
            "FOREBAY__MODELS__NAME": "forest",
        }
        log = open(pathlib.Path(folder) / "log", "wb")
        # the application that `mlflow models serve` runs
        program = "import sys, mlflow, uvicorn; from mlflow.pyfunc import scoring_server\n" \
            "uvicorn.run(scoring_server.init(mlflow.pyfunc.load_model(sys.argv[1])), port=int(sys.argv[2]))"
        serve = [sys.executable, "-c", program, str(registry / "forest" / "1"), str(theirs)]
        processes = []
        try:
            processes.append(subprocess.Popen([sys.argv[1], "up"], env=os.environ | settings, stdout=log, stderr=log))
            quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
            processes.append(subprocess.Popen(serve, env=quiet, stdout=log, stderr=log))
            wait(ours, "/ping", processes[0])
            wait(theirs, "/ping", processes[1])
            for path in ("/ping", "/health", "/version"):
                assert call(ours, path)[0] == 200, path
            for name, kind, body in bodies():
                one, other = call(ours, "/invocations", kind, body), call(theirs, "/invocations", kind, body)
                named = {**dict.fromkeys(ARRAYS, (200, 400)), **dict.fromkeys(STRICT, (400, 200))}
                good = (one[0], other[0]) == named[name] if name in named else same(one, other)
                if one[0] != 200:
                    error = json.loads(one[1])
                    good = good and set(error) == {"error_code", "message"}
                wrong += not good
                print(f"{'ok' if good else 'DIFFERS'}: {name}: {one[0]} and {other[0]}")
                if not good:
                    print(f"  ours   {one[1][:300]!r}\n  theirs {other[1][:300]!r}")
            assert call(ours, "/models/forest/invocations", JSON, json.dumps({"inputs": MATRIX}).encode())[0] == 200
            assert call(ours, "/models/absent/invocations", JSON, json.dumps({"inputs": MATRIX}).encode())[0] == 404
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)
    total = len(list(bodies()))
    print(f"{total - wrong} passed, {wrong} failed")
    sys.exit(wrong > 0)


main()
