#!/usr/bin/env bash
# Images for compose.yaml on a machine that has a Docker engine but reaches no image registry: the same programs from Debian's
# packages, Maven Central and PyPI, under the names that the compose file and the Dockerfile use. For proofs and for work
# behind a firewall, not for production. What exists already is left alone (`--force` makes it again).
#
#   compose/standins.sh [--force] [debian rust kafka redis rabbitmq prometheus jaeger mlflow]      default: all but jaeger and mlflow
#
# JAEGER_BIN  the program of Jaeger v2, for the image jaeger (go build ./cmd/jaeger in its source)
# CA_BUNDLE   certificates for pip, where a proxy opens TLS;  DEBIAN_MIRROR  where debootstrap fetches (default: what apt uses)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FOREBAY_CACHE:-$HOME/.cache/forebay}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
die() { printf 'standins.sh: %s\n' "$*" >&2; exit 1; }

image_of() { # SERVICE -> the name that compose.yaml gives it
  sed -n "/^  $1:/,/^$/s/^    image: //p" "$here/compose.yaml" | head -n 1
}

debian() {
  local mirror
  command -v debootstrap >/dev/null || die "please install debootstrap"
  # shellcheck disable=SC2016 # apt-get fills in the $(...)
  mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)}
  debootstrap --variant=minbase bookworm "$work/tree" "$mirror" >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; die "debootstrap failed"; }
  rm -rf "$work"/tree/var/cache/apt/archives/*.deb "$work"/tree/var/lib/apt/lists/*
  tar -C "$work/tree" -c . | docker import -c 'CMD ["bash"]' -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$1" >/dev/null
}

# The build image of the Dockerfile: Debian's compilers and this machine's Rust.
rust() {
  local sysroot
  sysroot=$(rustc --print sysroot)
  mkdir "$work/rust"
  tar -C "$sysroot" -c --exclude=share/doc --exclude=share/man . | (mkdir "$work/rust/toolchain" && tar -x -C "$work/rust/toolchain")
  cp "$here/standins/rust.Dockerfile" "$work/rust/Dockerfile"
  docker build -q -t "$1" "$work/rust" >/dev/null
}

packaged() { # IMAGE SERVICE [FILE...] : a Dockerfile of standins/ with what it copies
  local image=$1 service=$2
  shift 2
  mkdir "$work/$service"
  cp "$here/standins/$service"*.sh "$work/$service/" 2>/dev/null || true
  [ $# = 0 ] || cp -r "$@" "$work/$service/"
  docker build -q ${CA_BUNDLE:+--secret "id=ca,src=$CA_BUNDLE"} --build-arg "MLFLOW=${image##*:v}" \
    -f "$here/standins/$service.Dockerfile" -t "$image" "$work/$service" >/dev/null
}

make_one() { # SERVICE IMAGE
  case $1 in
    debian) debian "$2" ;;
    rust) rust "$2" ;;
    kafka)
      bash "$here/native.sh" install kafka
      mkdir "$work/jars" && cp "$(sed -n 's/^kafka_version=/'"${cache//\//\\/}"'\/kafka-/p' "$here/native.sh")"/*.jar "$work/jars/"
      packaged "$2" kafka "$work/jars"
      ;;
    jaeger)
      [ -x "${JAEGER_BIN:-}" ] || die "JAEGER_BIN must name the program of Jaeger v2"
      cp "$JAEGER_BIN" "$work/jaeger-bin" && mkdir "$work/bin" && mv "$work/jaeger-bin" "$work/bin/jaeger"
      packaged "$2" jaeger "$work/bin/jaeger"
      ;;
    redis | rabbitmq | prometheus | mlflow) packaged "$2" "$1" ;;
    *) die "no stand-in for $1" ;;
  esac
}

force=no
[ "${1:-}" != --force ] || { force=yes; shift; }
case ${1:-} in -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
[ $# -gt 0 ] || set -- debian rust kafka redis rabbitmq prometheus
docker info >/dev/null 2>&1 || die "no Docker engine answers (DOCKER_HOST is ${DOCKER_HOST:-not set})"
for service; do
  case $service in
    debian) image=debian:bookworm-slim ;;
    rust) image=$(sed -n 's/^ARG BUILD_IMAGE=//p' "$here/../Dockerfile") ;;
    *) image=$(image_of "$service") ;;
  esac
  [ -n "$image" ] || die "compose.yaml has no image for $service"
  if [ "$force" = no ] && docker image inspect "$image" >/dev/null 2>&1; then
    echo "$service: $image is there"
    continue
  fi
  begin=$SECONDS
  make_one "$service" "$image"
  echo "$service: $image made in $((SECONDS - begin)) s"
done
