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

# small files that describe much: what mutation alone does not find
for name, unit in [("ones", "1,"), ("tuples", "(1),"), ("nested", "((1),),")]:
    header = ("{'descr':'<f8','fortran_order':False,'shape':(" + unit * (60_000 // len(unit)) + ")}").encode()
    seed("npy", f"attack-{name}", b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header)
seed("npy", "attack-claimed", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{")

def field(number, data):
    length, size = len(data), b""
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data

# empty attributes, initializers, value infos, and nodes
graph_of = lambda data: field(7, data)
seed("onnx", "attack-attributes", graph_of(field(1, b"\x2a\x00" * 30_000)))
for number, name in [(1, "nodes"), (5, "initializers"), (11, "inputs"), (13, "value-infos")]:
    seed("onnx", f"attack-{name}", graph_of(field(number, b"") * 30_000))
for name, ops in [("nodes", b"N" * 60_000), ("tuples", b"(" * 60_000), ("marks", b"(t" * 30_000), ("duplicates", b"]2" * 30_000),
                  ("references", b"]\x94(" + b"h\x00" * 30_000 + b"e"), ("squared", b"]\x94(" + b"h\x00" * 200 + b"e" + b"]\x94(h\x01e" * 5000)]:
    seed("pickle", f"attack-{name}", b"\x80\x04" + ops + b".")
seed("schema", "attack-depth", b'{"content":' * 5000)
seed("schema", "attack-list", b'{"content":[' + b"{}," * 20_000 + b"{}]}")
seed("xgboost", "attack-trees", b'{"learner":{"gradient_booster":{"model":{"trees":[' + b"{}," * 20_000 + b"{}]}}}}")
seed("lightgbm", "attack-leaves", b"num_leaves=2147483647\nleaf_value=" + b"0 " * 30_000)
PY

cd "$here/.."
for target in "${targets[@]}"; do
  dictionary=()
  [ ! -e "$here/dictionaries/$target" ] || dictionary=("-dict=$here/dictionaries/$target")
  # names of crashing inputs go to artifacts/; a gigabyte (with the sanitizer's own), 256 MiB at once and thirty seconds are far
  # more than any input may take
  cargo +nightly fuzz run ${FUZZ_TARGET_DIR:+--target-dir "$FUZZ_TARGET_DIR"} "$target" -- \
    "${dictionary[@]}" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=1536 -malloc_limit_mb=256 -timeout=30 -print_final_stats=1
done
