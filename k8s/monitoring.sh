#!/usr/bin/env bash
# The rules and the dashboard of compose/monitoring/ as objects for the Prometheus operator and for Grafana's sidecar:
#   k8s/monitoring.sh print [NAMESPACE]    YAML on stdout
#   k8s/monitoring.sh apply [NAMESPACE]    kubectl apply (default namespace: monitoring)
# The operator takes rules from namespaces and with labels that its Prometheus selects; LABELS adds some: LABELS="release: prometheus".
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command=${1:-help}
namespace=${2:-monitoring}

head_of() { # API KIND NAME [LABEL]
  printf -- '---\napiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n  namespace: %s\n  labels:\n    app.kubernetes.io/part-of: forebay\n' "$1" "$2" "$3" "$namespace"
  [ -z "${4:-}" ] || printf '    %s\n' "$4"
}

print() {
  local file
  for file in "$root"/compose/monitoring/rules/*.yml; do
    head_of monitoring.coreos.com/v1 PrometheusRule "forebay-$(basename "$file" .yml)" "${LABELS:-}"
    printf 'spec:\n'
    sed 's/^/  /' "$file"
  done
  for file in "$root"/compose/monitoring/grafana/dashboards/*.json; do
    head_of v1 ConfigMap "forebay-dashboard-$(basename "$file" .json)" 'grafana_dashboard: "1"'
    printf 'data:\n  %s: |\n' "$(basename "$file")"
    sed 's/^/    /' "$file"
  done
}

case $command in
  print) print ;;
  # a dashboard is larger than the annotation that a client-side apply would keep of it
  apply) print | kubectl apply --server-side -f - ;;
  *) sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
