"""Times scikit-learn on the models of make_models.py: `python time_sklearn.py FOLDER`. One JSON line a measurement.

predict on one thread, over rotating rows as everywhere else; the median of many calls, in microseconds of processor time.
"""

import json
import os
import pickle
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402  the variables above must be set before
import sklearn  # noqa: E402
from skops import io  # noqa: E402

BATCHES = (1, 16, 64, 256)
SECONDS = float(os.environ.get("RIVALS_SECONDS", "0.6"))


def median_us(call) -> float:
    for _ in range(3):
        call()
    times, began = [], time.thread_time()
    while time.thread_time() - began < SECONDS or len(times) < 5:
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return float(np.median(times)) * 1e6


def say(**fields) -> None:
    print(json.dumps({"engine": "scikit-learn", **fields}), flush=True)


def main() -> None:
    folder = Path(sys.argv[1])
    rows = np.fromfile(folder / "rows.f64").reshape(-1, 10)
    print(json.dumps({"version": f"scikit-learn {sklearn.__version__}"}))
    for name in ("rf", "rf6", "gb", "hgb", "mlp", "linear"):
        model = pickle.loads((folder / f"{name}.pkl").read_bytes())
        if hasattr(model, "n_jobs"):
            model.n_jobs = 1
        for batch in BATCHES:
            at = 0

            def call():
                nonlocal at
                at = (at + batch) % (len(rows) - batch)
                model.predict(rows[at : at + batch])

            say(model=name, batch=batch, us=median_us(call))
    trusted = ["sklearn.tree._tree.Tree"]
    say(model="rf", load="rf.skops", us=median_us(lambda: io.load(folder / "rf.skops", trusted=trusted)))
    say(model="rf", load="rf.pkl", us=median_us(lambda: pickle.loads((folder / "rf.pkl").read_bytes())))


main()
