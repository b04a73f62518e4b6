"""Makes this registry and the rows that scikit-learn prepares with its artefacts.

usage: make.py   (needs scikit-learn and skops; writes beside itself)

Version 1 has a StandardScaler before its model, version 2 (Production) an imputer and a MinMaxScaler, version 3 nothing.
"""
import json
import pathlib
import struct

import numpy as np
import skops.io
from sklearn.datasets import load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

HERE = pathlib.Path(__file__).parent
data = load_diabetes(scaled=False)
NAMES, X, y = data.feature_names, data.data, data.target
GAPS = X.copy()
GAPS[np.random.default_rng(7).random(X.shape) < 0.1] = np.nan


def mlmodel(names):
    columns = json.dumps([{"type": "double", "name": name, "required": True} for name in names])
    return (
        "flavors:\n  sklearn:\n    pickled_model: model.skops\n    serialization_format: skops\n"
        f"signature:\n  inputs: '{columns}'\n"
    )


def bits(row):
    return [struct.pack(">d", value).hex() for value in row]


def save(folder, estimator, names):
    folder.mkdir(parents=True, exist_ok=True)
    skops.io.dump(estimator, folder / "model.skops")
    (folder / "MLmodel").write_text(mlmodel(names))


artefacts = {
    1: StandardScaler().fit(X),
    2: make_pipeline(SimpleImputer(strategy="mean"), MinMaxScaler((-1, 1))).fit(GAPS),
    3: None,
}
root = HERE / "diabetes"
golden = []
for version, artefact in artefacts.items():
    rows = GAPS if version == 2 else X
    model = LinearRegression().fit(artefact.transform(rows) if artefact else rows, y)
    save(root / str(version), model, NAMES)
    if artefact is not None:
        save(root / str(version) / "preprocessing", artefact, NAMES)
    odd = np.array([[0.0] * 10, [-0.0] * 10, [1e300] * 10, [5e-324] * 10, [1 / 3] * 10, [-1e-17] * 10])
    shown = np.vstack([rows[:60], rows[:10] * (1 + 2**-52), odd])
    prepared = artefact.transform(shown) if artefact is not None else shown
    golden += [{"version": version, "raw": bits(r), "prepared": bits(p)} for r, p in zip(shown, prepared)]
(root / "registered_model.yaml").write_text("aliases: {candidate: 1}\nstages: {2: Production}\n")
(HERE / "golden.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in golden) + "\n]\n")
