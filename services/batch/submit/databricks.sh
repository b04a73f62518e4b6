#!/usr/bin/env bash
# Brings the job to a Databricks workspace and creates it there, with Databricks' own command line.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: submit/databricks.sh [--dry-run] FOLDER

  FOLDER is a folder of a Unity Catalog volume: /Volumes/CATALOG/SCHEMA/VOLUME/forebay
  --dry-run   print the job and the commands, touch nothing, need no login

Before: `databricks auth login`, and the connection string as a secret:
  databricks secrets create-scope forebay
  databricks secrets put-secret forebay eventhub-connection

Environment
  FOREBAY_BINARY  the binary for the cluster, Linux (default target/release/forebay)
  RUNTIME 17.3.x-scala2.13   NODE Standard_D4ds_v5   CHECKPOINT /mnt/checkpoints/batch-inference
  SCOPE forebay   HUB inference-requests   REGISTRY (MLflow server; default: the built-in sample)
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dry=no folder=""
for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    --dry-run) dry=yes ;;
    /Volumes/*) folder=${argument%/} ;;
    *) usage >&2; exit 2 ;;
  esac
done
[ -n "$folder" ] || { usage >&2; exit 2; }

binary=${FOREBAY_BINARY:-$here/../../target/release/forebay}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/pyproject.toml")
export FOLDER=$folder WHEEL=forebay_batch-$version-py3-none-any.whl RUNTIME=${RUNTIME:-17.3.x-scala2.13} NODE=${NODE:-Standard_D4ds_v5}
export CHECKPOINT=${CHECKPOINT:-/mnt/checkpoints/batch-inference} SCOPE=${SCOPE:-forebay} HUB=${HUB:-inference-requests} REGISTRY=${REGISTRY:-sample}
work=$(mktemp -d "${TMPDIR:-/tmp}/forebay-batch.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 - "$here/submit/databricks_job.json" >"$work/job.json" <<'PYTHON'
import json, os, re, sys

text = re.sub(r"@([A-Z]+)@", lambda it: json.dumps(os.environ[it[1]])[1:-1], open(sys.argv[1]).read())
print(json.dumps(json.loads(text), indent=2))
PYTHON

run() {
  if [ "$dry" = yes ]; then printf '%q ' "$@"; echo; else "$@"; fi
}

if [ "$dry" = yes ]; then
  cat "$work/job.json"
else
  [ -x "$binary" ] || { echo "databricks.sh: $binary is no program; build it with: cargo build --release, or set FOREBAY_BINARY" >&2; exit 1; }
fi
run python3 -m pip wheel --quiet --no-deps --wheel-dir "$work" "$here"
run databricks fs mkdir "dbfs:$folder"
for file in "$binary" "$work/$WHEEL" "$here/submit/main.py" "$here/submit/install_forebay.sh"; do
  run databricks fs cp --overwrite "$file" "dbfs:$folder/$(basename "$file")"
done
run databricks jobs create --json "@$work/job.json"
