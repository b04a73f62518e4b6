"""Makes the page of loadtest/suites/models.sh from the measurements: `python page.py MEASUREMENTS.jsonl`."""

import json
import sys
from collections import defaultdict

NAMES = {
    "rf": "random forest, 100 unlimited trees",
    "rf6": "random forest, 100 trees of depth 6",
    "gb": "gradient boosting, 100 trees of depth 3",
    "hgb": "histogram gradient boosting, 100 iterations",
    "mlp": "net 10-64-64-1",
    "linear": "linear regression",
}
ORIGIN = {"skops": "scikit-learn's file", "onnx": "the same ONNX file", "sample": "burn net behind its scaling"}
# what is measured: text, model, file, rival, batches, least ratio
AIMS = [
    ("forest at least 4x onnxruntime at 1 and 64 rows", "rf", "rf.skops", "onnxruntime", (1, 64), 4.0),
    ("forest at least 2,000x scikit-learn at 1 row", "rf", "rf.skops", "scikit-learn", (1,), 2000.0),
    ("gradient boosting at least 3x onnxruntime", "gb", "gb.skops", "onnxruntime", (1, 16, 64, 256), 3.0),
    ("histogram boosting at least 3x onnxruntime", "hgb", "hgb.skops", "onnxruntime", (1, 16, 64, 256), 3.0),
    ("net at most 1.1x the time of onnxruntime, the same ONNX file", "mlp", "mlp.onnx", "onnxruntime", (1, 16, 64, 256), 1 / 1.1),
    ("net at most 1.1x the time of onnxruntime, a burn net and its scaling", "mlp", "sample", "onnxruntime", (1, 16, 64, 256), 1 / 1.1),
]


def figure(us: float) -> str:
    return f"{us:,.0f}" if us >= 100 else f"{us:.1f}" if us >= 10 else f"{us:.2f}"


def times(ratio: float) -> str:
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.1f}x" if ratio >= 10 else f"{ratio:.2f}x"


def kind(file: str) -> str:
    return ORIGIN[file.rsplit(".", 1)[-1]]


def main() -> None:
    runs = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]
    print("\n".join(f"- {run['version']}" for run in runs if "version" in run))
    python = {(run["model"], run["batch"]): run["us"] for run in runs if run.get("engine") == "scikit-learn" and "batch" in run}
    compared, ratio = defaultdict(dict), {}
    for run in runs:
        if run.get("engine") in ("forebay", "onnxruntime") and "batch" in run:
            key = run["file"] if run["engine"] == "forebay" else "onnxruntime"
            compared[run["model"], run["batch"]][key] = run["us"]
            if run["engine"] == "forebay":
                ratio[run["model"], run["batch"], key, "onnxruntime"] = run["times_faster"]
                if (run["model"], run["batch"]) in python:
                    ratio[run["model"], run["batch"], key, "scikit-learn"] = python[run["model"], run["batch"]] / run["us"]
    for model, name in NAMES.items():
        batches = sorted(batch for found, batch in compared if found == model)
        if not batches:
            continue
        print(f"\n## {name[0].upper()}{name[1:]}\n\n| model read from | rows a call | Forebay us | onnxruntime us | times faster | scikit-learn us | times faster |")
        print("|---|---|---|---|---|---|---|")
        for file in [key for key in compared[model, batches[0]] if key != "onnxruntime"]:
            for batch in batches:
                cells = compared[model, batch]
                theirs = python.get((model, batch))
                slow = [figure(theirs), times(theirs / cells[file])] if theirs else ["", ""]
                faster = times(ratio[model, batch, file, "onnxruntime"])
                print("| " + " | ".join([kind(file), str(batch), figure(cells[file]), figure(cells["onnxruntime"]), faster, *slow]) + " |")
    loads = [run for run in runs if "load" in run]
    if loads:
        print("\n## Loading the forest of unlimited trees\n\n| engine | file | MB | ms |\n|---|---|---|---|")
        for run in loads:
            size = f"{run['bytes'] / 1e6:.1f}" if "bytes" in run else ""
            print(f"| {run['engine']} | {run['load']} | {size} | {run['us'] / 1e3:.1f} |")
    print("\n## What was aimed at\n\n| aim | measured | |\n|---|---|---|")
    for text, model, file, rival, batches, least in AIMS:
        found = [(batch, ratio.get((model, batch, file, rival))) for batch in batches]
        if any(value is None for _, value in found):
            continue
        shown = ", ".join(f"{times(value) if least > 1 else format(1 / value, '.2f') + 'x'} at {batch}" for batch, value in found)
        print(f"| {text} | {shown} | {'met' if all(value >= least for _, value in found) else 'missed'} |")
    for run in loads:
        if run["engine"] == "forebay" and run["load"] == "rf.pkl":
            print(f"| a forest of 4 MB loads in 40 ms | {run['us'] / 1e3:.1f} ms | {'met' if run['us'] <= 40e3 else 'missed'} |")


main()
