#!/usr/bin/env bash
# Starts the backing services (Apache Kafka, Redis, RabbitMQ, MLflow) on this machine without Docker, for development and tests.
# Everything listens on loopback. `native.sh help` says how it is used.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=${FOREBAY_NATIVE_DIR:-$here/.native}
rabbitmq_bin=${RABBITMQ_BIN:-/usr/lib/rabbitmq/bin}
cache=${FOREBAY_CACHE:-$HOME/.cache/forebay}
kafka_version=4.1.1
jars=$cache/kafka-$kafka_version
mlflow_version=3.17.2
# the server, and what fills it: loadtest/suites/mlflow_fill.py, mlflow_models.py
mlflow_packages=("mlflow[auth]==$mlflow_version" scikit-learn==1.9.1 skops==0.16.0 onnx==1.23.2 onnxruntime==1.32.0 skl2onnx==1.20.0
  xgboost-cpu==3.2.0 lightgbm==4.7.0 catboost==1.2.10)
mlflow=$cache/mlflow-$mlflow_version-$(printf '%s\n' "${mlflow_packages[@]}" | cksum | cut -d' ' -f1)
wait_seconds=${FOREBAY_NATIVE_WAIT:-150}
all=(kafka redis rabbitmq)

usage() {
  cat <<'TEXT'
usage: compose/native.sh COMMAND [SERVICE...]     services: kafka redis rabbitmq (default: these three), mlflow

  install   fetch and install what the services need, start nothing
  up        start what is not running, wait until it answers, print addresses and exports
  down      stop what this script started (add --wipe to delete its data too)
  status    say what runs where; exit 1 if a named service does not run
  env       print the exports alone:  eval "$(compose/native.sh env)"
  restart   stop in order, start again on the same port with the same data
  kill      SIGKILL, data stays: what a crash looks like (Kafka then needs about 10 s more to start: its old session must end)
  pause     SIGSTOP: alive, but answers nothing;  resume ends it
  topics    Kafka's own topic tool, for example:  native.sh topics --list
  rabbitmqctl  RabbitMQ's own tool, for example:  native.sh rabbitmqctl close_all_connections "a test"
  configs   Kafka's own tool for settings and quotas, for example:  native.sh configs --describe --entity-type brokers
  acls      Kafka's own tool for rights, for example:  native.sh acls --list
  certificates  an authority and certificates for tests of TLS, in FOREBAY_NATIVE_DIR/tls
  scram     a user of Kafka's TLS listener, or a new password for it:  native.sh scram NAME PASSWORD
  python    the Python that MLflow and scikit-learn are in, for example:  native.sh python loadtest/suites/mlflow_fill.py out.json

Environment
  FOREBAY_NATIVE_DIR   data, logs and pid files (default compose/.native); one per instance, to run several side by side
  FOREBAY_CACHE        downloaded Kafka jars and MLflow's Python (1 GB) (default ~/.cache/forebay)
  KAFKA_PORT 9092 (controller: KAFKA_CONTROLLER_PORT, one above), REDIS_PORT 6379, RABBITMQ_PORT 5672, MLFLOW_PORT 5000
  MLFLOW_PASSWORD      basic authentication on MLflow: user admin with this password of 12 characters or more (default: none)
  KAFKA_HEAP           JVM options for memory (default "-Xms256m -Xmx1g")
  KAFKA_TLS_PORT       one more listener of Kafka, SASL_SSL with PLAIN and SCRAM-SHA-512, as localhost
  KAFKA_MTLS_PORT      and one with TLS that wants the client's certificate
  KAFKA_PLAIN_USERS    users of PLAIN, one `name=password` a line
  REDIS_TLS_PORT       one more port of Redis, with TLS; a client's certificate is checked if it shows one
  KAFKA_EXTRA          more broker properties, one `name=value` a line
  KAFKA_CLUSTER_ID     the cluster that a broker without data joins, 22 characters of base64 (default: one of its own)
  RABBITMQ_EXTRA       more lines of rabbitmq.conf, for example of a TLS listener
  RABBITMQ_BIN         folder of rabbitmq-server and rabbitmqctl, for another version (default /usr/lib/rabbitmq/bin)
  FOREBAY_NATIVE_WAIT  seconds to wait for a service to become healthy (default 150)
TEXT
}

say() { printf '%s\n' "$*" >&2; }
die() { say "native.sh: $*"; exit 1; }

# --- processes -------------------------------------------------------------------------------------------------

# When a process started, in clock ticks since boot: with the pid it names one process for good, as pids are reused.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

pid_of() { # SERVICE -> prints the pid if it is alive and is the one that was started here
  local pid started
  [ -r "$dir/$1/pid" ] || return 1
  read -r pid started < "$dir/$1/pid" || return 1
  [ -n "$pid" ] && [ "$(started_at "$pid")" = "$started" ] && [ "$(state_of "$pid")" != Z ] || return 1
  printf '%s\n' "$pid"
}

state_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1; }

signal() { # SIGNAL SERVICE : to its whole process group, as a start script may stand in front of the server
  local pid
  pid=$(pid_of "$2") || die "$2 is not running under $dir"
  kill "-$1" -- "-$pid"
}

await() { # SECONDS COMMAND... : until it succeeds
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

launch() { # SERVICE COMMAND... : in the background, in its own session, without our lock
  local service=$1 log=$dir/$1/log
  shift
  [ ! -e "$log" ] || mv "$log" "$log.previous"
  setsid "$@" >"$log" 2>&1 </dev/null 9>&- &
  printf '%s %s\n' "$!" "$(started_at "$!")" > "$dir/$service/pid"
}

gone() { ! pid_of "$1" >/dev/null; }

halt() { # SERVICE : SIGTERM, and SIGKILL when that is not heard in time
  local pid
  pid=$(pid_of "$1") || { rm -f "$dir/$1/pid"; return 0; }
  kill -CONT -- "-$pid"
  kill -TERM "$pid"
  if ! await 30 gone "$1"; then
    say "$1 did not stop in 30 s, killing it"
    kill -KILL -- "-$pid" 2>/dev/null || true
    await 10 gone "$1" || die "$1 (pid $pid) cannot be killed"
  fi
  rm -f "$dir/$1/pid"
}

# --- ports -----------------------------------------------------------------------------------------------------

configured_port() { case $1 in kafka) echo "${KAFKA_PORT:-}" ;; redis) echo "${REDIS_PORT:-}" ;; rabbitmq) echo "${RABBITMQ_PORT:-}" ;; mlflow) echo "${MLFLOW_PORT:-}" ;; esac; }
default_port() { case $1 in kafka) echo 9092 ;; redis) echo 6379 ;; rabbitmq) echo 5672 ;; mlflow) echo 5000 ;; esac; }

port_of() { # SERVICE : the port it runs on; else the configured one, the one it ran on last, or the default
  local configured recorded=""
  configured=$(configured_port "$1")
  [ ! -r "$dir/$1/port" ] || recorded=$(cat "$dir/$1/port")
  if pid_of "$1" >/dev/null; then echo "$recorded"; else echo "${configured:-${recorded:-$(default_port "$1")}}"; fi
}

open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

closed_port() { ! open_port "$1"; }

free_port() { # SERVICE PORT VARIABLE
  ! open_port "$2" || die "$1: port $2 is taken by a process that this script did not start in $dir; stop that one or set $3"
}

# --- what has to be installed ----------------------------------------------------------------------------------

need() { # COMMAND=PACKAGE... : installs the packages whose command is absent
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || [ -x "$rabbitmq_bin/${pair%%=*}" ] || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  local root=()
  if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then root=(sudo -n); else die "please install: sudo apt-get install ${missing[*]}"; fi
  fi
  command -v apt-get >/dev/null || die "please install ${missing[*]} (no apt-get here)"
  say "installing ${missing[*]}"
  # The packages would start services of their own on the very ports that are wanted here: a policy keeps them from it.
  local policy=/usr/sbin/policy-rc.d placed="" ok=0
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
    "${root[@]}" chmod 755 $policy
    placed=yes
  fi
  { timeout 300 "${root[@]}" apt-get update -q &&
    timeout 900 "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
  } >"$dir/apt.log" 2>&1 </dev/null 9>&- || ok=$?
  [ -z "$placed" ] || "${root[@]}" rm -f $policy
  [ "$ok" = 0 ] || { tail -n 20 "$dir/apt.log" >&2; die "cannot install ${missing[*]}, log: $dir/apt.log"; }
}

fetch_kafka() { # the jars, once per version; a half download never looks like a whole one
  [ ! -d "$jars" ] || return 0
  need java=openjdk-17-jre-headless mvn=maven
  mkdir -p "$cache"
  exec 8>"$cache/kafka.lock"
  flock -w 600 8 || die "another download holds $cache/kafka.lock"
  if [ ! -d "$jars" ]; then
    say "fetching Apache Kafka $kafka_version (54 MB) into $jars"
    local part
    part=$(mktemp -d "$cache/kafka-part.XXXXXX")
    if ! timeout 600 mvn -q -B -f "$here/native/kafka.pom.xml" -Dkafka.version=$kafka_version dependency:copy-dependencies \
      -DoutputDirectory="$part" >"$dir/maven.log" 2>&1 </dev/null 8>&- 9>&-; then
      rm -rf "$part"
      tail -n 20 "$dir/maven.log" >&2
      die "cannot fetch Apache Kafka, log: $dir/maven.log"
    fi
    mv "$part" "$jars"
  fi
  exec 8>&-
}

fetch_mlflow() { # a Python environment of its own, once per version
  [ ! -d "$mlflow" ] || return 0
  python3 -c 'import ensurepip, venv' 2>/dev/null || need no-such-command=python3-venv
  mkdir -p "$cache"
  exec 8>"$cache/mlflow.lock"
  flock -w 1200 8 || die "another download holds $cache/mlflow.lock"
  if [ ! -d "$mlflow" ]; then
    say "installing MLflow $mlflow_version and scikit-learn (1 GB) into $mlflow"
    rm -rf "$mlflow.new"
    if ! { python3 -m venv "$mlflow.new" && timeout 1200 "$mlflow.new/bin/python" -m pip install -q --disable-pip-version-check "${mlflow_packages[@]}"; } \
      >"$dir/pip.log" 2>&1 </dev/null 8>&- 9>&-; then
      rm -rf "$mlflow.new"
      tail -n 20 "$dir/pip.log" >&2
      die "cannot install MLflow, log: $dir/pip.log"
    fi
    mv "$mlflow.new" "$mlflow"
  fi
  exec 8>&-
}

# --- certificates ----------------------------------------------------------------------------------------------

authority() { # NAME
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=forebay $1" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout "$1-key.pem" -out "$1.pem"
}

signed() { # NAME EXTENSIONS : by the authority `ca`
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1-key.pem" -out "$1.csr" &&
    printf '%b' "basicConstraints=critical,CA:FALSE\n$2\n" > "$1.ext" &&
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 365 -extfile "$1.ext" -out "$1.pem" &&
    cat "$1-key.pem" "$1.pem" > "$1-both.pem" # Kafka wants key and certificate in one file
}

certificates() { # an authority, one that nothing trusts, a server's certificate for localhost and a client's
  [ ! -e "$dir/tls/ca.pem" ] || return 0
  need openssl=openssl
  rm -rf "$dir/tls.new"
  mkdir -p "$dir/tls.new"
  (cd "$dir/tls.new" && authority ca && authority other-ca && signed server 'subjectAltName=DNS:localhost,IP:127.0.0.1' &&
    signed client 'extendedKeyUsage=clientAuth') >"$dir/openssl.log" 2>&1 || { tail -n 20 "$dir/openssl.log" >&2; die "cannot make certificates"; }
  mv "$dir/tls.new" "$dir/tls"
}

# --- Kafka -----------------------------------------------------------------------------------------------------

kafka_properties() { # PORT CONTROLLER_PORT
  cat <<TEXT
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$2
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2
advertised.listeners=PLAINTEXT://127.0.0.1:$1
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/kafka/data
auto.create.topics.enable=false
delete.topic.enable=true
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
TEXT
  [ -z "${KAFKA_TLS_PORT:-}${KAFKA_MTLS_PORT:-}" ] || kafka_tls_properties "$@"
  printf '%s\n' "${KAFKA_EXTRA:-}"
}

kafka_tls_properties() { # PORT CONTROLLER_PORT : the last value of a property counts
  local more="" user jaas="org.apache.kafka.common.security"
  [ -z "${KAFKA_TLS_PORT:-}" ] || more+=",SASL_SSL://localhost:$KAFKA_TLS_PORT"
  [ -z "${KAFKA_MTLS_PORT:-}" ] || more+=",MTLS://localhost:$KAFKA_MTLS_PORT"
  cat <<TEXT
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2$more
advertised.listeners=PLAINTEXT://127.0.0.1:$1$more
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,MTLS:SSL
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/server-both.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
listener.name.mtls.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$jaas.scram.ScramLoginModule required;
TEXT
  printf '%s' "listener.name.sasl_ssl.plain.sasl.jaas.config=$jaas.plain.PlainLoginModule required"
  while IFS= read -r user; do
    [ -z "$user" ] || printf ' user_%s="%s"' "${user%%=*}" "${user#*=}"
  done <<<"${KAFKA_PLAIN_USERS:-}"
  printf ';\n'
}

start_kafka() { # PORT
  local port=$1 controller=${KAFKA_CONTROLLER_PORT:-$(($1 + 1))} home=$dir/kafka id
  free_port kafka "$port" KAFKA_PORT
  free_port "kafka (controller)" "$controller" KAFKA_CONTROLLER_PORT
  [ -z "${KAFKA_TLS_PORT:-}" ] || free_port "kafka (TLS)" "$KAFKA_TLS_PORT" KAFKA_TLS_PORT
  [ -z "${KAFKA_MTLS_PORT:-}" ] || free_port "kafka (TLS with client certificates)" "$KAFKA_MTLS_PORT" KAFKA_MTLS_PORT
  [ -z "${KAFKA_TLS_PORT:-}${KAFKA_MTLS_PORT:-}" ] || certificates
  kafka_properties "$port" "$controller" > "$home/server.properties"
  if [ ! -e "$home/data/meta.properties" ]; then
    id=${KAFKA_CLUSTER_ID:-F$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | cut -c1-20)w}
    java -Xmx256m -cp "$jars/*" kafka.tools.StorageTool format -t "$id" -c "$home/server.properties" >"$home/format.log" 2>&1 9>&- ||
      { tail -n 20 "$home/format.log" >&2; die "cannot format Kafka's storage, log: $home/format.log"; }
  fi
  # shellcheck disable=SC2086 # KAFKA_HEAP is several words on purpose
  launch kafka java ${KAFKA_HEAP:--Xms256m -Xmx1g} -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExitOnOutOfMemoryError \
    -Djava.awt.headless=true -Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
    -cp "$jars/*" kafka.Kafka "$home/server.properties"
}

healthy_kafka() { grep -q 'Kafka Server started' "$dir/kafka/log" 2>/dev/null && open_port "$1"; }

# --- Redis -----------------------------------------------------------------------------------------------------

start_redis() { # PORT
  local tls=()
  free_port redis "$1" REDIS_PORT
  if [ -n "${REDIS_TLS_PORT:-}" ]; then
    free_port "redis (TLS)" "$REDIS_TLS_PORT" REDIS_TLS_PORT
    certificates
    tls=(--tls-port "$REDIS_TLS_PORT" --tls-cert-file "$dir/tls/server.pem" --tls-key-file "$dir/tls/server-key.pem"
      --tls-ca-cert-file "$dir/tls/ca.pem" --tls-auth-clients optional)
  fi
  # A cache: bounded, least recently used goes first, nothing kept on disk.
  launch redis redis-server --bind 127.0.0.1 --port "$1" --dir "$dir/redis" --save "" --appendonly no \
    --maxmemory "${REDIS_MAXMEMORY:-256mb}" --maxmemory-policy allkeys-lru --daemonize no "${tls[@]}"
}

healthy_redis() { [ "$(timeout 2 redis-cli -h 127.0.0.1 -p "$1" ping 2>/dev/null)" = PONG ]; }

# --- RabbitMQ --------------------------------------------------------------------------------------------------

# An instance of its own: own node name, own cookie (HOME), own port mapper, so that several can run and `down` leaves
# nothing behind. The script under /usr/lib runs as the calling user; the one in PATH insists on the user rabbitmq.
rabbitmq_env() { # PORT : sets the array `rabbitmq_env`
  local home=$dir/rabbitmq loopback='-kernel inet_dist_use_interface {127,0,0,1}'
  rabbitmq_env=(
    HOME="$home" ERL_CRASH_DUMP="$home/erl_crash.dump" ERL_EPMD_PORT="$(($1 + 2))" ERL_EPMD_ADDRESS=127.0.0.1
    RABBITMQ_NODENAME="forebay-$1@localhost" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$1"
    RABBITMQ_DIST_PORT="$(($1 + 3))" RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home/logs"
    RABBITMQ_PID_FILE="$home/server.pid" RABBITMQ_CONFIG_FILE="$home/rabbitmq" RABBITMQ_CONF_ENV_FILE=/dev/null
    RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="$loopback"
  )
}

start_rabbitmq() { # PORT
  local home=$dir/rabbitmq
  free_port rabbitmq "$1" RABBITMQ_PORT
  free_port "rabbitmq (inter-node)" "$(($1 + 3))" RABBITMQ_PORT
  mkdir -p "$home/data" "$home/logs"
  printf 'log.console = true\nlog.console.level = info\nlog.file = false\nvm_memory_high_watermark.absolute = 512MB\ndisk_free_limit.absolute = 100MB\n%s\n' \
    "${RABBITMQ_EXTRA:-}" > "$home/rabbitmq.conf"
  printf '[].\n' > "$home/enabled_plugins"
  rabbitmq_env "$1"
  launch rabbitmq env "${rabbitmq_env[@]}" "$rabbitmq_bin"/rabbitmq-server
}

healthy_rabbitmq() { open_port "$1" && grep -q 'Server startup complete' "$dir/rabbitmq/log"; }

# --- MLflow ----------------------------------------------------------------------------------------------------

start_mlflow() { # PORT
  local home=$dir/mlflow auth=()
  free_port mlflow "$1" MLFLOW_PORT
  if [ -n "${MLFLOW_PASSWORD:-}" ]; then
    printf '[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///%s\nadmin_username = admin\nadmin_password = %s\n' \
      "$home/auth.db" "$MLFLOW_PASSWORD" > "$home/auth.ini"
    chmod 600 "$home/auth.ini"
    auth=(--app-name basic-auth)
  fi
  # webhooks to this machine, which a server on the network should not send
  [ -e "$home/webhook.key" ] || head -c 32 /dev/urandom | base64 | tr '+/' '-_' > "$home/webhook.key"
  local webhooks=(MLFLOW_WEBHOOK_ALLOWED_SCHEMES='http,https' MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true MLFLOW_WEBHOOK_CACHE_TTL=1
    MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY="$(cat "$home/webhook.key")")
  # by its module: the script's first line names the place where the environment was made
  launch mlflow env MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_AUTH_CONFIG_PATH="$home/auth.ini" DO_NOT_TRACK=true \
    MLFLOW_FLASK_SERVER_SECRET_KEY="native-$1" PYTHONWARNINGS=ignore GIT_PYTHON_REFRESH=quiet "${webhooks[@]}" \
    "$mlflow/bin/python" -m mlflow server --host 127.0.0.1 --port "$1" --workers 1 "${auth[@]}" \
    --backend-store-uri "sqlite:///$home/mlflow.db" --artifacts-destination "$home/artifacts"
}

healthy_mlflow() { [ "$(timeout 3 curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$1/health")" = 200 ]; }

# --- commands --------------------------------------------------------------------------------------------------

install() {
  local service
  for service in "$@"; do
    case $service in
      kafka) need java=openjdk-17-jre-headless; fetch_kafka ;;
      redis) need redis-server=redis-server redis-cli=redis-tools ;;
      rabbitmq) need rabbitmq-server=rabbitmq-server ;;
      mlflow) need python3=python3 curl=curl; fetch_mlflow ;;
    esac
  done
}

up_one() { # SERVICE
  local service=$1 port configured
  mkdir -p "$dir/$service"
  configured=$(configured_port "$service")
  port=$(port_of "$service")
  if pid_of "$service" >/dev/null; then
    [ -z "$configured" ] || [ "$configured" = "$port" ] ||
      die "$service already runs on port $port in $dir; stop it first, or give another FOREBAY_NATIVE_DIR"
  else
    rm -f "$dir/$service/pid"
    install "$service"
    "start_$service" "$port"
    echo "$port" > "$dir/$service/port"
  fi
}

answers_or_dead() { "healthy_$1" "$2" || gone "$1"; }

settle() { # SERVICE : until it answers; at once when its process has ended
  local port why
  port=$(port_of "$1")
  why="does not answer on port $port after $wait_seconds s"
  if await "$wait_seconds" answers_or_dead "$1" "$port"; then
    ! gone "$1" || why="ended while starting"
    if "healthy_$1" "$port" && ! gone "$1"; then return; fi
  fi
  tail -n 20 "$dir/$1/log" >&2 || true
  die "$1 $why, log: $dir/$1/log"
}

up() {
  local service
  for service in "$@"; do up_one "$service"; done # all start together, then all are waited for
  for service in "$@"; do settle "$service"; done
  status "$@"
  say ""
  exports "$@"
}

down() {
  local service port
  for service in "$@"; do
    port=$(port_of "$service")
    halt "$service"
    if [ "$service" = rabbitmq ] && [ -d "$dir/rabbitmq" ] && open_port "$((port + 2))"; then
      rabbitmq_env "$port"
      env "${rabbitmq_env[@]}" epmd -kill >/dev/null 2>&1 || true # its port mapper outlives it otherwise
    fi
    if [ "$wipe" = yes ] && [ -e "$dir/$service/port" ]; then rm -rf "${dir:?}/$service"; fi
    say "$service is down"
  done
}

restart() {
  local service port
  for service in "$@"; do
    port=$(port_of "$service")
    down "$service"
    case $service in kafka) KAFKA_PORT=$port ;; redis) REDIS_PORT=$port ;; rabbitmq) RABBITMQ_PORT=$port ;; mlflow) MLFLOW_PORT=$port ;; esac
    up_one "$service"
    settle "$service"
  done
  status "$@"
}

status() {
  local service pid port dead=0 word
  for service in "$@"; do
    port=$(port_of "$service")
    if pid=$(pid_of "$service"); then
      word=healthy
      if [ "$(state_of "$pid")" = T ]; then word=paused; elif ! "healthy_$service" "$port"; then word="not answering"; dead=1; fi
      printf '%-9s 127.0.0.1:%-6s pid %-7s %-14s log %s\n' "$service" "$port" "$pid" "$word" "$dir/$service/log"
    else
      dead=1
      printf '%-9s down\n' "$service"
    fi
  done >&2
  return $dead
}

exports() {
  local service port
  for service in "$@"; do
    pid_of "$service" >/dev/null || continue
    port=$(port_of "$service")
    case $service in
      kafka) echo "export FOREBAY__KAFKA__BROKERS=127.0.0.1:$port" ;;
      redis) echo "export FOREBAY__REDIS__URL=redis://127.0.0.1:$port" ;;
      rabbitmq) echo "export RABBITMQ_URL=amqp://guest:guest@127.0.0.1:$port/%2f" ;;
      mlflow)
        echo "export MLFLOW_TRACKING_URI=http://127.0.0.1:$port"
        [ -z "${MLFLOW_PASSWORD:-}" ] || echo "export MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=$MLFLOW_PASSWORD"
        ;;
    esac
  done
}

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in help | -h | --help) usage; exit 0 ;; esac

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

if [ "$command" = topics ]; then
  [ -d "$jars" ] || die "Kafka is not here yet: native.sh up kafka"
  exec java -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" org.apache.kafka.tools.TopicCommand \
    --bootstrap-server "127.0.0.1:$(port_of kafka)" "$@"
fi

if [ "$command" = rabbitmqctl ]; then
  [ -d "$dir/rabbitmq" ] || die "RabbitMQ is not here yet: native.sh up rabbitmq"
  rabbitmq_env "$(port_of rabbitmq)"
  exec env "${rabbitmq_env[@]}" "$rabbitmq_bin"/rabbitmqctl -q -n "forebay-$(port_of rabbitmq)@localhost" "$@"
fi

if [ "$command" = acls ]; then
  [ -d "$jars" ] || die "Kafka is not here yet: native.sh up kafka"
  exec java -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" org.apache.kafka.tools.AclCommand \
    --bootstrap-server "127.0.0.1:$(port_of kafka)" "$@"
fi

if [ "$command" = configs ]; then
  [ -d "$jars" ] || die "Kafka is not here yet: native.sh up kafka"
  exec java -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" kafka.admin.ConfigCommand \
    --bootstrap-server "127.0.0.1:$(port_of kafka)" "$@"
fi

if [ "$command" = certificates ]; then
  certificates
  echo "$dir/tls"
  exit 0
fi

if [ "$command" = scram ]; then
  [ -d "$jars" ] || die "Kafka is not here yet: native.sh up kafka"
  [ $# -eq 2 ] || die "scram NAME PASSWORD"
  exec java -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" kafka.admin.ConfigCommand \
    --bootstrap-server "127.0.0.1:$(port_of kafka)" --alter --entity-type users --entity-name "$1" \
    --add-config "SCRAM-SHA-512=[iterations=4096,password=$2]"
fi

if [ "$command" = python ]; then
  [ -d "$mlflow" ] || die "MLflow is not here yet: native.sh install mlflow"
  exec "$mlflow/bin/python" "$@"
fi

wipe=no
services=()
for word in "$@"; do
  case $word in
    kafka | redis | rabbitmq | mlflow) services+=("$word") ;;
    --wipe) [ "$command" = down ] || die "--wipe belongs to down"; wipe=yes ;;
    *) die "unknown service $word (there are: ${all[*]} mlflow)" ;;
  esac
done
named=${#services[@]}
[ "$named" -gt 0 ] || services=("${all[@]}")

exec 9>"$dir/lock"
case $command in
  install | up | down | restart | kill) flock -w 300 9 || die "another native.sh works in $dir" ;;
esac

case $command in
  install | up | down | restart) "$command" "${services[@]}" ;;
  status) status "${services[@]}" || [ "$named" -eq 0 ] ;;
  env) exports "${services[@]}" ;;
  kill | pause | resume)
    [ "$named" -gt 0 ] || die "$command which service? (${all[*]} mlflow)"
    for service in "${services[@]}"; do
      case $command in
        kill)
          port=$(port_of "$service")
          signal KILL "$service"
          await 10 closed_port "$port" || die "$service still holds port $port"
          ;;
        pause) signal STOP "$service" ;;
        resume) signal CONT "$service" ;;
      esac
    done
    ;;
  *) usage >&2; die "unknown command $command" ;;
esac
