#!/usr/bin/env bash
# Removes everything that create.sh made, and the services. Without --apply it only prints the commands.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=names.sh
. "$here/names.sh"
sure=no
whole_group=no

usage() {
  cat <<'TEXT'
usage: EVENTHUB_NAMESPACE=NAME k8s/azure/cleanup.sh [--dry-run | --apply [--yes]] [--group] [mesh] [redis] [kafka] [eventhubs]

  mesh       the services of overlays/legacy
  redis      Redis
  kafka      Kafka with its volumes and namespace, and Secret kafka-secret: all records in it are gone
  eventhubs  the Event Hubs namespace with its hubs, and Secret eventhub-secret: all events in it are gone

  Without a word: all four, in this order. What is not there is no error.
  --group    the whole resource group as well, with whatever else is in it; only one that create.sh made
  --dry-run  print the commands and run none (the default); --apply runs them after a question, --yes without it

Environment: as for create.sh
TEXT
}

for word in "$@"; do
  case $word in
    --dry-run) mode=dry-run ;;
    --apply) mode=apply ;;
    --yes) sure=yes ;;
    --group) whole_group=yes ;;
    mesh | redis | kafka | eventhubs) parts+=("$word") ;;
    help | -h | --help) usage; exit 0 ;;
    *) usage >&2; die "unknown word $word" ;;
  esac
done
[ ${#parts[@]} -gt 0 ] || parts=(mesh redis kafka eventhubs)

mesh() {
  needs kubectl
  run kubectl delete -k "${here%/azure}/overlays/legacy" --ignore-not-found
  # ConfigMaps of earlier settings: every change of a setting left one
  run kubectl -n "$mesh" delete configmap -l app.kubernetes.io/part-of=forebay --ignore-not-found
}

redis() {
  needs helm
  run helm uninstall redis --namespace "$mesh" --ignore-not-found --wait
}

kafka() {
  needs kubectl helm
  run helm uninstall kafka --namespace kafka --ignore-not-found --wait
  # Helm leaves the volumes of a StatefulSet behind
  run kubectl -n kafka delete pvc -l app.kubernetes.io/instance=kafka --ignore-not-found
  run kubectl delete namespace kafka --ignore-not-found
  run kubectl -n "$mesh" delete secret kafka-secret --ignore-not-found
}

eventhubs() {
  check_names
  needs az kubectl
  run kubectl -n "$mesh" delete secret eventhub-secret --ignore-not-found
  # takes its hubs, consumer groups and rules along
  if [ "$mode" = dry-run ] || exists az eventhubs namespace show --resource-group "$group" --name "$namespace"; then
    run az eventhubs namespace delete --resource-group "$group" --name "$namespace"
  fi
  [ "$whole_group" = yes ] || return 0
  if [ "$mode" = apply ]; then
    exists az group show --name "$group" || return 0
    [ "$(az group show --name "$group" --query 'tags."made-for"' --output tsv)" = forebay ] || die "resource group $group was not made by create.sh, it stays"
  fi
  run az group delete --name "$group" --yes
}

exists() { "$@" --output none 2>/dev/null; }

if [ "$mode" = apply ] && [ "$sure" = no ]; then
  read -rp "This deletes ${parts[*]} in the cluster $(kubectl config current-context 2>/dev/null || echo '?') and in group $group for good. Type yes: " answer || answer=""
  [ "$answer" = yes ] || die "nothing was deleted"
fi
for part in "${parts[@]}"; do "$part"; done
[ "$mode" = apply ] || say "nothing was done; --apply does it"
