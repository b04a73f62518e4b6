#!/usr/bin/env bash
# Scores one row with curl and prints the answer.
#
# usage: predict.sh     FOREBAY_URL (default http://127.0.0.1:8080), FOREBAY_API_KEY if the mesh requires one
set -euo pipefail

url=${FOREBAY_URL:-http://127.0.0.1:8080}
row='{"age":0.038,"sex":0.051,"bmi":0.062,"bp":0.022,"s1":-0.044,"s2":-0.035,"s3":-0.043,"s4":-0.003,"s5":0.02,"s6":-0.018}'
# --retry repeats a request that was answered 429 or 503 after the time that Retry-After names
curl --silent --show-error --fail-with-body --max-time 10 --retry 3 "$url/v1/predict" \
  ${FOREBAY_API_KEY:+--header "X-API-Key: $FOREBAY_API_KEY"} \
  --header "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)" \
  --data "{\"features\":$row,\"timeout_ms\":2000}"
