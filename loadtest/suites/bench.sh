#!/usr/bin/env bash
# Measures relay, mesh, fused form and HTTP in one run and writes loadtest/results/<date>.md. `bench.sh --help` says how.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'TEXT'
usage: loadtest/suites/bench.sh [--only STEP,STEP...] [--legacy] [--quick] [--keep-topics]

Steps, in order: latency (relay and mesh in turns), idle, throughput (relay, mesh), fused, http
  --legacy        also measure the replaced service: LEGACY_COMMAND is run with the broker's address as its argument, reads
                  inference-requests, writes inference-results, and prints READY
  --quick         3 s runs, one round, 100,000 requests: shows that everything works, proves nothing; the page is only printed
  --keep-topics   do not delete the topics of this run at the end

Build first: cargo build --release --workspace. Kafka must run; compose/native.sh up kafka redis starts one.

Environment
  FOREBAY_BIN_DIR          where the binaries are       (default: ${CARGO_TARGET_DIR:-target}/release)
  FOREBAY__KAFKA__BROKERS  the broker                   (default: 127.0.0.1:9092)
  FOREBAY__REDIS__URL      the mesh's second cache level (default: redis://127.0.0.1:6379; empty = memory only)
  BENCH_RATES 200 1000     BENCH_ROUNDS 3   BENCH_SECONDS 10   BENCH_WARMUP 3   BENCH_COUNT 2000000   BENCH_PARTITIONS 4
  BENCH_ADMIN_PORT 8001    first of the admin ports      BENCH_HTTP_PORT 18080
  BENCH_SYSTEMS relay mesh which of the two the steps latency and throughput measure
  BENCH_BROKER_PID         the broker's process, to report its CPU (default: found by name)
TEXT
}

only=latency,idle,throughput,fused,http legacy=no quick=no keep=no
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=$2; shift ;;
    --legacy) legacy=yes ;;
    --quick) quick=yes ;;
    --keep-topics) keep=yes ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done

bin=${FOREBAY_BIN_DIR:-${CARGO_TARGET_DIR:-$here/../../target}/release}
brokers=${FOREBAY__KAFKA__BROKERS:-127.0.0.1:9092}
redis=${FOREBAY__REDIS__URL-redis://127.0.0.1:6379}
read -ra rates <<<"${BENCH_RATES:-200 1000}"
rounds=${BENCH_ROUNDS:-3} seconds=${BENCH_SECONDS:-10} warmup=${BENCH_WARMUP:-3} count=${BENCH_COUNT:-2000000}
partitions=${BENCH_PARTITIONS:-4} admin=${BENCH_ADMIN_PORT:-8001} http_port=${BENCH_HTTP_PORT:-18080}
systems=${BENCH_SYSTEMS:-relay mesh}
if [ $quick = yes ]; then rounds=1 seconds=3 warmup=1 count=100000; fi
services=(ingestion preprocessing caching prediction publishing)

export FOREBAY__KAFKA__BROKERS=$brokers
load=$bin/forebay-loadtest
id=bench-$(date -u +%Y%m%d%H%M%S)-$$
work=$(mktemp -d)
json=$work/runs.jsonl
started=() ports=() topics=() failed=()
: >"$json"

say() { printf '%s\n' "$*" >&2; }
die() { say "bench.sh: $*"; exit 1; }
wants() { case ",$only," in *",$1,"*) true ;; *) false ;; esac; }

includes() { case " $systems " in *" $1 "*) true ;; *) false ;; esac; }

# --- processes -------------------------------------------------------------------------------------------------------

stop_all() { # every process that was started here, by its pid; the first one first, as work flows from it
  local pid waited
  for pid in "${started[@]}"; do
    kill -TERM "$pid" 2>/dev/null || true
    waited=0
    while kill -0 "$pid" 2>/dev/null && [ $waited -lt 300 ]; do sleep 0.1; waited=$((waited + 1)); done
    if kill -0 "$pid" 2>/dev/null; then say "process $pid did not stop within 30 s and was killed"; kill -KILL "$pid" || true; fi
    wait "$pid" 2>/dev/null || true
  done
  started=() ports=()
  : >"$work/pids"
}

finish() {
  local code=$?
  stop_all
  if [ $keep = no ] && [ ${#topics[@]} -gt 0 ]; then "$load" topics delete "${topics[@]}" 2>>"$work/delete.log" || true; fi
  if [ $code -eq 0 ]; then rm -rf "$work"; else say "logs are in $work"; fi
}
trap finish EXIT
trap 'exit 130' INT TERM

launch() { # NAME COMMAND... : starts it with its output in a log; an admin port of its own
  local name=$1 port=$((admin + ${#started[@]}))
  shift
  FOREBAY__ADMIN__LISTEN=127.0.0.1:$port "$@" >"$work/$name.log" 2>&1 &
  started+=($!) ports+=("$name:$port")
  printf '%s=%s\n' "$name" "$!" >>"$work/pids"
}

wait_ready() { # until every launched service says so
  local entry name port tries
  for entry in "${ports[@]}"; do
    name=${entry%:*} port=${entry#*:} tries=0
    until curl -fsS -o "$work/ready" "http://127.0.0.1:$port/health/ready" 2>>"$work/curl.log"; do
      tries=$((tries + 1))
      [ $tries -lt 600 ] || { tail -n 20 "$work/$name.log" >&2; die "$name is not ready after 60 s"; }
      sleep 0.1
    done
  done
}

wait_line() { # FILE TEXT : until the file holds the text
  local tries=0
  until grep -q "$2" "$1" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 1200 ] || { tail -n 20 "$1" >&2; die "no \"$2\" in the output after 120 s"; }
    sleep 0.1
  done
}

broker_pid=${BENCH_BROKER_PID:-$(pgrep -o -f 'kafka\.Kafka' || true)}
watch_broker=()
if [ -n "$broker_pid" ]; then watch_broker=(--watch "broker=$broker_pid"); fi

measure() { # LABEL COMMAND... : one run of the generator; an unclean run is noted and does not end the others
  local label=$1
  shift
  say "--- $label"
  "$load" "$@" --json "$json" --label "$label" --watch-file "$work/pids" "${watch_broker[@]}" || {
    local code=$?
    [ $code -eq 1 ] || die "$label could not be measured"
    failed+=("$label")
  }
}

# --- what is measured --------------------------------------------------------------------------------------------------

make_topics() { "$load" topics create --partitions "$partitions" "$@" && topics+=("$@"); }

topics_for() { # PREFIX : names of one set of topics, made and exported
  local prefix=$1 name names=()
  for name in requests_in results_out requests features predict predictions results replies dead_letters; do
    export "FOREBAY__TOPICS__${name^^}=$prefix.$name"
    names+=("$prefix.$name")
  done
  make_topics "${names[@]}"
  export FOREBAY__TOPICS__MODELS=$prefix.models
  "$load" topics create --compacted --partitions "$partitions" "$prefix.models"
  topics+=("$prefix.models")
  export FOREBAY__KAFKA__CONSUMER_GROUP=$prefix FOREBAY__KAFKA__PARTITIONS=$partitions
}

start_mesh() {
  local service begin
  begin=$(date +%s%N)
  for service in "${services[@]}"; do
    launch "$service" env FOREBAY__REDIS__URL="$redis" FOREBAY__HTTP__LISTEN=127.0.0.1:"$http_port" "$bin/forebay-$service"
  done
  wait_ready
  start_ms=$((($(date +%s%N) - begin) / 1000000))
}

start_relay() { # RATE : packs without waiting below 500/s, within 5 ms above, as a tuned chain would
  local wait=0
  [ "$1" -lt 500 ] || wait=5
  rm -f "$work/relay.pids"
  : >"$work/relay.log" # READY of an earlier chain must not count
  "$load" relay-chain --in "$id.relay-in" --out "$id.relay-out" --prefix "$id.relay" --partitions "$partitions" \
    --pack-wait-ms $wait --pids "$work/relay.pids" >"$work/relay.log" 2>&1 &
  started+=($!)
  wait_line "$work/relay.log" READY
  cat "$work/relay.pids" >>"$work/pids"
}

paced() { printf '%s\n' --rate "$1" --seconds "$seconds" --warmup "$warmup"; }

latency() {
  local round rate
  for ((round = 1; round <= rounds; round++)); do
    for rate in "${rates[@]}"; do
      mapfile -t pace < <(paced "$rate")
      if includes relay; then
        start_relay "$rate"
        measure "relay $rate/s, round $round" kafka "${pace[@]}" --in "$id.relay-in" --out "$id.relay-out"
        stop_all
      fi
      if includes mesh; then
        start_mesh
        measure "mesh $rate/s, round $round" kafka "${pace[@]}" --in "$FOREBAY__TOPICS__REQUESTS_IN" \
          --out "$FOREBAY__TOPICS__RESULTS_OUT" --oracle "$work/mesh.oracle"
        stop_all
      fi
    done
  done
  includes mesh || return 0
  "$load" judge --oracle "$work/mesh.oracle" --out "$FOREBAY__TOPICS__RESULTS_OUT" \
    --dead-letters "$FOREBAY__TOPICS__DEAD_LETTERS" --max-errors 0 | tee "$work/judge.txt" || failed+=("judge")
}

idle() {
  includes mesh || return 0
  start_mesh
  sleep 5
  { "$load" process-usage --watch-file "$work/pids" --seconds 10 | grep -v '^| generator'; printf '\nAll five ready %s ms after the first was started.\n' "$start_ms"; } | tee "$work/idle.md"
  stop_all
}

fill_then() { # LABEL IN OUT GROUP START_COMMAND... : fills with nothing running, starts the system, counts
  local label=$1 input=$2 output=$3 group=$4 generator
  shift 4
  say "--- $label"
  : >"$work/fill.log"
  "$load" throughput --count "$count" --in "$input" --out "$output" --group "$group" --json "$json" --label "$label" \
    --watch-file "$work/pids" "${watch_broker[@]}" >"$work/fill.log" &
  generator=$!
  wait_line "$work/fill.log" '^filled'
  "$@"
  wait "$generator" || failed+=("$label")
  cat "$work/fill.log"
  stop_all
}

throughput() {
  ! includes relay ||
    fill_then "relay, filled topic" "$id.relay-in" "$id.relay-out" "$id.relay-1" start_relay 0
  ! includes mesh ||
    fill_then "mesh, filled topic" "$FOREBAY__TOPICS__REQUESTS_IN" "$FOREBAY__TOPICS__RESULTS_OUT" "$FOREBAY__KAFKA__CONSUMER_GROUP" start_mesh
}

start_fused() {
  launch fused env FOREBAY__REDIS__URL= FOREBAY__HTTP__LISTEN=127.0.0.1:"$http_port" "$bin/forebay" up --kafka
  wait_ready
}

fused() {
  topics_for "$id.fused"
  start_fused
  mapfile -t pace < <(paced 1000)
  measure "fused 1000/s" kafka "${pace[@]}" --in "$FOREBAY__TOPICS__REQUESTS_IN" --out "$FOREBAY__TOPICS__RESULTS_OUT"
  stop_all
  fill_then "fused, filled topic" "$FOREBAY__TOPICS__REQUESTS_IN" "$FOREBAY__TOPICS__RESULTS_OUT" "$FOREBAY__KAFKA__CONSUMER_GROUP" start_fused
}

http() {
  launch up env -u FOREBAY__KAFKA__BROKERS -u KAFKA_BROKER FOREBAY__REDIS__URL= FOREBAY__HTTP__LISTEN=127.0.0.1:"$http_port" "$bin/forebay" up
  wait_ready
  local url=http://127.0.0.1:$http_port
  mapfile -t pace < <(paced 2000)
  measure "up, HTTP 2000/s" http --url "$url" "${pace[@]}"
  measure "up, HTTP closed, 8 callers" http --url "$url" --closed 8 --seconds "$seconds"
  measure "up, HTTP closed, 4 callers, 32 rows" http --url "$url" --closed 4 --rows 32 --seconds "$seconds"
  mapfile -t pace < <(paced 1900)
  measure "up, HTTP 1900/s, 32 rows" http --url "$url" "${pace[@]}" --rows 32
  stop_all
}

legacy() {
  make_topics inference-requests inference-results
  # shellcheck disable=SC2086 # a command line, to be split
  launch legacy ${LEGACY_COMMAND:?--legacy needs LEGACY_COMMAND} "$brokers"
  wait_line "$work/legacy.log" READY
  mapfile -t pace < <(paced 50)
  measure "legacy 50/s" kafka "${pace[@]}"
  stop_all
  topics=("${topics[@]:0:${#topics[@]}-2}") # those two are everybody's
}

# --- the page ------------------------------------------------------------------------------------------------------------

machine() {
  printf -- '- %s cores, %s, %s of memory, Linux %s\n' "$(nproc)" \
    "$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" \
    "$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)" "$(uname -r | cut -d- -f1)"
  printf -- '- broker, Redis, generator and the system under test share these cores; one broker, replication 1, %s partitions, loopback\n' "$partitions"
  printf -- '- load average before the run: %s; %s s measured after %s s of warm-up, %s round(s)\n' "$load_before" "$seconds" "$warmup" "$rounds"
}

# shellcheck disable=SC2016 # backticks of Markdown
page() {
  printf '# Measurements of %s\n\n' "$(date -u '+%Y-%m-%d %H:%M UTC')"
  printf 'Made by `loadtest/suites/bench.sh --only %s`%s.\n\n' "$only" "$([ $quick = no ] || echo ' `--quick` (proves nothing)')"
  machine
  printf '\n## Runs\n\nLatency counts from the scheduled send.\n\n'
  "$load" table "$json" --compare relay mesh
  if [ -s "$work/judge.txt" ]; then printf '## Judge (all mesh latency runs)\n\n```\n%s\n```\n\n' "$(cat "$work/judge.txt")"; fi
  if [ -s "$work/idle.md" ]; then printf '## Idle\n\n%s\n\n' "$(cat "$work/idle.md")"; fi
  if [ ${#failed[@]} -gt 0 ]; then printf '## Not clean\n\n'; printf -- '- %s\n' "${failed[@]}"; fi
}

binaries=(forebay-loadtest)
if includes mesh && { wants latency || wants throughput || wants idle; }; then binaries+=("${services[@]/#/forebay-}"); fi
if wants fused || wants http; then binaries+=(forebay); fi
for binary in "${binaries[@]}"; do
  [ -x "$bin/$binary" ] || die "$bin/$binary is missing: cargo build --release --workspace, or set FOREBAY_BIN_DIR"
done
load_before=$(cut -d' ' -f1-3 /proc/loadavg)
: >"$work/pids"
make_topics "$id.relay-in" "$id.relay-out"
for hop in 1 2 3 4; do topics+=("$id.relay.hop$hop"); done
topics_for "$id.mesh"
for step in latency idle throughput fused http; do
  if wants $step; then $step; fi
done
if [ $legacy = yes ]; then legacy; fi

if [ $quick = yes ]; then
  page # nothing that proves nothing belongs into the repository
else
  target=$here/../results/$(date -u +%F)
  number=1
  while [ -e "$target.md" ]; do number=$((number + 1)); target=$here/../results/$(date -u +%F)-$number; done
  mkdir -p "$here/../results"
  page >"$target.md"
  cp "$json" "$target.jsonl"
  say "written: $target.md"
fi
[ ${#failed[@]} -eq 0 ] || die "not clean: ${failed[*]}"
