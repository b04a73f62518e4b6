#!/usr/bin/env bash
# Runs the real-service tests: five binaries, a real Apache Kafka, Redis, RabbitMQ and MLflow, started here on ports of their own and
# stopped at the end whatever happens. `real.sh help` says how it is used.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
limit=${REAL_TIMEOUT:-2100}

usage() {
  cat <<'TEXT'
usage: loadtest/real.sh [TEST [FILTER]]

  real.sh                  all of them (about 12 minutes on two cores, after the build)
  real.sh rollout          loadtest/tests/real_rollout.rs alone
  real.sh mesh bad_input   of real_mesh.rs the tests whose name contains bad_input
  real.sh rabbitmq         the RabbitMQ door and its server's faults (about 90 s)
  real.sh sklearn          random models of scikit-learn and onnxruntime against the readers; needs no Kafka and no Redis

Environment
  CARGO_TARGET_DIR   where cargo builds (default target/)
  FOREBAY_BIN_DIR    use the binaries in this folder and build none
  REAL_TIMEOUT       seconds the tests may take in all (default 2100)
  REAL_PYTHON        a Python with loadtest/sklearn_requirements.txt (default: one is made in the user's cache folder)
  REAL_SEED          seed of the random models (default 1)
  REAL_KEEP          a folder that keeps the logs of services, Kafka, Redis, RabbitMQ and MLflow
  KAFKA_HEAP         as in compose/native.sh (default "-Xms256m -Xmx768m")
TEXT
}

say() { printf '%s\n' "$*" >&2; }
die() { say "real.sh: $*"; exit 1; }

case ${1:-} in help | -h | --help) usage; exit 0 ;; esac

tests=(--test 'real*')
filter=()
secure=yes # a second Kafka and Redis, with TLS and logins
mlflow=yes # the tests of the registry need one, a gigabyte of Python the first time, and a minute to fill it
if [ -n "${1:-}" ]; then
  name=real_${1#real_}
  [ -e "$here/tests/$name.rs" ] || die "there is no test $name; there are: $(cd "$here/tests" && echo real_*.rs)"
  tests=(--test "$name")
  [ "$name" = real_mlflow ] || mlflow=no
  case $name in real_eventhubs | real_security) ;; *) secure=no ;; esac
  [ -z "${2:-}" ] || filter=("$2")
fi

# shellcheck source=../compose/ports.sh
. "$here/../compose/ports.sh"

model_python() { # a virtual environment for the random models, kept between runs
  local venv=${XDG_CACHE_HOME:-$HOME/.cache}/forebay/sklearn
  local wanted=$here/sklearn_requirements.txt
  if ! cmp -s "$wanted" "$venv/installed.txt"; then
    say "installing scikit-learn and onnxruntime into $venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet -r "$wanted"
    # the boosters' own exports are cases as well where they can be had
    "$venv/bin/pip" install --quiet lightgbm xgboost-cpu onnxmltools || say "no LightGBM or XGBoost, their exports are left out"
    cp "$wanted" "$venv/installed.txt"
  fi
  echo "$venv/bin/python"
}

if [ -z "${1:-}" ] || [ "${1#real_}" = sklearn ]; then
  REAL_PYTHON=${REAL_PYTHON:-$(model_python)}
  export REAL_PYTHON
fi
if [ "${1:-}" != "" ] && [ "${1#real_}" = sklearn ]; then
  cd "$root"
  exec cargo test --workspace --features forebay-loadtest/real-services --test real_sklearn -- ${2:+"$2"}
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/forebay-real.XXXXXX")
export FOREBAY_NATIVE_DIR=$work/native
native=$root/compose/native.sh

# shellcheck disable=SC2317  # called by the trap
stop() {
  local code=$?
  trap - EXIT INT TERM
  "$native" resume redis >/dev/null 2>&1 || true
  "$native" resume rabbitmq >/dev/null 2>&1 || true
  FOREBAY_NATIVE_DIR=$work/native-auth timeout 60 "$native" down mlflow >/dev/null 2>&1 || say "real.sh: MLflow with authentication did not stop"
  FOREBAY_NATIVE_DIR=$work/native-secure timeout 90 "$native" down kafka redis >"$work/down-secure.log" 2>&1 || say "real.sh: Kafka or Redis with TLS did not stop"
  timeout 90 "$native" down kafka redis rabbitmq mlflow >"$work/down.log" 2>&1 || { say "real.sh: not everything stopped:"; cat "$work/down.log" >&2; }
  if [ -n "${REAL_KEEP:-}" ]; then
    mkdir -p "$REAL_KEEP"
    cp "$work"/native/*/log* "$REAL_KEEP/" 2>/dev/null || true
    cp "$work/native-secure/kafka/log" "$REAL_KEEP/kafka-secure.log" 2>/dev/null || true
    for log in "$work"/native/*/log; do cp "$log" "$REAL_KEEP/$(basename "$(dirname "$log")").log" 2>/dev/null || true; done
  fi
  rm -rf "$work"
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fill_mlflow() { # two servers: one that Python fills, one with authentication
  say "starting MLflow on $MLFLOW_PORT and $((MLFLOW_PORT + 1)), and filling it"
  export REAL_MLFLOW=127.0.0.1:$MLFLOW_PORT REAL_MLFLOW_FILLED=$work/mlflow.json REAL_MLFLOW_AUTH=127.0.0.1:$((MLFLOW_PORT + 1))
  export REAL_MLFLOW_PASSWORD=a-long-password-$RANDOM
  REAL_MLFLOW_AUTHORIZATION="Basic $(printf 'admin:%s' "$REAL_MLFLOW_PASSWORD" | base64 -w0)"
  export REAL_MLFLOW_AUTHORIZATION
  "$native" install mlflow &&
    timeout 180 "$native" up mlflow &&
    FOREBAY_NATIVE_DIR=$work/native-auth MLFLOW_PORT=$((MLFLOW_PORT + 1)) MLFLOW_PASSWORD=$REAL_MLFLOW_PASSWORD timeout 180 "$native" up mlflow &&
    MLFLOW_TRACKING_URI=http://$REAL_MLFLOW timeout 600 "$native" python "$here/mlflow/fill.py" "$REAL_MLFLOW_FILLED"
}

# Listeners as those of Event Hubs and of a cluster with users. The limits are those of Event Hubs as far as a broker has them:
# larger requests close the connection, sessions last 30 s; silent connections are cut much sooner than there.
start_secure() { # PORT : and six behind it
  local key
  key=$(head -c 32 /dev/urandom | base64 -w0)
  export REAL_SECURE_DIR=$work/native-secure REAL_SECURE_INSIDE=127.0.0.1:$1 REAL_SECURE_SASL=localhost:$(($1 + 2)) REAL_SECURE_MTLS=localhost:$(($1 + 3))
  export REAL_SECURE_REDIS=127.0.0.1:$(($1 + 4)) REAL_SECURE_REDIS_TLS=localhost:$(($1 + 5)) REAL_TLS=$work/native-secure/tls
  export REAL_EVENTHUB="Endpoint=sb://localhost:$(($1 + 2))/;SharedAccessKeyName=forebay;SharedAccessKey=$key"
  FOREBAY_NATIVE_DIR=$REAL_SECURE_DIR KAFKA_PORT=$1 KAFKA_CONTROLLER_PORT=$(($1 + 1)) KAFKA_TLS_PORT=$(($1 + 2)) KAFKA_MTLS_PORT=$(($1 + 3)) \
    REDIS_PORT=$(($1 + 4)) REDIS_TLS_PORT=$(($1 + 5)) KAFKA_PLAIN_USERS="\$ConnectionString=$REAL_EVENTHUB" KAFKA_EXTRA='socket.request.max.bytes=1046528
message.max.bytes=1000000
group.min.session.timeout.ms=30000
connections.max.idle.ms=5000
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS' timeout 180 "$native" up kafka redis
}

cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
if [ -z "${FOREBAY_BIN_DIR:-}" ]; then
  cargo build --workspace --bins --tests
  export FOREBAY_BIN_DIR=$target/debug
fi
cargo test --workspace --features forebay-loadtest/real-services "${tests[@]}" --no-run

base=$(free_ports 9)
export KAFKA_PORT=$base KAFKA_CONTROLLER_PORT=$((base + 1)) REDIS_PORT=$((base + 2)) MLFLOW_PORT=$((base + 3))
# the tests of RabbitMQ start it themselves, with certificates of their own: a listener, one with TLS, and a port mapper
export RABBITMQ_PORT=$((base + 5)) REAL_RABBITMQ_TLS=$((base + 6))
export KAFKA_HEAP=${KAFKA_HEAP:--Xms256m -Xmx768m}
say "starting Kafka on $KAFKA_PORT and Redis on $REDIS_PORT"
timeout 180 "$native" up kafka redis >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; die "Kafka or Redis did not start"; }

[ "$mlflow" = no ] || fill_mlflow >"$work/mlflow.log" 2>&1 || { cat "$work/mlflow.log" >&2; die "MLflow did not start"; }

if [ "$secure" = yes ]; then
  start_secure "$(free_ports 6)" >"$work/up-secure.log" 2>&1 || { cat "$work/up-secure.log" >&2; die "Kafka or Redis with TLS did not start"; }
fi

export REAL_NATIVE=$native REAL_KAFKA=127.0.0.1:$KAFKA_PORT REAL_REDIS=127.0.0.1:$REDIS_PORT
[ -z "${REAL_KEEP:-}" ] || { mkdir -p "$REAL_KEEP"; REAL_KEEP=$(cd "$REAL_KEEP" && pwd); export REAL_KEEP; }
began=$SECONDS
code=0
timeout --kill-after=10 "$limit" \
  cargo test --workspace --features forebay-loadtest/real-services "${tests[@]}" --no-fail-fast -- --test-threads=1 "${filter[@]}" || code=$?
if [ -z "${1:-}" ] && [ "$code" != 124 ]; then
  # single stages over a real Kafka and a Redis of their own: what `cargo test --workspace` leaves out as ignored
  FOREBAY_TEST_KAFKA=$REAL_KAFKA timeout --kill-after=10 300 \
    cargo test --workspace --features forebay-loadtest/real-services --tests --no-fail-fast -- --ignored --test-threads=1 || code=$?
fi
[ "$code" != 124 ] || say "real.sh: the tests took longer than $limit s"
say "tests took $((SECONDS - began)) s"
exit "$code"
