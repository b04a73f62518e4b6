#!/bin/bash
# KAFKA_LOG_DIRS becomes log.dirs, and so on; storage is formatted once.
set -euo pipefail
config=/opt/kafka/config/server.properties
env | grep '^KAFKA_' | grep -vE '^KAFKA_(HEAP_OPTS|OPTS)=' | while IFS='=' read -r name value; do
  name=${name#KAFKA_}
  printf '%s=%s\n' "$(printf '%s' "$name" | tr 'A-Z_' 'a-z.')" "$value"
done > "$config"
# shellcheck disable=SC2086 # options of the JVM, several in one variable
run() { exec java ${KAFKA_HEAP_OPTS:-} -cp '/opt/kafka/libs/*' "$@"; }
(run kafka.tools.StorageTool format --ignore-formatted -t "$CLUSTER_ID" -c "$config")
run kafka.Kafka "$config"
