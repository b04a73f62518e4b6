#!/usr/bin/env bash
# Checks all that is in k8s/ without a cluster: `k8s/check.sh`, or some parts of it: `k8s/check.sh manifests azure`.
#
#   manifests  renders every overlay and every combination of components with `kubectl kustomize`, validates each object
#              strictly against Kubernetes 1.30 and 1.37 and the custom resources' schemas, and checks what no schema knows
#   policy     checkov's rules for Kubernetes on the overlays
#   azure      the scripts in k8s/azure, with stand-ins for az, kubectl and helm
#   monitoring the wrapping of compose/monitoring/ for the Prometheus operator
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FOREBAY_CACHE:-$HOME/.cache/forebay}
export PYTHONDONTWRITEBYTECODE=1
say() { printf '%s\n' "$*" >&2; }
die() { say "k8s/check.sh: $*"; exit 1; }

venv() { # NAME PACKAGE==VERSION : a Python environment with exactly that, made once; prints its folder
  local folder=$cache/$1 name=${2%%==*} version=${2#*==}
  if [ "$("$folder/bin/pip" show "$name" 2>/dev/null | sed -n 's/^Version: //p')" != "$version" ]; then
    say "installing $2"
    rm -rf "$folder"
    mkdir -p "$cache"
    if ! { python3 -m venv "$folder" && timeout 400 "$folder/bin/pip" install -q "$2" >&2; }; then die "cannot install $2"; fi
  fi
  echo "$folder"
}

render() { # FOLDER FILE
  mkdir -p "$(dirname "$2")"
  timeout 60 kubectl kustomize "$1" > "$2" 2> "$2.err" || { cat "$2.err" >&2; die "$1 cannot be rendered"; }
  rm "$2.err"
}

render_overlays() {
  local folder
  render "$here/overlays/dev" "$out/dev.yaml"
  render "$here/overlays/legacy" "$out/legacy.yaml"
  for folder in "$here"/overlays/prod/*/; do
    folder=$(basename "$folder")
    [ "$folder" = component ] || render "$here/overlays/prod/$folder" "$out/prod/$folder.yaml"
  done
}

combination() { # NAME COMPONENT... : the mesh with these components, as a user's overlay would combine them
  local name=$1 folder=$out/kustomizations/$1 up component
  shift
  mkdir -p "$folder"
  up=$(realpath --relative-to="$folder" "$here")
  {
    printf 'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: forebay\nresources:\n  - %s/base\n' "$up"
    printf 'configMapGenerator:\n  - name: forebay-settings\n    behavior: merge\n    literals: [FOREBAY__KAFKA__PARTITIONS=12, "FOREBAY__KAFKA__BROKERS=kafka.kafka:9092"]\n'
    [ $# -eq 0 ] || printf 'components:\n'
    for component in "$@"; do printf '  - %s/components/%s\n' "$up" "$component"; done
    # base expects Redis beside itself; the policies expect it in a namespace of its own
    printf 'patches:\n  - patch: |\n      {apiVersion: apps/v1, kind: Deployment, metadata: {name: forebay-caching}, spec: {template: {spec: {containers: [{name: service, env: [{name: FOREBAY__REDIS__URL, value: "redis://redis.redis:6379"}]}]}}}}\n'
  } > "$folder/kustomization.yaml"
}

render_combinations() {
  local scaler watched closed strimzi name parts
  for scaler in "" keda hpa; do
    for watched in "" monitoring; do
      for closed in "" network-policies; do
        for strimzi in "" strimzi/topics strimzi/users strimzi; do
          read -ra parts <<< "$scaler $watched $closed $strimzi"
          name=$(IFS=+; echo "${parts[*]//\//-}")
          combination "${name:-none}" "${parts[@]}"
        done
      done
    done
  done
  combination credentials api-keys http-tls
  combination answers-later network-policies async-results
  export -f render say die
  # shellcheck disable=SC2016
  find "$out/kustomizations" -mindepth 1 -maxdepth 1 -printf '%f\n' | xargs -P 4 -I{} bash -c 'render "$1/kustomizations/$2" "$1/combinations/$2.yaml"' _ "$out" {}
}

manifests() {
  local python
  python=$(venv k8s-venv kubernetes-validate==1.37.0)/bin/python
  render_combinations
  timeout 120 "$python" "$here/checks" "$out"
}

policy() {
  local checkov files=() began=$SECONDS
  checkov=$(venv checkov-venv checkov==3.3.30)/bin/checkov
  # a pod that breaks rules on purpose: the linter must see it
  printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: planted}\nspec: {hostNetwork: true, containers: [{name: x, image: x, securityContext: {privileged: true}}]}\n' > "$out/planted.yaml"
  for file in "$out"/dev.yaml "$out"/legacy.yaml "$out"/prod/*.yaml "$out/planted.yaml"; do files+=(-f "$file"); done
  timeout 120 "$checkov" --config-file "$here/checkov.yaml" --output json "${files[@]}" > "$out/checkov.json" 2> "$out/checkov.err" || true
  python3 - "$out/checkov.json" <<'PYTHON' || { tail -n 5 "$out/checkov.err" >&2; return 1; }
import json, sys

report = json.load(open(sys.argv[1], encoding="utf-8"))
results, summary = report["results"], report["summary"]
failed = [(check["check_id"], check["check_name"], check["resource"], check["file_path"]) for check in results["failed_checks"]]
planted = {check for check, _, _, path in failed if path.endswith("planted.yaml")}
ours = [line for line in failed if not line[3].endswith("planted.yaml")]
for line in ours:
    print("wrong: {} {}: {} in {}".format(*line), file=sys.stderr)
blind = {"CKV_K8S_16", "CKV_K8S_19"} - planted
print(f"checkov: {summary['passed']} checks hold, {len(ours)} do not, {summary['skipped']} skipped; {len(planted)} of the planted mistakes found")
sys.exit(bool(ours or blind))
PYTHON
  say "checkov took $((SECONDS - began)) s"
}

azure() { timeout 60 bash "$here/azure/test.sh"; }

monitoring() {
  local python
  [ -d "$here/../compose/monitoring/rules" ] || { say "monitoring: there is no compose/monitoring/rules, nothing to wrap"; return 0; }
  python=$(venv k8s-venv kubernetes-validate==1.37.0)/bin/python
  timeout 60 bash "$here/monitoring.sh" print > "$out/monitoring.yaml"
  (cd "$here/checks" && timeout 60 "$python" -c '
import sys, rendering, schemas
docs = rendering.load(sys.argv[1])
wrong = [problem for doc in docs for problem in schemas.problems(doc)]
print("\n".join(wrong) or f"monitoring: {len(docs)} objects valid")
sys.exit(bool(wrong))' "$out/monitoring.yaml")
}

command -v kubectl >/dev/null || die "please install kubectl (1.28 or newer), it renders the manifests"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
render_overlays
parts=("$@")
[ $# -gt 0 ] || parts=(manifests policy azure monitoring)
for part in "${parts[@]}"; do
  case $part in manifests | policy | azure | monitoring) "$part" ;; *) die "there is no part $part" ;; esac
done
