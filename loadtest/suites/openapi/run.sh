#!/usr/bin/env bash
# Generates a Python and a TypeScript client from `/openapi.json` of a running mesh, has mypy and tsc check their use, and
# runs it. Nothing that was generated is changed.
#
# usage: run.sh URL FOLDER     REAL_OPENAPI_PYTHON is a Python with ../openapi_requirements.txt, REAL_OPENAPI_NODE a folder
#                              in which package.json is installed; FOLDER takes what is made
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
url=$1 folder=$2
python=$REAL_OPENAPI_PYTHON modules=$REAL_OPENAPI_NODE/node_modules
mkdir -p "$folder"
cd "$folder"
curl --silent --show-error --fail --max-time 20 "$url/openapi.json" -o openapi.json

# a warning says that a part of the document cannot be used
PATH=$(dirname "$python"):$PATH timeout 120 "$python" -m openapi_python_client generate --path openapi.json \
  --output-path forebay_client --meta none --overwrite --fail-on-warning --config "$here/generator.yaml"
cp "$here/cases.py" .
# what the generator writes inside a function is its own business
timeout 180 "$python" -m mypy --strict --follow-imports silent --no-error-summary --cache-dir .mypy_cache cases.py
timeout 120 "$python" cases.py "$url" openapi.json

"$modules/.bin/openapi-typescript" openapi.json --output forebay.ts
cp "$here/cases.ts" "$here/package.json" .
[ -e node_modules ] || ln -s "$modules" node_modules
timeout 180 "$modules/.bin/tsc" --strict --target es2022 --module nodenext --moduleResolution nodenext \
  --lib es2022,dom cases.ts
timeout 120 node cases.js "$url"
