#!/usr/bin/env bash
# Measures the models beside onnxruntime and scikit-learn in one run and writes loadtest/results/models-<date>.md. `models.sh --help` says how.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'TEXT'
usage: loadtest/suites/models.sh [--quick] [--no-criterion]

Steps: a Python environment (once), models trained with scikit-learn (once), Forebay and onnxruntime in turns in one process,
scikit-learn on the same rows, `forebay score` on a million rows, the criterion bench of shared/model, the page.
  --quick         short turns: shows that everything works, proves nothing; the page is only printed
  --no-criterion  leave that bench out

Environment
  FOREBAY_PYTHON     an interpreter that has scikit-learn, skops, skl2onnx and onnxruntime already
  FOREBAY_CACHE      where environment, models and builds are kept   (default: ~/.cache/forebay)
  CARGO_TARGET_DIR   where to build                                   (default: target)
  RIVALS_ROUNDS 15   turns of each engine
TEXT
}

quick=no criterion=yes
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=yes ;;
    --no-criterion) criterion=no ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done

say() { printf '%s\n' "$*" >&2; }

cache=${FOREBAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/forebay}/rivals
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/../../target}
rounds=${RIVALS_ROUNDS:-15} turn=15 lines=1000000
if [ $quick = yes ]; then
  rounds=3 turn=3 lines=20000
  export RIVALS_SECONDS=0.05
fi
mkdir -p "$cache"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
load_before=$(cut -d' ' -f1-3 /proc/loadavg)

python=${FOREBAY_PYTHON:-$cache/venv/bin/python}
if [ -z "${FOREBAY_PYTHON:-}" ] && ! [ -e "$cache/venv/complete" ]; then
  say "--- Python environment in $cache/venv"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install --quiet -r "$here/../rivals/requirements.txt"
  touch "$cache/venv/complete"
fi
library=$("$python" -c 'import glob, os, onnxruntime as o; print(glob.glob(os.path.join(os.path.dirname(o.__file__), "capi", "libonnxruntime.so*"))[0])')

models=$cache/models-$(cat "$here/../rivals/make_models.py" "$here/../rivals/requirements.txt" | cksum | cut -d' ' -f1)
if ! [ -e "$models/rows.f64" ]; then
  say "--- training models in $models"
  "$python" "$here/../rivals/make_models.py" "$models"
fi

say "--- building"
(cd "$here/../.." && cargo build --release --workspace --bin forebay)
(cd "$here/../rivals" && cargo build --release --locked)

say "--- Forebay and onnxruntime"
"$CARGO_TARGET_DIR/release/forebay-rivals" "$models" --library "$library" --rounds "$rounds" --turn-ms "$turn" | tee "$work/runs.jsonl" >&2
say "--- scikit-learn"
"$python" -W ignore "$here/../rivals/time_sklearn.py" "$models" | tee -a "$work/runs.jsonl" >&2

say "--- forebay score"
sample=$here/../../shared/model/sample/diabetes.csv
{ head -n 1 "$sample"; while tail -n +2 "$sample" 2>>"$work/head.log"; do :; done; } | head -n $((lines + 1)) >"$work/rows.csv" || true
for threads in 1 "$(nproc)"; do
  printf -- '| %s | %s |\n' "$threads" "$("$CARGO_TARGET_DIR/release/forebay" score --model models:/diabetes-rf-model/1 --threads "$threads" \
    --input "$work/rows.csv" --output "$work/answers.jsonl" 2>&1 | grep ' a second')"
done | tee "$work/score.md" >&2
[ "$(wc -l <"$work/answers.jsonl")" = "$lines" ] || { say "models.sh: answers are missing"; exit 1; }

if [ $criterion = yes ]; then
  say "--- criterion"
  short=()
  if [ $quick = yes ]; then short=(--warm-up-time 0.1 --measurement-time 0.2); fi
  (cd "$here/../.." && cargo bench --workspace --bench predict -- "${short[@]}") | tee "$work/criterion.txt" >&2
fi

# shellcheck disable=SC2016 # backticks of Markdown
page() {
  printf '# Models beside onnxruntime and scikit-learn, %s\n\n' "$(date -u '+%Y-%m-%d %H:%M UTC')"
  printf 'Made by `loadtest/suites/models.sh`%s. One thread each, the same rotating rows of the diabetes data; Forebay and onnxruntime take turns in one\n' "$([ $quick = no ] || echo ' `--quick` (proves nothing)')"
  printf 'process (called from Rust). Times are processor time of the thread, so that a busy machine decides nothing: medians of %s turns of %s ms, ratios\nmedians of the ratios within a turn.\n\n' "$rounds" "$turn"
  printf -- '- %s cores, %s, Linux %s; load average before the run: %s\n' "$(nproc)" "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" \
    "$(uname -r | cut -d- -f1)" "$load_before"
  "$python" "$here/../rivals/page.py" "$work/runs.jsonl"
  printf '\n## `forebay score`, CSV, the sample forest\n\n| scoring threads | |\n|---|---|\n'
  cat "$work/score.md"
  if [ $criterion = yes ]; then
    printf '\n## Criterion, `shared/model/benches/predict.rs`\n\n```text\n'
    grep -E 'time: ' -B1 "$work/criterion.txt" | grep -v '^--' | grep -E '^[a-z]|time:' | paste -sd' ' | sed -E 's/\] +/]\n/g; s/ +/ /g'
    printf '```\n'
  fi
}
if [ $quick = yes ]; then page; else page >"$here/../results/models-$(date -u +%F).md" && say "written: loadtest/results/models-$(date -u +%F).md"; fi
