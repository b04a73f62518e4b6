#!/usr/bin/env bash
# Runs the real-service tests: five binaries, a real Apache Kafka, Redis, RabbitMQ and MLflow, started here on free ports and stopped
# at the end whatever happens. `real.sh help` says how it is used.
#
# Most tests wait more than they compute, so several run side by side: each worker has a Kafka and a Redis of its own, which its
# tests may pause and kill, and takes the next test from a queue that holds the longest first.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
limit=${REAL_TIMEOUT:-2100}
apicurio=2.6.13.Final # the newest that runs on the Java that Kafka needs

usage() {
  cat <<'TEXT'
usage: loadtest/suites/real.sh [TEST [FILTER]]

  real.sh                  all of them (about 10 minutes on two cores, after the build)
  real.sh rollout          loadtest/tests/real_rollout.rs alone
  real.sh mesh bad_input   of real_mesh.rs the tests whose name contains bad_input
  real.sh rabbitmq         RabbitMQ as request source and reply sink, and its server's faults (about 90 s)
  real.sh install          fetch what the tests need beside the services, and run none
  real.sh faults           faults under load, judged: the rows of `forebay-loadtest faults` that hold reliably (about 5 minutes)
  real.sh attacks          hostile files, callers, records, messages and issuers beside normal traffic, under memory limits (about 5 minutes)
  real.sh strict           results in transactions: replicas paused, killed, and the broker killed (about 4 minutes)
  real.sh stages           parts of the mesh in one process, the rest apart, two replicas of each
  real.sh clients          official clients of other model servers against `forebay up` and the five binaries
  real.sh schemas          records of Confluent's own serializers, with Apicurio as the schema registry
  real.sh sklearn          random models of scikit-learn and onnxruntime against the readers; needs no Kafka and no Redis

Environment
  CARGO_TARGET_DIR   where cargo builds (default target/)
  FOREBAY_BIN_DIR    use the binaries in this folder and build none
  REAL_TIMEOUT       seconds the tests may take in all (default 2100)
  REAL_WORKERS       how many tests run side by side (default 2; one test alone always has one)
  REAL_PYTHON        a Python with loadtest/suites/sklearn_requirements.txt (default: one is made in the user's cache folder)
  REAL_CLIENTS_PYTHON  a Python with loadtest/suites/clients_requirements.txt (default: one is made there as well)
  REAL_OPENAPI_PYTHON  a Python with loadtest/suites/openapi_requirements.txt (default: one is made there as well)
  REAL_OPENAPI_NODE    a folder in which loadtest/suites/openapi/package.json is installed (default: one is made there)
  REAL_SCHEMAS_PYTHON  a Python with loadtest/suites/schemas_requirements.txt (default: one is made there as well)
  REAL_SEED          seed of the random models and of the faults (default 1)
  REAL_OUTAGE        seconds for which everything hangs in the test of liveness (default 25, with a bound of 10 s; 300 takes
                     the default bound)
  REAL_KEEP          a folder that keeps the logs of services, Kafka, Redis, RabbitMQ and MLflow
  KAFKA_HEAP         as in compose/native.sh (default "-Xms256m -Xmx768m")
TEXT
}

say() { printf '%s\n' "$*" >&2; }
die() { say "real.sh: $*"; exit 1; }

case ${1:-} in help | -h | --help) usage; exit 0 ;; esac

python_of() { # NAME WHAT : a virtual environment with NAME_requirements.txt, kept between runs; its Python
  local venv=${XDG_CACHE_HOME:-$HOME/.cache}/forebay/$1 wanted=$here/$1_requirements.txt
  if ! cmp -s "$wanted" "$venv/installed.txt"; then
    say "installing $2 into $venv"
    python3 -m venv "$venv" && "$venv/bin/pip" install --quiet -r "$wanted" || return 1
    if [ "$1" = sklearn ]; then # the boosters' own exports are cases as well where they can be had
      "$venv/bin/pip" install --quiet lightgbm xgboost-cpu onnxmltools || say "no LightGBM or XGBoost, their exports are left out"
    fi
    cp "$wanted" "$venv/installed.txt"
  fi
  echo "$venv/bin/python"
}

model_python() { python_of sklearn "scikit-learn and onnxruntime"; }
clients_python() { python_of clients "the clients of other model servers"; }
openapi_python() { python_of openapi "a generator of Python clients"; }
openapi_node() { # a folder with the generator of TypeScript types, the client that uses them, and the compiler
  local folder=${XDG_CACHE_HOME:-$HOME/.cache}/forebay/openapi-node wanted=$here/openapi/package.json
  if ! cmp -s "$wanted" "$folder/package.json"; then
    say "installing openapi-typescript into $folder"
    rm -rf "$folder" && mkdir -p "$folder/new" && cp "$wanted" "$folder/new" || return 1
    (cd "$folder/new" && timeout 300 npm install --silent --no-audit --no-fund >&2) || return 1
    mv "$folder/new/node_modules" "$folder/new/package.json" "$folder" || return 1
  fi
  echo "$folder"
}
schemas_python() { python_of schemas "Confluent's serializers"; }

schema_registry() { # the folder of Apicurio, which keeps its schemas in memory; fetched once
  local folder=${XDG_CACHE_HOME:-$HOME/.cache}/forebay/apicurio-$apicurio part
  if [ ! -d "$folder" ]; then
    say "fetching Apicurio $apicurio (142 MB) into $folder"
    mkdir -p "$(dirname "$folder")"
    part=$(mktemp -d "$folder-part.XXXXXX")
    if ! { timeout 600 mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy -DoutputDirectory="$part" \
      -Dartifact="io.apicurio:apicurio-registry-app:$apicurio:tar.gz:all" >&2 </dev/null &&
      tar -xzf "$part"/*.tar.gz -C "$part" && rm "$part"/*.tar.gz; }; then
      rm -rf "$part"
      return 1
    fi
    mv "$part" "$folder"
  fi
  echo "$folder"
}

if [ "${1:-}" = install ]; then
  model_python >/dev/null
  clients_python >/dev/null
  openapi_python >/dev/null
  openapi_node >/dev/null
  schemas_python >/dev/null
  schema_registry >/dev/null
  exit 0
fi

cd "$root"
features=(--workspace --features forebay-loadtest/real-services)
chosen=${1:+real_${1#real_}}
filter=()
[ -z "${2:-}" ] || filter=("$2")
if [ -n "$chosen" ]; then
  [ -e "loadtest/tests/$chosen.rs" ] || die "there is no test $chosen; there are: $(cd loadtest/tests && echo real_*.rs)"
  workers=1
else
  workers=${REAL_WORKERS:-2}
fi

# shellcheck source=../../compose/ports.sh
. "$here/../../compose/ports.sh"

# --- what is run, longest first ----------------------------------------------------------------------------------

# Measures times that must hold on an idle machine, so nothing runs beside it.
alone=(real_latency)
# Those that take minutes. What is missing here follows in the order of names: a new test needs no entry.
longest=(real_faults real_attacks real_strict real_liveness real_stages real_mesh real_rabbitmq real_window real_mlflow real_eventhubs+real_security single_stages real_start_order)

queue=() # tests joined by + share a server and so run one after the other
if [ -n "$chosen" ]; then
  alone=() queue=("$chosen")
else
  for name in "${longest[@]}" $(cd loadtest/tests && printf '%s\n' real_*.rs | sed 's/\.rs$//'); do
    case " ${alone[*]} ${queue[*]//+/ } " in *" ${name%%+*} "*) continue ;; esac
    [ "$name" = single_stages ] || [ -e "loadtest/tests/${name%%+*}.rs" ] || continue
    queue+=("$name")
  done
fi

# --- services ----------------------------------------------------------------------------------------------------

work=$(mktemp -d "${TMPDIR:-/tmp}/forebay-real.XXXXXX")
native=$root/compose/native.sh
mkdir "$work/claimed" "$work/running" "$work/out"

# shellcheck disable=SC2317  # called by the trap
stop() {
  local code=$? folder suffix log pid
  trap - EXIT INT TERM
  for pid in "${worker_pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  # `timeout` hands the signal on to the test that it runs
  for pid in "$work"/running/*; do [ ! -e "$pid" ] || kill "$(cat "$pid")" 2>/dev/null || true; done
  for folder in "$work"/native-*; do
    [ -d "$folder" ] || continue
    FOREBAY_NATIVE_DIR=$folder "$native" resume redis >/dev/null 2>&1 || true
    FOREBAY_NATIVE_DIR=$folder "$native" resume rabbitmq >/dev/null 2>&1 || true
    FOREBAY_NATIVE_DIR=$folder timeout 90 "$native" down kafka redis rabbitmq mlflow >"$folder.down.log" 2>&1 ||
      { say "real.sh: not everything of $(basename "$folder") stopped:"; cat "$folder.down.log" >&2; }
    suffix=${folder##*/native} suffix=${suffix#-1}
    if [ -n "${REAL_KEEP:-}" ]; then
      for log in "$folder"/*/log*; do
        [ ! -e "$log" ] || cp "$log" "$REAL_KEEP/$(basename "$(dirname "$log")")$suffix.$(basename "$log")" 2>/dev/null || true
      done
    fi
  done
  [ -z "${REAL_KEEP:-}" ] || cp "$work"/out/* "$REAL_KEEP/" 2>/dev/null || true
  rm -rf "$work"
  exit "$code"
}
worker_pids=()
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start_mlflow() { # two servers: one that Python fills, one with authentication
  say "starting MLflow on $MLFLOW_PORT and $((MLFLOW_PORT + 1)), and filling it"
  export REAL_MLFLOW=127.0.0.1:$MLFLOW_PORT REAL_MLFLOW_FILLED=$FOREBAY_NATIVE_DIR/filled.json REAL_MLFLOW_AUTH=127.0.0.1:$((MLFLOW_PORT + 1))
  export REAL_MLFLOW_PASSWORD=a-long-password-$RANDOM
  REAL_MLFLOW_AUTHORIZATION="Basic $(printf 'admin:%s' "$REAL_MLFLOW_PASSWORD" | base64 -w0)"
  export REAL_MLFLOW_AUTHORIZATION
  "$native" install mlflow &&
    timeout 240 "$native" up mlflow &&
    FOREBAY_NATIVE_DIR=$FOREBAY_NATIVE_DIR-auth MLFLOW_PORT=$((MLFLOW_PORT + 1)) MLFLOW_PASSWORD=$REAL_MLFLOW_PASSWORD timeout 240 "$native" up mlflow &&
    MLFLOW_TRACKING_URI=http://$REAL_MLFLOW timeout 600 "$native" python "$here/mlflow_fill.py" "$REAL_MLFLOW_FILLED"
}

# Listeners as those of Event Hubs and of a cluster with users. The limits are those of Event Hubs as far as a broker has them:
# larger requests close the connection, sessions last 30 s; silent connections are cut much sooner than there.
start_secure() { # on SECURE_PORT and the six behind it
  local key port=$SECURE_PORT
  key=$(head -c 32 /dev/urandom | base64 -w0)
  export REAL_SECURE_DIR=$work/native-secure REAL_SECURE_INSIDE=127.0.0.1:$port REAL_SECURE_SASL=localhost:$((port + 2)) REAL_SECURE_MTLS=localhost:$((port + 3))
  export REAL_SECURE_REDIS=127.0.0.1:$((port + 4)) REAL_SECURE_REDIS_TLS=localhost:$((port + 5)) REAL_TLS=$work/native-secure/tls
  export REAL_EVENTHUB="Endpoint=sb://localhost:$((port + 2))/;SharedAccessKeyName=forebay;SharedAccessKey=$key"
  FOREBAY_NATIVE_DIR=$REAL_SECURE_DIR KAFKA_PORT=$port KAFKA_CONTROLLER_PORT=$((port + 1)) KAFKA_TLS_PORT=$((port + 2)) KAFKA_MTLS_PORT=$((port + 3)) \
    REDIS_PORT=$((port + 4)) REDIS_TLS_PORT=$((port + 5)) KAFKA_PLAIN_USERS="\$ConnectionString=$REAL_EVENTHUB" KAFKA_EXTRA='socket.request.max.bytes=1046528
message.max.bytes=1000000
group.min.session.timeout.ms=30000
connections.max.idle.ms=5000
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS' timeout 240 "$native" up kafka redis
}

start_kafka_and_redis() { # WORKER PORT : and eight behind it; exports what the tests of this worker read
  export FOREBAY_NATIVE_DIR=$work/native-$1 KAFKA_PORT=$2 KAFKA_CONTROLLER_PORT=$(($2 + 1)) REDIS_PORT=$(($2 + 2)) MLFLOW_PORT=$(($2 + 3))
  # the tests of RabbitMQ start it themselves, with certificates of their own: a listener, one with TLS, and a port mapper
  export RABBITMQ_PORT=$(($2 + 5)) REAL_RABBITMQ_TLS=$(($2 + 6))
  export REAL_NATIVE=$native REAL_KAFKA=127.0.0.1:$KAFKA_PORT REAL_REDIS=127.0.0.1:$REDIS_PORT
  timeout 240 "$native" up kafka redis
}

# --- one test, and a worker that runs one after the other ---------------------------------------------------------

prepare() { # TEST : starts what it needs beside Kafka and Redis
  case $1 in
    real_mlflow | real_liveness) [ -n "${REAL_MLFLOW:-}" ] || start_mlflow ;;
    real_eventhubs | real_security) [ -n "${REAL_SECURE_DIR:-}" ] || start_secure ;;
    real_sklearn)
      REAL_PYTHON=${REAL_PYTHON:-$(model_python)} || return 1
      export REAL_PYTHON
      ;;
    real_clients)
      "$native" install mlflow || return 1
      REAL_CLIENTS_PYTHON=${REAL_CLIENTS_PYTHON:-$(clients_python)} || return 1
      REAL_OPENAPI_PYTHON=${REAL_OPENAPI_PYTHON:-$(openapi_python)} || return 1
      REAL_OPENAPI_NODE=${REAL_OPENAPI_NODE:-$(openapi_node)} || return 1
      export REAL_CLIENTS_PYTHON REAL_OPENAPI_PYTHON REAL_OPENAPI_NODE
      ;;
    real_schemas)
      REAL_SCHEMAS_PYTHON=${REAL_SCHEMAS_PYTHON:-$(schemas_python)} && REAL_APICURIO=$(schema_registry) || return 1
      export REAL_SCHEMAS_PYTHON REAL_APICURIO
      ;;
  esac
}

run_test() { # WORKER TEST : its output goes to a file and is shown whole at its end; returns its exit code
  local worker=$1 name=$2 out=$work/out/$2.log code=0 begin=$SECONDS left command folder=loadtest
  left=$((deadline > SECONDS ? deadline - SECONDS : 1))
  if [ "$name" = single_stages ]; then
    # single stages over a real Kafka and a Redis of their own: what `cargo test --workspace` leaves out as ignored
    export FOREBAY_TEST_KAFKA=$REAL_KAFKA
    command=(cargo test "${features[@]}" --tests --no-fail-fast -- --ignored --test-threads=1) folder=.
    [ "$left" -lt 300 ] || left=300
  else
    command=("${executable[$name]}" --test-threads=1 "${filter[@]}")
  fi
  if prepare "$name" >"$work/out/$name.prepare.log" 2>&1; then
    (cd "$folder" && exec timeout --kill-after=10 "$left" "${command[@]}") >"$out" 2>&1 </dev/null &
    echo $! >"$work/running/$worker"
    wait $! || code=$?
    rm -f "$work/running/$worker"
  else
    cp "$work/out/$name.prepare.log" "$out"
    echo "real.sh: what $name needs did not start" >>"$out"
    code=1
  fi
  {
    flock 9
    printf '\n--- %s: exit code %s after %s s\n' "$name" "$code" "$((SECONDS - begin))"
    cat "$out"
    [ "$code" != 124 ] || printf 'real.sh: %s was stopped, its time was up\n' "$name"
  } 9>"$work/out.lock"
  return "$code"
}

work_off() { # WORKER : takes tests until none is left; returns 1 if any failed
  local worker=$1 failed=0 item name
  for item in "${queue[@]}"; do
    mkdir "$work/claimed/$item" 2>/dev/null || continue
    for name in ${item//+/ }; do run_test "$worker" "$name" || failed=1; done
  done
  return "$failed"
}

# --- build, start, run -------------------------------------------------------------------------------------------

target=${CARGO_TARGET_DIR:-$root/target}
if [ -z "${FOREBAY_BIN_DIR:-}" ]; then
  cargo build --workspace --bins --tests
  export FOREBAY_BIN_DIR=$target/debug
fi
tests=(--test "${chosen:-real*}")
CARGO_TERM_COLOR=never cargo test "${features[@]}" "${tests[@]}" --no-run 2>&1 | tee "$work/build.log"
declare -A executable=()
while read -r name path; do
  executable[$name]=$(realpath "$path")
done < <(sed -nE 's|^ *Executable tests/(\w+)\.rs \((.+)\)$|\1 \2|p' "$work/build.log")
for item in "${alone[@]}" "${queue[@]}"; do
  for name in ${item//+/ }; do
    [ "$name" = single_stages ] || [ -x "${executable[$name]:-}" ] || die "cargo built no program of the test $name"
  done
done

[ -z "${REAL_KEEP:-}" ] || { mkdir -p "$REAL_KEEP"; REAL_KEEP=$(cd "$REAL_KEEP" && pwd); export REAL_KEEP; }
export KAFKA_HEAP=${KAFKA_HEAP:--Xms256m -Xmx768m}
base=$(free_ports $((workers * 9 + 7)))
SECURE_PORT=$((base + workers * 9))
began=$SECONDS
deadline=$((SECONDS + limit))

worker() { # WORKER
  local worker=$1 failed=0 broken=0 name port=$((base + ($1 - 1) * 9))
  if [ "$chosen" = real_sklearn ]; then
    : # needs no service
  elif ! start_kafka_and_redis "$worker" "$port" >"$work/out/up-$worker.log" 2>&1; then
    cat "$work/out/up-$worker.log" >&2
    say "real.sh: Kafka or Redis of worker $worker did not start"
    broken=1
  fi
  touch "$work/started-$worker"
  if [ "$worker" = 1 ]; then
    until [ "$(find "$work" -maxdepth 1 -name 'started-*' | wc -l)" = "$workers" ]; do sleep 0.2; done
    for name in "${alone[@]}"; do [ "$broken" = 1 ] || run_test 1 "$name" || failed=1; done
    touch "$work/alone-done"
  else
    until [ -e "$work/alone-done" ]; do sleep 0.2; done
  fi
  [ "$broken" = 0 ] || return 1
  work_off "$worker" || failed=1
  return "$failed"
}

say "starting Kafka and Redis for $workers worker(s), on ports from $base"
code=0
for ((number = 1; number <= workers; number++)); do
  worker "$number" &
  worker_pids+=($!)
done
for pid in "${worker_pids[@]}"; do wait "$pid" || code=1; done
worker_pids=()
# a worker that could not start leaves its share to the others; what no worker took was not tested
for item in "${queue[@]}"; do [ -d "$work/claimed/$item" ] || { say "real.sh: $item was not run"; code=1; }; done
[ "$SECONDS" -lt "$deadline" ] || say "real.sh: the tests took longer than $limit s"
say "tests took $((SECONDS - began)) s"
exit "$code"
