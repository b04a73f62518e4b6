#!/usr/bin/env python3
"""Runs MLflow's own client of its scoring protocol, unmodified, against a running mesh with the sample model.

usage: mlflow_client_cases.py HOST PORT     (a Python with mlflow and pandas: `compose/native.sh python`)

Every expected prediction comes from `/v1/predict` of the same server. Exits 1 if one differs.
"""
import json
import sys
import urllib.request

import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

NAMES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
FRAME = pd.DataFrame([[0.01 * row - 0.004 * column for column in range(10)] for row in range(4)], columns=NAMES)


def main(host, port):
    client = ScoringServerClient(host, port)
    client.wait_server_ready(timeout=10)
    assert client.get_version()
    body = json.dumps({"features": FRAME.to_numpy().tolist()}).encode()
    request = urllib.request.Request(f"http://{host}:{port}/v1/predict", data=body)
    with urllib.request.urlopen(request, timeout=30) as answer:
        want = json.load(answer)["predictions"]
    for name, data in [
        ("data frame", FRAME),
        ("columns in another order", FRAME[FRAME.columns[::-1]]),
        ("array", FRAME.to_numpy()),
    ]:
        got = client.invoke(data).get_predictions()[0].tolist()
        assert got == want, f"{name}: {got}, expected {want}"
        print(f"{name}: as /v1/predict")
    try:
        client.invoke(FRAME.drop(columns="bmi"))
    except Exception as error:  # it raises nothing more exact
        assert "error code 400" in str(error) and "missing inputs: bmi" in str(error), error
        print("a column missing: refused by name")
    else:
        sys.exit("a missing column was accepted")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
