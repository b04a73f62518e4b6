#!/usr/bin/env bash
# Makes what the services need on Azure. Without --apply it only prints the commands.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=names.sh
. "$here/names.sh"

usage() {
  cat <<'TEXT'
usage: EVENTHUB_NAMESPACE=NAME k8s/azure/create.sh [--dry-run | --apply] [eventhubs] [kafka] [redis]

  eventhubs  Event Hubs namespace (Standard), ten hubs with 4 partitions and 1 day, consumer group inference-consumer,
             a rule that may send and listen, and its connection string as Secret eventhub-secret
  kafka      Apache Kafka with 3 brokers by Helm, the ten topics, and its address as Secret kafka-secret
  redis      Redis without login by Helm, redis-master.mlflow

  Without a word: eventhubs and redis. The services use Event Hubs as soon as eventhub-secret exists, else Kafka.
  --dry-run  print the commands and run none (the default); --apply runs them. Both may be repeated: what exists stays.

Environment
  EVENTHUB_NAMESPACE  name of the Event Hubs namespace, unique in all of Azure (needed by eventhubs)
  AZURE_GROUP         resource group (default forebay)     AZURE_LOCATION  where (default westeurope)
  EVENTHUB_NAME       hub of the requests (default inference-requests); answers go to <EVENTHUB_NAME>-results
  CHARTS              where Helm finds the charts (default oci://registry-1.docker.io/cloudpirates)
TEXT
}

for word in "$@"; do
  case $word in
    --dry-run) mode=dry-run ;;
    --apply) mode=apply ;;
    eventhubs | kafka | redis) parts+=("$word") ;;
    help | -h | --help) usage; exit 0 ;;
    *) usage >&2; die "unknown word $word" ;;
  esac
done
[ ${#parts[@]} -gt 0 ] || parts=(eventhubs redis)

namespaced() { # NAMESPACE : makes it, if it is not there
  if [ "$mode" = dry-run ]; then
    show kubectl create namespace "$1"
  elif ! kubectl get namespace "$1" >/dev/null 2>&1; then
    run kubectl create namespace "$1"
  fi
}

secret() { # NAME KEY : from stdin, never as an argument, which every process list would show
  kubectl -n "$mesh" create secret generic "$1" --from-file="$2=/dev/stdin" --dry-run=client -o yaml | kubectl -n "$mesh" apply -f -
}

eventhubs() {
  local at=(--resource-group "$group" --namespace-name "$namespace") name connection
  check_names
  needs az kubectl
  # a group that exists already is not ours: it gets no tag, so that cleanup.sh keeps it
  if [ "$mode" = dry-run ] || [ "$(az group exists --name "$group")" = false ]; then
    run az group create --name "$group" --location "$location" --tags made-for=forebay --output none
  fi
  run az eventhubs namespace create --resource-group "$group" --name "$namespace" --location "$location" --sku Standard --capacity 2 --minimum-tls-version 1.2 --output none
  for name in "${hubs[@]}"; do
    run az eventhubs eventhub create "${at[@]}" --name "$name" --partition-count "$partitions" --cleanup-policy Delete --retention-time-in-hours "$retention_hours" --output none
  done
  run az eventhubs eventhub create "${at[@]}" --name "$compacted" --partition-count "$partitions" --cleanup-policy Compact --tombstone-retention-time-in-hours "$retention_hours" --output none
  run az eventhubs eventhub consumer-group create "${at[@]}" --eventhub-name "$hub" --name "$consumer" --output none
  run az eventhubs namespace authorization-rule create "${at[@]}" --name "$rule" --rights Send Listen --output none
  namespaced "$mesh"
  local list_keys=(az eventhubs namespace authorization-rule keys list "${at[@]}" --name "$rule" --query primaryConnectionString --output tsv)
  echo "$(show "${list_keys[@]}") | kubectl -n $mesh create secret generic eventhub-secret --from-file=connection-string=/dev/stdin"
  [ "$mode" = apply ] || return 0
  connection=$("${list_keys[@]}")
  [[ "$connection" == Endpoint=sb://* ]] || die "Azure gave no connection string for rule $rule of $namespace"
  printf '%s' "$connection" | secret eventhub-secret connection-string
}

kafka() {
  local name options
  needs kubectl helm
  run helm upgrade --install kafka "$charts/kafka" --version "$kafka_chart" --namespace kafka --create-namespace --values "$here/kafka.values.yaml" --wait --timeout 10m
  for name in "$hub" inference-results "${hubs[@]:2}" "$compacted"; do
    options=(--config "retention.ms=$((retention_hours * 3600000))")
    [ "$name" != "$compacted" ] || options=(--config cleanup.policy=compact)
    # the clients' records keep the clients' time, and must not grow where they are read
    if [ "$name" = "$hub" ]; then options+=(--config compression.type=uncompressed); else options+=(--config message.timestamp.type=LogAppendTime); fi
    run kubectl -n kafka exec kafka-0 -- /opt/kafka/bin/kafka-topics.sh --bootstrap-server kafka:9092 --create --if-not-exists --topic "$name" --partitions "$partitions" --replication-factor 3 "${options[@]}"
  done
  namespaced "$mesh"
  echo "printf kafka.kafka:9092 | kubectl -n $mesh create secret generic kafka-secret --from-file=broker=/dev/stdin"
  [ "$mode" = dry-run ] || printf 'kafka.kafka:9092' | secret kafka-secret broker
}

redis() {
  needs helm
  run helm upgrade --install redis "$charts/redis" --version "$redis_chart" --namespace "$mesh" --create-namespace --values "$here/redis.values.yaml" --wait --timeout 5m
}

for part in "${parts[@]}"; do "$part"; done
[ "$mode" = apply ] || say "nothing was done; --apply does it"
