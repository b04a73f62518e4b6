#!/usr/bin/env bash
# Runs the fuzz targets of the parsers of requests and of the inner edges one after another: `run.sh [SECONDS [TARGET..]]`
# (default 300, all). Needs cargo-fuzz, a nightly compiler and python3. The corpus starts with the requests of the guides
# and grows in corpus/.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
seconds=${1:-300}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(http_body kafka_record inner_batch infer_http infer_grpc invocations csv avro protobuf)

python3 - "$here/corpus" "$here/../../../shared/contract/tests/golden_batch.hex" <<'PY'
import json, pathlib, struct, sys

corpus, golden = map(pathlib.Path, sys.argv[1:])
named = {"age": 0.04, "bmi": None, "s1": -1.5e-3}
requests = [
    {"features": [0.1, -2, 3e-7, None]},
    {"request_id": "r1", "features": named, "model_version": "v1", "priority": 0, "timeout_ms": 500},
    {"request_id": "r2", "features": [[1, 2], [3, 4]], "model": "diabetes"},
    {"request_id": "r3", "features": [named, named], "key": "alice"},
    {"request_id": 7, "features": [1e308, -0.0, 5e-324], "unknown": {"a": [True, "\u00e9\u2028", {}]}},
]

def seed(target, name, data):
    (corpus / target).mkdir(parents=True, exist_ok=True)
    (corpus / target / name).write_bytes(data)

for index, request in enumerate(requests):
    for target in ("http_body", "kafka_record"):
        seed(target, f"request-{index}", json.dumps(request).encode())
# small requests that describe much: what mutation alone does not find
attacks = {
    "request-id": b'{"request_id":[' + b"0," * 7000 + b'0],"features":[1]}',
    "depth": b'{"features":' + b"[" * 15_000,
    "unknown-depth": b'{"features":[1],"unknown":' + b'{"a":' * 3000,
    "wide": b'{"features":[' + b"0," * 8000 + b"0]}",
    "rows": b'{"features":[' + b"[]," * 5000 + b"[]]}",
    "names": b'{"features":[{' + b",".join(b'"f%d":0' % n for n in range(1500)) + b"}]}",
    "fields": b"{" + b",".join(b'"f%d":0' % n for n in range(1500)) + b',"features":[1]}',
    "no-text": b'{"features":[1],"model":"' + b"\xff" * 8000 + b'"}',
}
for name, data in attacks.items():
    for target in ("http_body", "kafka_record"):
        seed(target, f"attack-{name}", data)
for name, data in {"items": b"\x0a\x00" * 8000, "fields": b"\x12\x00" * 8000, "groups": b"\x0b" * 16_000, "claimed": b"\x0a\xff\xff\xff\xff\x0f"}.items():
    seed("inner_batch", f"attack-{name}", data)

# the protocols of other servers; libFuzzer takes the number of a pair from the end of its input
WHOLE = b"\0\0"
matrix = {"name": "input-0", "shape": [2, 3], "datatype": "FP64"}
column = {"name": "s1", "shape": [2], "datatype": "BYTES", "data": ["a", None]}
infers = {
    "matrix": {"id": "1", "inputs": [matrix | {"data": [1, 2, None, 4, 5.5, -0.0]}], "outputs": [{"name": "predict", "parameters": {"classification": 2}}]},
    "nested": {"inputs": [matrix | {"data": [[1, 2, 3], [4, 5, 6]]}], "parameters": {"priority": 1, "timeout": 1000, "binary_data_output": True}},
    "columns": {"inputs": [column, {"name": "age", "shape": [2, 1], "datatype": "INT64", "data": [1, 2]}]},
    "huge": {"inputs": [matrix | {"shape": [1 << 40, 1 << 40], "data": []}]},
    "many": {"inputs": [column | {"name": f"c{n}"} for n in range(150)]},
}
for name, request in infers.items():
    seed("infer_http", name, json.dumps(request).encode() + WHOLE)
for kind, data in {"FP64": struct.pack("<6d", *range(6)), "BYTES": b"\1\0\0\0a" * 6, "FP16": bytes(12), "BOOL": b"\0\1" * 3, "INT8": bytes(6)}.items():
    tensor = matrix | {"datatype": kind, "parameters": {"binary_data_size": len(data)}}
    text = json.dumps({"inputs": [tensor]}).encode()
    seed("infer_http", f"raw-{kind}", text + data + struct.pack("<H", 2 * len(text) + 1))

def field(number, data):
    length, size = len(data), b""
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data

grpc_tensor = field(1, b"input-0") + field(2, b"FP64") + field(3, b"\2\3")
doubles = struct.pack("<6d", *range(6))
seed("infer_grpc", "typed", field(1, b"m") + field(5, grpc_tensor + field(5, field(7, doubles))))
seed("infer_grpc", "raw", field(1, b"m") + field(5, grpc_tensor) + field(7, doubles) + field(6, field(1, b"predict")))
seed("infer_grpc", "inputs", field(5, b"") * 8000)

tables = {
    "split": {"dataframe_split": {"columns": ["age", "bmi", "s1"], "index": [0], "data": [[1, None, "a"], [2.5, 3, "b"]]}},
    "records": {"dataframe_records": [named, named], "params": {"a": 1, "b": [1, 2]}},
    "instances": {"instances": [[1, 2, 3], [4, 5, 6]]},
    "inputs": {"inputs": {"age": [1, 2], "bmi": [0.5, None], "s1": ["a", "b"]}},
    "names": {"dataframe_split": {"columns": [f"c{n}" for n in range(1500)], "data": [[]] * 60}},
}
for name, request in tables.items():
    seed("invocations", name, json.dumps(request).encode())
seed("invocations", "tokens", b'{"instances": [[NaN, Infinity, -Infinity]]}')
for name, text in {"plain": "age,bmi,s1\n1,2,x\n,NaN,y\n", "quoted": '"age","b""mi"\r\n"1","a,\nb"\r\n', "wide": "a," * 4000, "long": "a\n" + "1\n" * 60}.items():
    seed("csv", name, text.encode())

types = ["boolean", "int", "long", "float", "double", "string", ["null", "double"], {"type": "array", "items": "double"}, {"type": "map", "values": "long"},
         {"type": "enum", "name": "E", "symbols": ["A", "B"]}, {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, {"type": "long", "logicalType": "timestamp-micros"}]
for n, kind in enumerate(types):
    schema = json.dumps({"type": "record", "name": "R", "fields": [{"name": "age", "type": kind}]})
    seed("avro", f"type-{n}", schema.encode() + b"\0" + b"\2\2\2\2\0\0\0\0\0\0")
tree = {"type": "record", "name": "T", "fields": [{"name": "left", "type": ["null", "T"]}]}
seed("avro", "recursive", json.dumps(tree).encode() + b"\0" + b"\2" * 10_000)
empty = {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}
seed("avro", "claimed", json.dumps(empty).encode() + b"\0" + b"\xff" * 9 + b"\1")
proto = 'syntax = "proto3"; message R { double age = 1; repeated int64 n = 2; map<string, double> m = 3; R r = 4; oneof o { string s = 5; bool b = 6; } enum E { A = 0; } E e = 7; }'
for name, value in {"double": b"\0\x09" + doubles[8:16], "packed": b"\0\x12\3\1\2\3", "nested": b"\0" + b"\x22\0" * 5000, "indexes": b"\2\0\0"}.items():
    seed("protobuf", name, proto.encode() + b"\0" + value)
seed("inner_batch", "golden", bytes.fromhex(golden.read_text().strip()))
PY

cd "$here/.."
for target in "${targets[@]}"; do
  # no sanitizer: these crates have no unsafe code, and more inputs are tried in the same time without one;
  # crashing inputs go to artifacts/; a gigabyte, 256 MiB at once and ten seconds are far more than any input may need
  cargo +nightly fuzz run -s none ${FUZZ_TARGET_DIR:+--target-dir "$FUZZ_TARGET_DIR"} "$target" -- \
    -max_total_time="$seconds" -max_len=16384 -rss_limit_mb=1024 -malloc_limit_mb=256 -timeout=10 -print_final_stats=1
done
