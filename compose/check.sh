#!/usr/bin/env bash
# Checks compose.yaml: docker compose accepts it, and the rendered form keeps the promises that its head makes. Needs no
# Docker engine. Where compose v2 is not installed, a Debian machine fetches its package and unpacks it into the cache.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FOREBAY_CACHE:-$HOME/.cache/forebay}
say() { printf '%s\n' "$*" >&2; }

# The current Debian release ships compose v1; the one after it has v2 as a single static program, which runs anywhere.
fetch_compose() {
  local release=trixie tool=$cache/docker-compose work mirror options
  [ -x "$tool" ] && { echo "$tool"; return; }
  command -v apt-get >/dev/null || { say "please install Docker Compose v2"; return 1; }
  # shellcheck disable=SC2016 # apt-get fills in the $(...)
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)
  [ -n "$mirror" ] || { say "no Debian package source is set up here; please install Docker Compose v2"; return 1; }
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/compose-part.XXXXXX")
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" > "$work/sources.list"
  options=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache")
  if (cd "$work" && timeout 120 apt-get -qq "${options[@]}" update && timeout 120 apt-get -qq "${options[@]}" download docker-compose \
    && dpkg-deb -x docker-compose_*.deb root && mv root/usr/libexec/docker/cli-plugins/docker-compose "$tool") >"$cache/compose.log" 2>&1; then
    rm -rf "$work"
    echo "$tool"
  else
    rm -rf "$work"
    tail -n 5 "$cache/compose.log" >&2
    say "cannot fetch Docker Compose v2, log: $cache/compose.log"
    return 1
  fi
}

if docker compose version >/dev/null 2>&1; then
  compose=(docker compose)
else
  tool=$(fetch_compose)
  compose=("$tool")
fi
timeout 60 "${compose[@]}" -f "$here/compose.yaml" config -q
timeout 60 "${compose[@]}" -f "$here/compose.yaml" config --format json | python3 -c '
import json, sys

services = json.load(sys.stdin)["services"]
wrong = []
for name, service in services.items():
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    if not {"cpus", "memory"} <= set(limits):
        wrong.append(f"{name}: no CPU or memory limit")
    if "healthcheck" not in service:
        wrong.append(f"{name}: no health check")
    if ":" not in service.get("image", "") or service["image"].endswith(":latest"):
        wrong.append(f"{name}: image is not pinned to a version")
    for port in service.get("ports", []):
        target = port.get("target")
        if port.get("host_ip") != "127.0.0.1":
            wrong.append(f"{name}: port {target} is not bound to loopback")
for line in wrong:
    print(f"compose.yaml: {line}", file=sys.stderr)
if wrong:
    sys.exit(1)
print(f"compose.yaml: {len(services)} services, accepted; limits, health checks, pinned images and loopback ports hold")
'
