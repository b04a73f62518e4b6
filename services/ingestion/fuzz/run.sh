#!/usr/bin/env bash
# Runs the fuzz targets of the request parser and of the inner edges one after another: `run.sh [SECONDS [TARGET..]]`
# (default 300, all). Needs cargo-fuzz, a nightly compiler and python3. The corpus starts with the requests of the guides
# and grows in corpus/.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
seconds=${1:-300}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(http_body kafka_record inner_batch)

python3 - "$here/corpus" "$here/../../../shared/contract/tests/golden_batch.hex" <<'PY'
import json, pathlib, sys

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
seed("inner_batch", "golden", bytes.fromhex(golden.read_text().strip()))
PY

cd "$here/.."
for target in "${targets[@]}"; do
  # no sanitizer: these crates have no unsafe code, and more inputs are tried in the same time without one;
  # crashing inputs go to artifacts/; a gigabyte, 256 MiB at once and ten seconds are far more than any input may need
  cargo +nightly fuzz run -s none ${FUZZ_TARGET_DIR:+--target-dir "$FUZZ_TARGET_DIR"} "$target" -- \
    -max_total_time="$seconds" -max_len=16384 -rss_limit_mb=1024 -malloc_limit_mb=256 -timeout=10 -print_final_stats=1
done
