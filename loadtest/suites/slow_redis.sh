#!/usr/bin/env bash
# The example of docs/latency.md, run for real: five services, Kafka, and a Redis behind a proxy that slows it down. Prints what
# callers saw and where the traces say the time went; fails when they do not name Redis. With JAEGER_BIN=/path/to/jaeger (v2)
# the spans also go to a real Jaeger, which is then queried for one of the slow traces. JAEGER_STAY=yes leaves it running for a
# look at its UI until a key is pressed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kept=$(mktemp -d "${TMPDIR:-/tmp}/forebay-slow-redis.XXXXXX")
jaeger=""
# shellcheck disable=SC2317  # called by the trap
stop() {
  local code=$?
  [ -z "$jaeger" ] || kill "$jaeger" 2>/dev/null || true
  rm -rf "$kept"
  exit "$code"
}
trap stop EXIT
die() { printf 'slow_redis.sh: %s\n' "$*" >&2; exit 1; }

if [ -n "${JAEGER_BIN:-}" ]; then
  port=$((30000 + RANDOM % 2000))
  export JAEGER_HTTP=127.0.0.1:$port JAEGER_GRPC=127.0.0.1:$((port + 1))
  export JAEGER_OTLP_GRPC=127.0.0.1:$((port + 2)) JAEGER_OTLP_HTTP=127.0.0.1:$((port + 3))
  "$JAEGER_BIN" --config "$here/../../compose/monitoring/jaeger.yaml" >"$kept/jaeger.log" 2>&1 &
  jaeger=$!
  for _ in $(seq 100); do ! curl -fsS -m 2 "http://$JAEGER_HTTP/api/v3/services" >/dev/null 2>&1 || break; sleep 0.2; done
  curl -fsS -m 2 "http://$JAEGER_HTTP/api/v3/services" >/dev/null || { cat "$kept/jaeger.log" >&2; die "Jaeger does not answer"; }
  export REAL_OTLP=http://$JAEGER_OTLP_GRPC
fi

if ! REAL_KEEP=$kept bash "$here/real.sh" latency slow_redis >"$kept/run.log" 2>&1; then
  tail -n 60 "$kept/run.log" >&2
  exit 1
fi
cat "$kept/slow-redis.txt"
printf '\nwith redis.timeout = 100ms:\n'
cat "$kept/left-alone.txt"
[ -n "$jaeger" ] || exit 0

# What Jaeger knows: five services, and the slow trace with the redis span as its longest one below ingestion's.
trace=$(sed -n 's/^one of them: trace //p' "$kept/slow-redis.txt")
services=$(curl -fsS "http://$JAEGER_HTTP/api/v3/services" | jq -r '.services | map(select(startswith("forebay-"))) | length')
curl -fsS "http://$JAEGER_HTTP/api/traces/$trace" >"$kept/trace.json"
printf '\nJaeger has %s services; its trace %s:\n' "$services" "$trace"
jq -r '.data[0] | .processes as $p | .spans | sort_by(.startTime) | (.[0].startTime) as $zero | .[]
  | "\((.startTime - $zero) / 1000 * 10 | round / 10) ms\t\(.duration / 1000 * 10 | round / 10) ms\t\($p[.processID].serviceName)\t\(.operationName | sub("slow-redis-[0-9]+-[0-9]+"; "forebay"))"' \
  "$kept/trace.json" | column -t -s "$(printf '\t')"
longest=$(jq -r '.data[0].spans | map(select(.operationName | test("^(POST|process) ") | not)) | max_by(.duration) | .operationName' "$kept/trace.json")
[ "$services" = 5 ] || die "Jaeger has $services services of the mesh, not 5"
[ "$longest" = redis ] || die "the longest span in Jaeger is $longest, not redis"
if [ "${JAEGER_STAY:-}" = yes ]; then
  read -r -p "Jaeger: http://$JAEGER_HTTP/trace/$trace (return ends it) "
fi
