#!/usr/bin/env python3
"""Write `example_output.json` beside models: what their own library predicts, for `forebay models check` to compare with.

usage: expect.py PATH [--rows N] [--seed N]     a model folder, or a folder with model folders below it
       expect.py models:/NAME/VERSION --out DIR [--registry URI]
                                                a version of an MLflow registry; NAME alone stands for every version. It is
                                                copied to DIR/NAME/VERSION, so that DIR is a registry for `models check DIR`

It runs in the Python that the model was made with, and loads the model: only run it on models that you trust. Needed are the
model's library and PyYAML; with MLflow installed, its loaders are used.

The file has the predictions, and the probabilities if there are any, of the rows of the input example, and those of N rows
(200) that are drawn from the signature: numbers near those of the example, categories that the example or a fitted encoder
has, missing values where the signature admits them. A row that the model refuses is left out.
"""
import argparse
import importlib
import json
import pathlib
import random
import sys
import warnings

import numpy as np
import pandas as pd
import yaml

FLAVORS = ("sklearn", "xgboost", "lightgbm", "catboost")
MAX_BYTES = 4 << 20  # larger files are not read
MAX_EXAMPLE = 64  # rows of the example that are compared


# --- the model --------------------------------------------------------------------------------------------------------

def load(folder, flavor, about):
    """The model as its own library has it."""
    try:
        return importlib.import_module(f"mlflow.{flavor}").load_model(str(folder))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mlflow":
            raise
    file = folder / (about.get("pickled_model") or about.get("data"))
    if flavor == "sklearn":
        return unpickle(file)
    name = about.get("model_class") or about.get("model_type")
    if file.suffix in (".pkl", ".pickle", ".skops"):
        return unpickle(file)
    if flavor == "xgboost":
        import xgboost

        model = getattr(xgboost, (name or "Booster").rpartition(".")[2])()
    elif flavor == "catboost":
        import catboost

        model = getattr(catboost, (name or "CatBoost").rpartition(".")[2])()
    else:
        import lightgbm

        return lightgbm.Booster(model_file=str(file))
    model.load_model(str(file))
    return model


def unpickle(file):
    if file.suffix == ".skops":
        import skops.io

        return skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
    import joblib

    return joblib.load(file)


def predict(model, rows, flavor):
    """Predictions and probabilities; the latter are None without such a method."""
    if type(model).__module__.startswith("xgboost") and type(model).__name__ == "Booster":
        import xgboost

        return model.predict(xgboost.DMatrix(rows, enable_categorical=True)), None
    predictions = model.predict(rows)
    if not hasattr(model, "predict_proba"):
        return predictions, None
    probabilities = model.predict_proba(rows)
    if isinstance(probabilities, list):
        probabilities = np.concatenate(probabilities, axis=1)
    return predictions, probabilities


# --- rows -------------------------------------------------------------------------------------------------------------

DTYPES = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32", "boolean": "bool", "string": "object"}


def columns_of(description):
    """The columns of the signature; None where it has none or is a tensor's."""
    inputs = (description.get("signature") or {}).get("inputs")
    columns = json.loads(inputs) if inputs else []
    if not columns or any("name" not in column or column.get("type") not in DTYPES for column in columns):
        return None
    return columns


def tensor_of(description):
    inputs = (description.get("signature") or {}).get("inputs")
    columns = json.loads(inputs) if inputs else []
    return columns[0].get("tensor-spec") if len(columns) == 1 else None


def example_of(folder, description):
    """The rows of the input example, each a list in the order of the columns."""
    file = (description.get("saved_input_example_info") or {}).get("artifact_path")
    if not file or not (folder / file).is_file():
        return []
    content = json.loads((folder / file).read_text())
    if isinstance(content, dict):
        names, content = content.get("columns"), next((content[key] for key in ("data", "inputs", "instances", "dataframe_records") if key in content), [])
    rows = [list(row.values()) if isinstance(row, dict) else row if isinstance(row, list) else [row] for row in content]
    return rows[:MAX_EXAMPLE]


def is_missing(value):
    return value is None or (isinstance(value, float) and np.isnan(value))


def table(rows, columns, tensor, categories):
    """Rows as the model takes them."""
    if columns is None:
        dtype = (tensor or {}).get("dtype", "float64")
        if len((tensor or {}).get("shape", [-1, 1])) == 1:  # documents
            return np.array([row[0] for row in rows], dtype=object if dtype in ("object", "str") else dtype)
        missing = [[np.nan if is_missing(v) else v for v in row] for row in rows]
        return np.array(rows, dtype=object) if dtype in ("object", "str") else np.array(missing, dtype=dtype)
    data = {}
    for at, column in enumerate(columns):
        values, dtype = [row[at] for row in rows], DTYPES[column["type"]]
        holes = any(is_missing(v) for v in values)
        if dtype == "object":
            text = pd.Series(values, dtype=object)
            data[column["name"]] = text.astype("category") if categories else text
        elif holes and dtype in ("int64", "int32", "bool"):
            data[column["name"]] = pd.Series([np.nan if is_missing(v) else float(v) for v in values])
        else:
            data[column["name"]] = pd.Series([np.nan if is_missing(v) else v for v in values], dtype=dtype)
    return pd.DataFrame(data)


def known_categories(model, found=None, depth=0):
    """The categories that fitted encoders inside a model have, by column."""
    found = {} if found is None else found
    if depth > 8:
        return found
    names, categories = getattr(model, "feature_names_in_", None), getattr(model, "categories_", None)
    if names is not None and categories is not None and len(names) == len(categories):
        for name, values in zip(names, categories):
            found.setdefault(str(name), [v for v in values if not is_missing(v)])
    for name in ("steps", "transformers_", "transformer_list", "estimators_", "estimators"):
        parts = getattr(model, name, None)
        for part in np.ravel(parts) if isinstance(parts, np.ndarray) else parts or []:
            for item in part if isinstance(part, (tuple, list)) else [part]:
                if hasattr(item, "get_params"):
                    known_categories(item, found, depth + 1)
    for name in ("best_estimator_", "estimator_", "regressor_", "final_estimator_"):
        if hasattr(model, name) and hasattr(getattr(model, name), "get_params"):
            known_categories(getattr(model, name), found, depth + 1)
    return found


def drawn(count, columns, tensor, width, example, categories, seed):
    """Rows of the signature's types."""
    rng = random.Random(seed)
    kinds = [column["type"] for column in columns] if columns else [kind_of(tensor)] * width
    optional = [not column.get("required", True) for column in columns] if columns else [False] * width
    names = [column["name"] for column in columns] if columns else [None] * width
    seen = [[row[at] for row in example if not is_missing(row[at])] for at in range(width)]

    def number(at):
        own = [float(v) for v in seen[at]] or [0.0]
        spread = max(max(own) - min(own), max(abs(v) for v in own) / 2, 1.0)
        return rng.gauss(rng.choice(own), spread / rng.choice([1, 4]))

    def value(at):
        kind = kinds[at]
        if optional[at] and rng.random() < 0.1:
            return None
        if kind == "boolean":
            return rng.random() < 0.5
        if kind == "string":
            known = [str(v) for v in seen[at]] + [v for v in categories.get(names[at], []) if isinstance(v, str)]
            words = [word for text in known for word in text.split()]
            if len(words) > 2 * len(known) and rng.random() < 0.8:  # documents
                return " ".join(rng.choices(words, k=rng.randint(1, 12)))
            return rng.choice(known or ["a", "b", "c"])
        if kind in ("long", "integer"):
            known = [int(v) for v in categories.get(names[at], []) if isinstance(v, (int, np.integer))]
            return rng.choice(known) if known else round(number(at))
        return float(np.float32(number(at))) if kind == "float" else number(at)

    return [[value(at) for at in range(width)] for _ in range(count)]


def kind_of(tensor):
    dtype = (tensor or {}).get("dtype", "float64")
    if dtype == "bool":
        return "boolean"
    if dtype in ("object", "str") or dtype.startswith("<U"):
        return "string"
    return "long" if "int" in dtype else "float" if dtype == "float32" else "double"


# --- the file ---------------------------------------------------------------------------------------------------------

def plain(value):
    """A prediction as JSON: numbers as double precision, labels with their type."""
    if isinstance(value, (np.ndarray, list, tuple)):
        return [plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def is_answer(value):
    if isinstance(value, list):
        return all(is_answer(v) for v in value)
    return value is not None and not (isinstance(value, float) and not np.isfinite(value))


def answers(model, rows, flavor, frame):
    """The rows that the model answers, with its answers: all at once, or one by one if it refuses some."""
    def ask(rows):
        errors = []
        # text columns are categories for a booster that was trained on a data frame of them
        for categories in (flavor in ("xgboost", "lightgbm"), flavor not in ("xgboost", "lightgbm")):
            try:
                return predict(model, frame(rows, categories), flavor)
            except Exception as error:  # whatever a library raises
                errors.append(error)
        raise errors[0]

    def kept(rows, predictions, probabilities):
        predictions = plain(np.asarray(predictions))
        probabilities = [None] * len(rows) if probabilities is None else plain(np.asarray(probabilities))
        return [each for each in zip(rows, predictions, probabilities) if is_answer(each[1]) and (each[2] is None or is_answer(each[2]))]

    try:
        return kept(rows, *ask(rows)), None
    except Exception as error:
        all_at_once = error
    one_by_one = []
    for row in rows:
        try:
            one_by_one += kept([row], *ask([row]))
        except Exception as error:
            last = error
    return one_by_one, None if one_by_one else all_at_once


def document(asked):
    """Predictions and probabilities as the file has them."""
    out = {"predictions": [prediction for _, prediction, _ in asked]}
    if asked and all(probabilities is not None for _, _, probabilities in asked):
        out["probabilities"] = [probabilities for _, _, probabilities in asked]
    return out


def expect(folder, count, seed):
    """Writes the file of one folder; returns what happened in a line."""
    description = yaml.safe_load((folder / "MLmodel").read_text())
    flavors = description.get("flavors") or {}
    flavor = next((name for name in FLAVORS if name in flavors), None)
    if flavor is None:
        return f"skipped: none of {', '.join(FLAVORS)} among its flavors"
    model = load(folder, flavor, flavors[flavor])
    columns, tensor = columns_of(description), tensor_of(description)
    example = example_of(folder, description)
    width = len(columns) if columns else len(example[0]) if example else getattr(model, "n_features_in_", None)
    if width is None:
        return "skipped: neither a signature nor an example says what a row is"

    def frame(rows, categories):
        return table(rows, columns, tensor, categories)

    content = {}
    if example:
        asked, error = answers(model, example, flavor, frame)
        if len(asked) != len(example):
            return f"skipped: the model does not answer its example: {error}"
        content = document(asked)
    rows = drawn(count, columns, tensor, width, example, known_categories(model), seed)
    asked, error = answers(model, rows, flavor, frame)
    while asked:
        content["drawn"] = {"rows": [row for row, _, _ in asked], **document(asked)}
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        if len(text.encode()) <= MAX_BYTES:
            break
        asked = asked[: len(asked) // 2]
    if not content:
        return f"skipped: the model answers none of the rows: {error}"
    (folder / "example_output.json").write_text(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")
    return f"{len(example)} rows of the example, {len(asked)} drawn"


def folders(path):
    """The model folders at or below a path."""
    return [path] if (path / "MLmodel").is_file() else sorted(file.parent for file in path.rglob("MLmodel"))


def downloaded(address, out, registry):
    """The folders of versions of an MLflow registry, copied below `out`."""
    import mlflow

    if registry:
        mlflow.set_tracking_uri(registry)
    name, _, version = address.removeprefix("models:/").partition("/")
    client = mlflow.MlflowClient()
    versions = [version] if version else [v.version for v in client.search_model_versions(f"name='{name}'")]
    for version in versions:
        to = out / name / str(version)
        to.mkdir(parents=True, exist_ok=True)
        mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=str(to))
        yield to


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="a model folder, a folder with model folders below it, or models:/NAME[/VERSION]")
    parser.add_argument("--rows", type=int, default=200, help="rows to draw (200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, help="where versions of an MLflow registry are copied to")
    parser.add_argument("--registry", help="address of MLflow; MLFLOW_TRACKING_URI without")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.path.startswith("models:/"):
        if arguments.out is None:
            parser.error("models:/ needs --out")
        found = downloaded(arguments.path, arguments.out, arguments.registry)
    else:
        found = folders(pathlib.Path(arguments.path))
    failed = 0
    for folder in found:
        try:
            said = expect(folder, arguments.rows, arguments.seed)
        except Exception as error:
            failed, said = failed + 1, f"FAILED: {type(error).__name__}: {error}"
        print(f"{folder}: {said}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
