#!/usr/bin/env bash
# The example of docs/latency.md, run for real: five services, Kafka, and a Redis behind a proxy that slows it down. Prints what
# callers saw and where the traces say the time went; fails when they do not name Redis.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kept=$(mktemp -d "${TMPDIR:-/tmp}/forebay-slow-redis.XXXXXX")
trap 'rm -rf "$kept"' EXIT

if ! REAL_KEEP=$kept bash "$here/real.sh" latency slow_redis >"$kept/run.log" 2>&1; then
  tail -n 60 "$kept/run.log" >&2
  exit 1
fi
cat "$kept/slow-redis.txt"
printf '\nwith redis.timeout = 100ms:\n'
cat "$kept/left-alone.txt"
