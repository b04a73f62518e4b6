#!/usr/bin/env bash
# Applies the overlays, word for word as README says it, to a real API server with etcd behind it: started here on loopback,
# without nodes and controllers, and removed afterwards. Shows that a server takes every object without a warning, that a
# second apply changes nothing, that `apply -k k8s/overlays/prod/SERVICE` touches no other service, that pod security
# `restricted` admits every pod, that cleanup leaves nothing. What only nodes can show (pods that run) it does not.
#
#   KUBE_APISERVER=FILE ETCD=FILE CRDS=FOLDER k8s/apply.sh        about a minute
#
# KUBE_APISERVER  the program (`go build k8s.io/kubernetes/cmd/kube-apiserver`, or a release)
# ETCD            the program (Debian: etcd-server)
# CRDS            definitions of the kinds that the overlays use (KEDA, Strimzi, Prometheus operator), as those projects ship them
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${1:-} in -h | --help | help) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
work=$(mktemp -d "${TMPDIR:-/tmp}/forebay-apply.XXXXXX")
passed=0
children=()

say() { printf '%s\n' "$*" >&2; }
die() { say "apply.sh: $*"; exit 1; }
ok() { passed=$((passed + 1)); say "ok: $*"; }
stop() {
  local code=$? child
  trap - EXIT INT TERM
  for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
  wait 2>/dev/null || true
  [ "$code" = 0 ] || { tail -n 15 "$work"/apiserver.log | cut -c1-300; } >&2 2>/dev/null || true
  rm -rf "$work"
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT TERM

for tool in kubectl jq openssl; do command -v "$tool" >/dev/null || die "please install $tool"; done
[ -x "${KUBE_APISERVER:-}" ] || die "KUBE_APISERVER must name the API server's program"
[ -x "${ETCD:-}" ] || die "ETCD must name etcd's program"
[ -d "${CRDS:-}" ] || die "CRDS must name a folder with the definitions of KEDA, Strimzi and the Prometheus operator"

# --- the server --------------------------------------------------------------------------------------------------------

# shellcheck source=../compose/ports.sh
. "$here/../compose/ports.sh"
base=$(free_ports 3)
openssl genrsa -out "$work/accounts.key" 2048 2>/dev/null
printf 'let-me-in,admin,admin,system:masters\n' > "$work/tokens.csv"
"$ETCD" --data-dir "$work/etcd" --listen-client-urls "http://127.0.0.1:$base" --advertise-client-urls "http://127.0.0.1:$base" \
  --listen-peer-urls "http://127.0.0.1:$((base + 1))" --initial-cluster "default=http://127.0.0.1:$((base + 1))" \
  --initial-advertise-peer-urls "http://127.0.0.1:$((base + 1))" >"$work/etcd.log" 2>&1 &
children+=($!)
"$KUBE_APISERVER" --etcd-servers "http://127.0.0.1:$base" --bind-address 127.0.0.1 --secure-port "$((base + 2))" --cert-dir "$work/certs" \
  --service-account-issuer https://forebay.test --service-account-key-file "$work/accounts.key" --service-account-signing-key-file "$work/accounts.key" \
  --token-auth-file "$work/tokens.csv" --authorization-mode RBAC --service-cluster-ip-range 10.97.0.0/16 >"$work/apiserver.log" 2>&1 &
children+=($!)
export KUBECONFIG=$work/kubeconfig
kubectl config set-cluster here --server "https://127.0.0.1:$((base + 2))" --insecure-skip-tls-verify=true >/dev/null
kubectl config set-credentials admin --token let-me-in >/dev/null
kubectl config set-context here --cluster here --user admin >/dev/null
kubectl config use-context here >/dev/null
await() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.5
  done
}
await 90 kubectl get --raw /readyz || die "the API server is not ready"
kubectl create -f "$CRDS" >"$work/crds.log" 2>&1 || { tail -n 3 "$work/crds.log" >&2; die "the definitions in $CRDS are refused"; }
kubectl wait --for condition=Established --timeout 60s -f "$CRDS" >/dev/null
say "    Kubernetes $(kubectl version -o json 2>"$work/skew" | jq -r .serverVersion.gitVersion), $(grep -c created "$work/crds.log") definitions"

# --- what is applied -----------------------------------------------------------------------------------------------------

apply() { # OVERLAY : a warning counts as a failure
  timeout 120 kubectl apply -k "$here/overlays/$1" >"$work/out" 2>"$work/err" || { cat "$work/out" "$work/err" >&2; die "$1 is refused"; }
  [ ! -s "$work/err" ] || { cat "$work/err" >&2; die "$1 is taken with a warning"; }
}
# A server without controllers fills nothing in behind our back, so whatever an apply changes shows in a resource version.
versions() { # NAMESPACE
  kubectl -n "$1" get deployments,services,configmaps,serviceaccounts,poddisruptionbudgets,networkpolicies,scaledobjects,triggerauthentications,podmonitors -o json |
    jq -r '.items[] | "\(.kind)/\(.metadata.name) \(.metadata.resourceVersion)"' | sort
}
# Pods are made by a controller; here each template is shown to the server as a pod, and not kept.
admitted() { # NAMESPACE
  local deployment count=0
  for deployment in $(kubectl -n "$1" get deployments -o name); do
    kubectl -n "$1" get "$deployment" -o json |
      jq '{apiVersion: "v1", kind: "Pod", metadata: {name: .metadata.name, labels: .spec.template.metadata.labels}, spec: .spec.template.spec}' |
      kubectl -n "$1" create --dry-run=server -f - >"$work/out" 2>"$work/err" || { cat "$work/err" >&2; die "a pod of $deployment is not admitted"; }
    [ ! -s "$work/err" ] || { cat "$work/err" >&2; die "a pod of $deployment is admitted with a warning"; }
    count=$((count + 1))
  done
  printf '%s\n' "$count"
}

apply dev
objects=$(wc -l <"$work/out")
versions forebay-dev >"$work/before"
apply dev
versions forebay-dev >"$work/after"
# by versions: kubectl says "configured" of a disruption budget whose selector it sends again, and nothing changes
cmp -s "$work/before" "$work/after" || { diff "$work/before" "$work/after" >&2; die "a second apply of dev changes something"; }
ok "overlays/dev: $objects objects taken without a warning, a second apply changes nothing"
ok "overlays/dev: $(admitted forebay-dev) pods admitted under pod security $(kubectl get namespace forebay-dev -o jsonpath='{.metadata.labels.pod-security\.kubernetes\.io/enforce}')"
printf '%s\n' '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"planted"},"spec":{"containers":[{"name":"x","image":"x"}]}}' >"$work/planted.json"
if kubectl -n forebay-dev create --dry-run=server -f "$work/planted.json" >/dev/null 2>&1; then die "a pod that may do everything is admitted"; fi
ok "a pod without these restrictions is refused"

services=(publishing prediction caching preprocessing ingestion)
apply prod/shared
kubectl create namespace kafka --dry-run=client -o yaml | kubectl apply -f - >/dev/null 2>&1
apply prod/kafka
for service in "${services[@]}"; do apply "prod/$service"; done
ok "overlays/prod: shared, kafka and five services in the order of k8s/README.md; $(admitted forebay) pods admitted"
mkdir -p "$work/changed-service"
for service in "${services[@]}"; do
  versions forebay >"$work/before"
  printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [%s]\nimages: [{name: forebay-%s, newTag: 0.1.1}]\n' \
    "$(realpath --relative-to="$work/changed-service" "$here/overlays/prod/$service")" "$service" >"$work/changed-service/kustomization.yaml"
  timeout 60 kubectl apply -k "$work/changed-service" >"$work/out" 2>"$work/err" || { cat "$work/err" >&2; die "a new build of $service is refused"; }
  versions forebay >"$work/after"
  touched=$(comm -13 "$work/before" "$work/after" | cut -d' ' -f1)
  [ "$touched" = "Deployment/forebay-$service" ] || die "a new build of $service touches: $touched"
done
ok "a new build of each service touches its Deployment and nothing else"
apply prod/prediction-canary
[ "$(kubectl -n forebay get deployments -o name | grep -c prediction)" = 2 ] || die "the canary does not stand beside the old build"
kubectl -n forebay get configmaps -o name >"$work/before"
kubectl -n forebay delete deployment forebay-prediction-canary --wait=false >/dev/null
kubectl -n forebay get deployment forebay-prediction >/dev/null || die "taking the canary away takes the old build away"
kubectl -n forebay get configmaps -o name | cmp -s "$work/before" - || die "taking the canary away takes a ConfigMap away"
ok "the canary comes beside prediction and goes without it"

name=forebay-caching
versions forebay | grep -v "/$name " >"$work/before"
kubectl -n forebay delete --ignore-not-found --wait=false deployment/$name scaledobject/$name poddisruptionbudget/$name service/$name serviceaccount/$name >/dev/null 2>"$work/err"
versions forebay >"$work/after"
cmp -s "$work/before" "$work/after" || { diff "$work/before" "$work/after" >&2; die "cleanup of one service takes more or less than that service"; }
ok "cleanup of one service as k8s/README.md says it takes that service and nothing else"

kubectl create namespace mlflow --dry-run=client -o yaml | kubectl apply -f - >/dev/null 2>&1
apply legacy
ok "overlays/legacy: $(wc -l <"$work/out") objects taken without a warning"

for overlay in legacy dev; do timeout 60 kubectl delete -k "$here/overlays/$overlay" --wait=false >"$work/out" 2>&1 || { tail -n 5 "$work/out" >&2; die "$overlay cannot be deleted"; }; done
left=$(kubectl -n forebay-dev get deployments,services,configmaps,networkpolicies -o name 2>/dev/null | grep -v kube-root-ca || true)
[ -z "$left" ] || die "deleting dev leaves: $left"
ok "delete leaves nothing of dev"
echo "$passed passed, 0 failed"
