#!/usr/bin/env bash
# Checks everything in compose/monitoring/ and its documents. `check.sh static` needs no service: it reads, lints and unit-tests.
# Without an argument it also runs the five binaries over a real Kafka and Redis under load, lets a real Prometheus scrape them, and
# queries every expression of the dashboard, the rules and the alerts: each must give an answer, unless expressions.txt
# says why it cannot in a healthy mesh.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
say() { printf '%s\n' "$*" >&2; }
die() { say "compose/monitoring/check.sh: $*"; exit 1; }

case ${1:-} in
  help | -h | --help)
    cat <<'TEXT'
usage: compose/monitoring/check.sh [static]

  check.sh          everything (about two minutes, after the build)
  check.sh static   without services (half a minute)

Environment
  FOREBAY_BIN_DIR   use the binaries in this folder and build none
  CARGO_TARGET_DIR  where cargo builds (default target/)
  SCRAPE_SECONDS    how long Prometheus watches the mesh under load (default 45)
  REAL_KEEP         a folder that keeps the logs
TEXT
    exit 0
    ;;
  "" | static) ;;
  *) die "unknown word $1, see check.sh help" ;;
esac

for tool in promtool prometheus jq python3; do
  command -v "$tool" >/dev/null || die "$tool is missing: apt-get install prometheus jq python3"
done

# --- what needs no service -------------------------------------------------------------------------------------

promtool check config "$here/prometheus.yml"
python3 "$here/grafana/make.py" --check
python3 "$here/check.py" static
(cd "$here/tests" && promtool test rules alerts.yml days.yml)
say "static checks passed"
[ "${1:-}" != static ] || exit 0

# --- a mesh, load, and Prometheus ------------------------------------------------------------------------------

cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
if [ -z "${FOREBAY_BIN_DIR:-}" ]; then
  # with a test, so that the features and so the artefacts are those of the tests
  cargo build --workspace --bins --test metrics
  export FOREBAY_BIN_DIR=$target/debug
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/forebay-monitoring.XXXXXX")
export FOREBAY_NATIVE_DIR=$work/native
pids=()
# shellcheck disable=SC2317  # called by the trap
stop() {
  local code=$?
  trap - EXIT INT TERM
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  timeout 90 "$root/compose/native.sh" down kafka redis >"$work/down.log" 2>&1 || cat "$work/down.log" >&2
  if [ -n "${REAL_KEEP:-}" ]; then
    mkdir -p "$REAL_KEEP"
    cp "$work"/*.log "$work"/*.txt "$REAL_KEEP/" 2>/dev/null || true
  fi
  rm -rf "$work"
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

await() { # SECONDS WHAT COMMAND...
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$limit" ] || die "waited in vain for $what"
    sleep 0.3
  done
}

# shellcheck source=../ports.sh
. "$root/compose/ports.sh"
base=$(free_ports 12)
export KAFKA_PORT=$base KAFKA_CONTROLLER_PORT=$((base + 1)) REDIS_PORT=$((base + 2)) KAFKA_HEAP=${KAFKA_HEAP:--Xms256m -Xmx768m}
http=$((base + 3)) prometheus=$((base + 4)) admin=$((base + 5))
say "starting Kafka on $KAFKA_PORT and Redis on $REDIS_PORT"
timeout 240 "$root/compose/native.sh" up kafka redis >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; die "Kafka or Redis did not start"; }

bin=$FOREBAY_BIN_DIR
export FOREBAY__KAFKA__BROKERS=127.0.0.1:$KAFKA_PORT FOREBAY__REDIS__URL=redis://127.0.0.1:$REDIS_PORT
export FOREBAY__HTTP__LISTEN=127.0.0.1:$http FOREBAY__LOG__FORMAT=json
# a version in the shadow and one that is requested by name give their families a sample
export FOREBAY__PREDICTION__SHADOW='["diabetes-rf-model/2"]'
"$bin/forebay" topics create >"$work/topics.log" 2>&1 || { cat "$work/topics.log" >&2; die "topics were not made"; }
stages=(ingestion preprocessing caching prediction publishing)
for i in "${!stages[@]}"; do
  FOREBAY__ADMIN__LISTEN=127.0.0.1:$((admin + i)) "$bin/forebay-${stages[$i]}" >"$work/${stages[$i]}.log" 2>&1 &
  pids+=($!)
done
ready() { for i in "${!stages[@]}"; do curl -fsS -m 2 "http://127.0.0.1:$((admin + i))/health/ready" || return 1; done; }
await 60 "the mesh to be ready" ready

# the repository's own configuration, but for the targets and the pace
python3 "$here/check.py" config "$admin" >"$work/prometheus.yml"
promtool check config "$work/prometheus.yml" >"$work/config.log" || { cat "$work/config.log" >&2; die "the derived configuration is wrong"; }
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address="127.0.0.1:$prometheus" \
  --enable-feature=exemplar-storage --log.level=warn >"$work/prometheus.log" 2>&1 &
pids+=($!)
await 30 "Prometheus" curl -fsS -m 2 "http://127.0.0.1:$prometheus/-/ready"

seconds=${SCRAPE_SECONDS:-45}
say "load for $seconds s"
"$bin/forebay-loadtest" kafka --brokers "$FOREBAY__KAFKA__BROKERS" --rate 200 --seconds "$seconds" --warmup 1 --repeat-ratio 0.4 >"$work/load.log" 2>&1 &
load=$!
pids+=("$load")
# the callers continue while the expressions are queried: many of them look at the last half minute
python3 "$here/check.py" callers "$http" "$((seconds + 15))" &
callers=$!
pids+=("$callers")
wait "$load" || { cat "$work/load.log" >&2; die "the load test was not clean"; }

python3 "$here/check.py" query "http://127.0.0.1:$prometheus"
wait "$callers" || die "the callers over HTTP were not answered"
for i in "${!stages[@]}"; do
  curl -fsS "http://127.0.0.1:$((admin + i))/metrics" >"$work/${stages[$i]}.metrics.txt"
  promtool check metrics <"$work/${stages[$i]}.metrics.txt" || die "promtool finds fault with the metrics of ${stages[$i]}"
done
say "promtool check metrics: clean"
