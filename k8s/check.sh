#!/usr/bin/env bash
# Renders every base and overlay with `kubectl kustomize` (no cluster needed), validates each object strictly against the
# schemas of Kubernetes 1.37, and checks what no schema knows (invariants.py).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FOREBAY_CACHE:-$HOME/.cache/forebay}
venv=$cache/k8s-venv
schemas=1.37.0
say() { printf '%s\n' "$*" >&2; }

command -v kubectl >/dev/null || { say "k8s/check.sh: please install kubectl (1.28 or newer), it renders the manifests"; exit 1; }
if ! "$venv/bin/pip" show -q kubernetes-validate 2>/dev/null; then
  rm -rf "$venv"
  mkdir -p "$cache"
  python3 -m venv "$venv"
  timeout 300 "$venv/bin/pip" install -q "kubernetes-validate==$schemas"
fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
whole=() # renderings that hold the whole mesh
for kustomization in "$here"/base/kustomization.yaml "$here"/base/*/kustomization.yaml "$here"/overlays/*/kustomization.yaml; do
  folder=$(dirname "$kustomization")
  name=${folder#"$here"/}
  file=$out/${name//\//-}.yaml
  timeout 60 kubectl kustomize "$folder" > "$file"
  timeout 120 "$venv/bin/kubernetes-validate" --strict --quiet -k "$schemas" "$file" || { say "$name is not valid"; exit 1; }
  case $name in base | overlays/*) whole+=("$name" "$file") ;; esac
done
PYTHONDONTWRITEBYTECODE=1 timeout 60 "$venv/bin/python" "$here/check.py" "${whole[@]}"
