#!/usr/bin/env bash
# What a hot reload costs: pairs of runs with and without new versions arriving, against one `forebay up`. `reload.sh --help` says how.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'TEXT'
usage: loadtest/suites/reload.sh [--quick]

One `forebay up` serves a folder registry over HTTP at a fixed rate. Runs take turns: in one nothing happens, in the other a new version of the
forest arrives every 2 s and becomes Production, so that it is read, checked, warmed and swapped in under load. Writes
loadtest/results/reload-<date>.md; exit code 1 when any request failed, was lost, or was answered by a version that stood in for another.

  --quick   one pair of 5 s: shows that everything works, proves nothing; the page is only printed

Build first: cargo build --release --workspace.

Environment
  FOREBAY_BIN_DIR     where the binaries are   (default: ${CARGO_TARGET_DIR:-target}/release)
  RELOAD_PAIRS 5      RELOAD_RATE 1000         RELOAD_SECONDS 10       RELOAD_PORT 18090 (and the next one)
TEXT
}

quick=no
case ${1:-} in
  --quick) quick=yes ;;
  --help | -h) usage; exit 0 ;;
  "") ;;
  *) usage >&2; exit 2 ;;
esac

bin=${FOREBAY_BIN_DIR:-${CARGO_TARGET_DIR:-$here/../../target}/release}
pairs=${RELOAD_PAIRS:-5} rate=${RELOAD_RATE:-1000} seconds=${RELOAD_SECONDS:-10} port=${RELOAD_PORT:-18090} warmup=3
if [ $quick = yes ]; then pairs=1 seconds=5 warmup=1; fi
model=diabetes-rf-model
work=$(mktemp -d)
registry=$work/registry json=$work/runs.jsonl
served='' mover='' version=3 moves=0 failed=()
: >"$json"

say() { printf '%s\n' "$*" >&2; }
die() { say "reload.sh: $*"; exit 1; }

finish() {
  local code=$? pid
  for pid in $mover $served; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  if [ $code -eq 0 ]; then rm -rf "$work"; else say "logs are in $work"; fi
}
trap finish EXIT
trap 'exit 130' INT TERM

for binary in forebay forebay-loadtest; do
  [ -x "$bin/$binary" ] || die "$bin/$binary is missing: cargo build --release --workspace, or set FOREBAY_BIN_DIR"
done

# --- the registry ------------------------------------------------------------------------------------------------------

promote() { # VERSION : in one step, as a reader may look at any moment
  printf 'aliases: {champion: %s}\nstages: {%s: Production}\n' "$1" "$1" >"$work/registered_model.yaml"
  mv "$work/registered_model.yaml" "$registry/$model/registered_model.yaml"
}

add() { # VERSION : a copy of the forest
  cp -r "$here/../../shared/model/sample/$model/1" "$registry/$model/.new-$1"
  mv "$registry/$model/.new-$1" "$registry/$model/$1"
  promote "$1"
}

move_on() { # a new version every 2 s until it is stopped; says each on standard output
  local next=$1
  trap 'exit 0' TERM
  while :; do
    sleep 2 &
    wait $!
    next=$((next + 1))
    add "$next"
    printf '%s\n' "$next"
  done
}

mkdir -p "$registry/$model"
add $version

# --- the runs ----------------------------------------------------------------------------------------------------------

FOREBAY__HTTP__LISTEN=127.0.0.1:$port FOREBAY__ADMIN__LISTEN=127.0.0.1:$((port + 1)) FOREBAY__MODELS__REGISTRY=file:$registry \
  FOREBAY__MODELS__REFRESH=500ms FOREBAY__REDIS__URL='' "$bin/forebay" up >"$work/up.log" 2>&1 &
served=$!
tries=0
until curl -fsS -o "$work/ready" "http://127.0.0.1:$((port + 1))/health/ready" 2>>"$work/curl.log"; do
  tries=$((tries + 1))
  [ $tries -lt 300 ] || { tail -n 20 "$work/up.log" >&2; die "not ready after 30 s"; }
  sleep 0.1
done

run() { # LABEL : one measurement
  say "--- $1"
  "$bin/forebay-loadtest" http --url "http://127.0.0.1:$port" --rate "$rate" --seconds "$seconds" --warmup $warmup --json "$json" --label "$1" \
    --watch "forebay=$served" --answers "$work/answers.jsonl" || failed+=("$1")
  if grep -q '"fallback_from"' "$work/answers.jsonl"; then failed+=("$1: a version stood in for another"); fi
  grep -o '"model_version":"v[0-9]*"' "$work/answers.jsonl" | sort -u >"$work/versions"
}

load_before=$(cut -d' ' -f1-3 /proc/loadavg)
for ((pair = 1; pair <= pairs; pair++)); do
  run "still, pair $pair"
  [ "$(wc -l <"$work/versions")" = 1 ] || failed+=("still, pair $pair: more than one version answered")
  move_on "$version" >"$work/moved" &
  mover=$!
  run "reload, pair $pair"
  kill -TERM "$mover"
  wait "$mover" || true
  mover=''
  version=$(tail -n 1 "$work/moved")
  moves=$((moves + $(wc -l <"$work/moved")))
  answered=$(wc -l <"$work/versions")
  [ "$answered" -ge 2 ] || failed+=("reload, pair $pair: no new version answered")
  say "$answered versions answered"
  # the last one may still be on its way
  sleep 2
done

# --- the page ------------------------------------------------------------------------------------------------------------

# shellcheck disable=SC2016 # backticks of Markdown
page() {
  printf '# Reload under load, %s\n\n' "$(date -u '+%Y-%m-%d %H:%M UTC')"
  printf 'Made by `loadtest/suites/reload.sh`%s: one `forebay up` over HTTP, generator on the same cores. In the runs called reload a new version of the\n' "$([ $quick = no ] || echo ' `--quick` (proves nothing)')"
  printf 'forest (5.4 MB) became Production every 2 s, %s in all. Every request was answered by the version it was meant for.\n\n' "$moves"
  printf -- '- %s cores, %s, Linux %s; load average before the run: %s\n\n' "$(nproc)" "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" \
    "$(uname -r | cut -d- -f1)" "$load_before"
  "$bin/forebay-loadtest" table "$json" --compare still reload
}

[ ${#failed[@]} -eq 0 ] || { page; die "not clean: ${failed[*]}"; }
if [ $quick = yes ]; then page; else page >"$here/../results/reload-$(date -u +%F).md" && say "written: loadtest/results/reload-$(date -u +%F).md"; fi
