#!/usr/bin/env python3
"""Make the sample registry: model `diabetes-rf-model`, trained on the scaled diabetes data.

usage: make.py OUT_DIR      (pip: scikit-learn skops mlflow numpy skl2onnx onnxruntime)

Writes OUT_DIR/diabetes-rf-model/
  1/  RandomForestRegressor(100 trees), model.skops
  2/  GradientBoostingRegressor as model.onnx
  registered_model.yaml, expected.json (what the origin predicts for a few rows)
and OUT_DIR/diabetes.csv, the data (442 rows, for training and benches). Version 3 is then made by make_net.py.
Same versions of the packages give the same bytes.
"""
import json, pathlib, re, sys, warnings, zipfile
import numpy as np, mlflow.sklearn, onnxruntime, sklearn, yaml
from skl2onnx import to_onnx
from mlflow.models import infer_signature
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict

warnings.filterwarnings("ignore")
ROOT = pathlib.Path(sys.argv[1]) / "diabetes-rf-model"
data = load_diabetes(as_frame=True)
NAMES, X, y = list(data.feature_names), data.data.to_numpy(), data.target.to_numpy()
EXAMPLE = X[:5]
SIGNATURE = infer_signature(data.data, y.astype(float)).to_dict()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def compact(raw, out):
    """Rewrite a skops file: deflated, object ids numbered from 1 (they are memory addresses), no blanks."""
    with zipfile.ZipFile(raw) as z:
        files = {n: z.read(n) for n in z.namelist()}
    ids = {}
    number = lambda i: ids.setdefault(i, len(ids) + 1)
    def renumber(node):
        if isinstance(node, dict):
            if "__id__" in node: node["__id__"] = number(str(node["__id__"]))
            if "file" in node and node["file"].endswith(".npy"): node["file"] = f"{number(node['file'][:-4])}.npy"
            for child in node.values(): renumber(child)
        elif isinstance(node, list):
            for child in node: renumber(child)
    schema = json.loads(files.pop("schema.json"))
    renumber(schema)
    members = {"schema.json": json.dumps(schema, separators=(",", ":")).encode()}
    members |= {f"{number(n[:-4])}.npy": b for n, b in files.items()}
    with zipfile.ZipFile(out, "w") as z:
        for name in sorted(members, key=lambda n: (n != "schema.json", int(re.sub(r"\D", "", n) or 0))):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(info, members[name], compresslevel=9)


def describe(folder, flavors, signature=True):
    mlmodel = {"flavors": flavors}
    if signature:
        mlmodel["signature"] = SIGNATURE
        mlmodel["saved_input_example_info"] = {"artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split"}
        write(folder / "input_example.json", json.dumps({"columns": NAMES, "data": EXAMPLE.tolist()}) + "\n")
    write(folder / "MLmodel", yaml.safe_dump(mlmodel, sort_keys=True, width=200))


def outputs(folder, answers):
    """What the origin answers to the input example; compared before a version is served."""
    write(folder / "example_output.json", json.dumps(answers.tolist()) + "\n")


def save_sklearn(model, folder, signature=True):
    import tempfile
    with tempfile.TemporaryDirectory() as tmp:
        mlflow.sklearn.save_model(model, f"{tmp}/m", serialization_format="skops",
                                  skops_trusted_types=["sklearn.tree._tree.Tree"])
        folder.mkdir(parents=True, exist_ok=True)
        compact(f"{tmp}/m/model.skops", folder / "model.skops")
    describe(folder, {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops",
                                  "sklearn_version": sklearn.__version__}}, signature)


folds = KFold(5, shuffle=True, random_state=0)
forest = RandomForestRegressor(100, random_state=42)
print(f"forest R2 on held-out folds {r2_score(y, cross_val_predict(forest, X, y, cv=folds)):.3f}")
forest.fit(X, y)
save_sklearn(forest, ROOT / "1")
outputs(ROOT / "1", forest.predict(EXAMPLE))

boosting = GradientBoostingRegressor(n_estimators=100, max_depth=3, subsample=0.5, learning_rate=0.05, random_state=42)
print(f"boosting R2 on held-out folds {r2_score(y, cross_val_predict(boosting, X, y, cv=folds)):.3f}")
boosting.fit(X, y)
exported = to_onnx(boosting, X[:1].astype(np.float32)).SerializeToString()
describe(ROOT / "2", {"onnx": {"data": "model.onnx"}})
(ROOT / "2" / "model.onnx").write_bytes(exported)
session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
outputs(ROOT / "2", session.run(None, {"X": EXAMPLE.astype(np.float32)})[0].ravel())

write(ROOT / "registered_model.yaml", "aliases:\n  champion: 3\nstages:\n  1: Archived\n  2: Staging\n  3: Production\n")
(ROOT.parent / "diabetes.csv").write_text(",".join(NAMES + ["target"]) + "\n" + "".join(
    ",".join(repr(float(v)) for v in [*row, t]) + "\n" for row, t in zip(X, y)))
rows = X[::37]
write(ROOT / "expected.json", json.dumps({"rows": rows.tolist(), "versions": {
    "1": {"exact": True, "predict": forest.predict(rows).tolist()},
    "2": {"exact": False, "predict": session.run(None, {"X": rows.astype(np.float32)})[0].ravel().tolist()}}}) + "\n")
print("row", EXAMPLE[0].tolist(), "answers", forest.predict(EXAMPLE[:1])[0], boosting.predict(EXAMPLE[:1])[0])
