#!/usr/bin/env bash
# Runs the fuzz targets of the model readers one after another: `run.sh [SECONDS [TARGET..]]` (default 300, all). Needs
# cargo-fuzz, a nightly compiler and python3. The corpus starts with the goldens and grows in corpus/.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
seconds=${1:-300}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(pickle skops schema npy onnx safetensors burnpack xgboost lightgbm catboost)
golden=$here/../tests/golden

python3 - "$here/corpus" "$golden" "$here/../sample" <<'PY'
import json, pathlib, sys, zipfile

corpus, *sources = map(pathlib.Path, sys.argv[1:])
LARGEST = 64 << 10

def seed(target, name, data):
    if len(data) <= LARGEST:
        (corpus / target).mkdir(parents=True, exist_ok=True)
        (corpus / target / name).write_bytes(data)

for file in (f for source in sources for f in source.rglob("model.*")):
    name = f"{file.parent.name}-{file.name}"
    data = file.read_bytes()
    if file.suffix == ".pkl":
        seed("pickle", name, data)
    elif file.suffix == ".bpk":
        seed("burnpack", name, data)
    elif file.suffix == ".cb" or b'"features_info"' in data[:32]:
        seed("catboost", name, data)
    elif file.suffix in (".ubj", ".json", ".xgb"):
        seed("xgboost", name, data)
    elif file.suffix == ".lgb":
        seed("lightgbm", name, data.removeprefix(b"tree\n"))
    elif file.suffix == ".skops":
        seed("skops", name, data)
        with zipfile.ZipFile(file) as zip:
            arrays = [n for n in zip.namelist() if n.endswith(".npy")]
            schema = zip.read("schema.json").decode()
            for i, array in enumerate(arrays):
                schema = schema.replace(array, f"{i % 10}.npy")
                if i < 8:
                    seed("npy", f"{file.parent.name}-{i}", zip.read(array))
            # indentation is half of it
            seed("schema", name, json.dumps(json.loads(schema)).encode())
for file in sources[0].rglob("*.onnx"):
    seed("onnx", file.name, file.read_bytes())
layers = [{"linear": "a"}, {"activation": "relu"}, {"linear": "b"}]
for layout in ("in_out", "out_in"):
    text = json.dumps({"width": 2, "task": "regression", "layers": layers, "layout": layout})
    shapes = {"a.weight": [2, 2], "a.bias": [2], "b.weight": [2, 1] if layout == "in_out" else [1, 2]}
    header, at = {"__metadata__": {"forebay.architecture": text}}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(header).encode()
    seed("safetensors", layout, len(header).to_bytes(8, "little") + header + bytes(at))
PY

cd "$here/.."
for target in "${targets[@]}"; do
  dictionary=()
  [ ! -e "$here/dictionaries/$target" ] || dictionary=("-dict=$here/dictionaries/$target")
  # names of crashing inputs go to artifacts/; a gigabyte and thirty seconds are far more than any input may take
  cargo +nightly fuzz run ${FUZZ_TARGET_DIR:+--target-dir "$FUZZ_TARGET_DIR"} "$target" -- \
    "${dictionary[@]}" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=1536 -timeout=30 -print_final_stats=1
done
