"""Trains the models that are compared, on the diabetes data of scikit-learn: `python make_models.py FOLDER`.

Each as NAME.skops and NAME.pkl (what Forebay reads) and NAME.onnx (what onnxruntime reads), and the rows they score as
rows.f64: row-major, ten columns, shuffled.
"""

import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx.helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor
from skops import io

MODELS = {
    "rf": RandomForestRegressor(n_estimators=100, random_state=42),
    "rf6": RandomForestRegressor(n_estimators=100, max_depth=6, random_state=42),
    "gb": GradientBoostingRegressor(n_estimators=100, random_state=42),
    "hgb": HistGradientBoostingRegressor(max_iter=100, early_stopping=False, random_state=42),
    "mlp": MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=60, alpha=3.0, random_state=42),
    "linear": LinearRegression(),
}


def accept_numpy_booleans() -> None:
    """The converter hands over numpy booleans, which newer versions of protobuf do not take for integers."""
    make = onnx.helper.make_attribute

    def patched(key, value, *args, **kwargs):
        if isinstance(value, (list, tuple)) and any(isinstance(item, (bool, np.bool_)) for item in value):
            value = [int(item) for item in value]
        return make(key, value, *args, **kwargs)

    onnx.helper.make_attribute = patched


def main() -> None:
    accept_numpy_booleans()
    warnings.filterwarnings("ignore")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    data = load_diabetes(scaled=False)
    # what all engines see must be the same number, and onnxruntime sees float32
    rows = data.data.astype(np.float32).astype(np.float64)
    for name, model in MODELS.items():
        model.fit(rows, data.target)
        io.dump(model, folder / f"{name}.skops")
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(model))
        exported = to_onnx(model, initial_types=[("x", FloatTensorType([None, rows.shape[1]]))])
        (folder / f"{name}.onnx").write_bytes(exported.SerializeToString())
    order = np.random.default_rng(7).permutation(len(rows))
    # written last: when it exists, the rest does
    rows[order].tofile(folder / "rows.f64")


main()
