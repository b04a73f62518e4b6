#!/usr/bin/env bash
# What create.sh and cleanup.sh share: names, the list of hubs, and how a command is run or only shown. Sourced, not run.
# shellcheck disable=SC2034 # its variables are read by those who source it

group=${AZURE_GROUP:-forebay}
location=${AZURE_LOCATION:-westeurope}
namespace=${EVENTHUB_NAMESPACE:-}
hub=${EVENTHUB_NAME:-inference-requests}
rule=forebay
consumer=inference-consumer
partitions=4
retention_hours=24
mesh=mlflow   # Kubernetes namespace of the services and of Redis
charts=${CHARTS:-oci://registry-1.docker.io/cloudpirates}
kafka_chart=0.1.4
redis_chart=0.34.18
# The ten topics: a Standard namespace has no room for an eleventh. The first two are the clients'.
hubs=("$hub" "$hub-results" forebay.requests forebay.features forebay.predict forebay.predictions forebay.results forebay.replies forebay.dead-letters)
compacted=forebay.models
mode=dry-run
parts=()

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 2; }

show() { # COMMAND... : as it could be typed
  local line
  printf -v line '%q ' "$@"
  printf '%s\n' "${line% }"
}

run() { # COMMAND...
  show "$@"
  [ "$mode" = dry-run ] || "$@"
}

needs() { # COMMAND... : programs that only a real run needs
  local command
  [ "$mode" = apply ] || return 0
  for command in "$@"; do command -v "$command" >/dev/null || die "$command is not installed"; done
}

check_names() {
  [[ "$namespace" =~ ^[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9]$ ]] ||
    die "EVENTHUB_NAMESPACE is ${namespace:-not set}: 6 to 50 letters, digits and hyphens, unique in all of Azure"
  [[ "$hub" =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,240}$ ]] || die "EVENTHUB_NAME is $hub, which no hub can be called"
}
