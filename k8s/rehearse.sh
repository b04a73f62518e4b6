#!/usr/bin/env bash
# Rehearses on this machine what a cluster would do with these manifests: real binaries, a real Kafka and Redis on ports of
# their own, no Kubernetes. `k8s/rehearse.sh help` says how.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
native=$root/compose/native.sh
cache=${FOREBAY_CACHE:-$HOME/.cache/forebay}
old=${BIN_OLD:-${FOREBAY_BIN_DIR:-${CARGO_TARGET_DIR:-$root/target}/debug}}
new=${BIN_NEW:-$old}
rate=${REHEARSE_RATE:-150}
stages=(ingestion preprocessing caching prediction publishing)
export PYTHONDONTWRITEBYTECODE=1

usage() {
  cat <<'TEXT'
usage: k8s/rehearse.sh [settings] [rollout] [acls]     (all three without a word; about 5 minutes)

  settings  every binary accepts the environment that each overlay gives it (`config check`)
  rollout   under load, with a new build beside the old one: a canary of prediction comes and is taken back; then every
            service is rolled out, one pod more and one pod less as `maxSurge: 1` does it; then prediction is rolled back.
            Each process that is stopped must end with 0, and every request must have exactly one answer
  acls      the five services, each as its own user, against a Kafka that enforces components/strimzi/users: requests are
            answered, and caching's user cannot write to the clients' result topic

Build first: cargo build --workspace

Environment
  BIN_OLD        folder with the binaries that run (default: ${CARGO_TARGET_DIR:-target}/debug)
  BIN_NEW        folder with those that are rolled out (default: BIN_OLD, which rehearses a change of settings)
  REHEARSE_RATE  requests a second (default 150)
  REHEARSE_KEEP  a folder that keeps the logs
TEXT
}

say() { printf '%s\n' "$*" >&2; }
die() { say "rehearse.sh: $*"; exit 1; }
case ${1:-} in help | -h | --help) usage; exit 0 ;; esac

work=$(mktemp -d "${TMPDIR:-/tmp}/forebay-rehearse.XXXXXX")
export FOREBAY_NATIVE_DIR=$work/native KAFKA_HEAP=${KAFKA_HEAP:--Xms256m -Xmx512m}
declare -A pid=() admin=() # by replica, like "prediction/new/0"
passed=0

stop() {
  local code=$? it
  trap - EXIT INT TERM
  { for it in "${pid[@]}" ${load:-}; do kill -KILL "$it" && wait "$it"; done; } 2>/dev/null || true
  timeout 90 "$native" down kafka redis >"$work/down.log" 2>&1 || cat "$work/down.log" >&2
  if [ -n "${REHEARSE_KEEP:-}" ]; then
    mkdir -p "$REHEARSE_KEEP"
    cp -r "$work"/*.log "$REHEARSE_KEEP/" || true
  fi
  rm -rf "$work"
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ok() { passed=$((passed + 1)); say "ok: $*"; }

# --- processes ---------------------------------------------------------------------------------------------------------

# shellcheck source=../compose/ports.sh
. "$root/compose/ports.sh"

next_port=$((21000 + RANDOM % 8000))
free_port() { # sets `port`
  while taken "$next_port"; do next_port=$((next_port + 1)); done
  port=$next_port
  next_port=$((next_port + 1))
}

start() { # REPLICA [NAME=VALUE...] : like prediction/new/0; what `env` adds is its own
  local replica=$1 stage=${1%%/*} build folder
  shift
  build=${replica#*/} build=${build%%/*}
  folder=$old
  [ "$build" = old ] || folder=$new
  free_port
  admin[$replica]=$port
  free_port
  env "FOREBAY__ADMIN__LISTEN=127.0.0.1:${admin[$replica]}" "FOREBAY__HTTP__LISTEN=127.0.0.1:$port" "$@" \
    "$folder/forebay-$stage" >"$work/${replica//\//-}.log" 2>&1 </dev/null &
  pid[$replica]=$!
}

ready() { # REPLICA...
  local replica deadline=$((SECONDS + 120))
  for replica in "$@"; do
    until curl -fsS -m 2 -o "$work/health" "http://127.0.0.1:${admin[$replica]}/health/ready" 2>/dev/null; do
      kill -0 "${pid[$replica]}" 2>/dev/null || { tail -n 20 "$work/${replica//\//-}.log" >&2; die "$replica ended"; }
      [ "$SECONDS" -lt "$deadline" ] || { curl -sS -m 2 "http://127.0.0.1:${admin[$replica]}/health/ready" >&2 || true; die "$replica is not ready after 120 s"; }
      sleep 0.2
    done
  done
}

leave() { # REPLICA... : SIGTERM, and each must end with 0 within the grace period
  local replica code began=$SECONDS
  for replica in "$@"; do
    kill -TERM "${pid[$replica]}"
    while kill -0 "${pid[$replica]}" 2>/dev/null && [ $((SECONDS - began)) -le 45 ]; do sleep 0.1; done
    kill -0 "${pid[$replica]}" 2>/dev/null && die "$replica runs on 45 s after SIGTERM, the kubelet would have killed it"
    code=0
    wait "${pid[$replica]}" || code=$?
    unset "pid[$replica]"
    [ "$code" = 0 ] || { tail -n 20 "$work/${replica//\//-}.log" >&2; die "$replica ended with $code"; }
  done
}

received() { # REPLICA : items it has taken in
  curl -fsS -m 5 "http://127.0.0.1:${admin[$1]}/metrics" | awk '/^forebay_stage_received_total/ { sum += $2 } END { print sum + 0 }'
}

works() { # REPLICA : it must take part
  local deadline=$((SECONDS + 30))
  until [ "$(received "$1")" -gt 0 ]; do
    [ "$SECONDS" -lt "$deadline" ] || die "$1 got nothing to do in 30 s"
    sleep 0.3
  done
}

backing() { # SERVICE... : starts them on free ports
  free_port; export KAFKA_PORT=$port
  free_port; export KAFKA_CONTROLLER_PORT=$port
  free_port; export REDIS_PORT=$port
  timeout 180 "$native" up "$@" >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; die "$* did not start"; }
}

python() { # the one of k8s/check.sh, with yaml
  [ -x "$cache/k8s-venv/bin/python" ] || die "run k8s/check.sh manifests first, it makes the Python environment"
  "$cache/k8s-venv/bin/python" "$@"
}

# --- settings ----------------------------------------------------------------------------------------------------------

settings() {
  local overlay deployment binary variables count=0
  "$new/forebay" keys init "$work/made" --host forebay-ingestion >/dev/null || die "forebay keys init wrote no keys"
  for overlay in dev legacy prod/{ingestion,preprocessing,caching,prediction,publishing,prediction-canary}; do
    timeout 60 kubectl kustomize "$here/overlays/$overlay" >"$work/overlay.yaml"
    python "$here/checks/environment.py" "$work/overlay.yaml" "$work/secrets" "$work/made" >"$work/environments"
    while IFS=$'\t' read -r deployment binary variables; do
      readarray -t environment < <(tr '\t' '\n' <<<"$variables")
      env -i PATH="$PATH" "${environment[@]}" "$new/$binary" config check >"$work/config.log" 2>&1 ||
        { cat "$work/config.log" >&2; die "$overlay: $binary refuses the settings of $deployment"; }
      count=$((count + 1))
    done <"$work/environments"
  done
  ok "settings: $count Deployments of all overlays, accepted by their binaries"
}

# --- rollout -----------------------------------------------------------------------------------------------------------

rollout() {
  local stage load_seconds=${REHEARSE_SECONDS:-150} code=0 began
  backing kafka redis
  export FOREBAY__KAFKA__BROKERS=127.0.0.1:$KAFKA_PORT FOREBAY__KAFKA__SESSION_TIMEOUT=30s FOREBAY__LOG__FORMAT=json
  export FOREBAY__REDIS__URL=redis://127.0.0.1:$REDIS_PORT
  "$old/forebay" topics create >"$work/topics.log"
  for stage in "${stages[@]}"; do start "$stage/old/0"; start "$stage/old/1"; done
  ready "${!pid[@]}"
  "$old/forebay-loadtest" kafka --rate "$rate" --seconds "$load_seconds" --warmup 0 --repeat-ratio 0.3 --settle 5 --oracle "$work/oracle" >"$work/load.log" 2>&1 &
  load=$! began=$SECONDS
  works prediction/old/0
  works prediction/old/1

  say "a canary of prediction"
  start prediction/canary/0
  ready prediction/canary/0
  works prediction/canary/0
  leave prediction/canary/0
  ok "the canary got its share beside the old build and was taken back"

  for stage in "${stages[@]}"; do
    say "$stage: the new build, $((SECONDS - began)) s into the load"
    start "$stage/new/0"; ready "$stage/new/0"; leave "$stage/old/0"
    start "$stage/new/1"; ready "$stage/new/1"; leave "$stage/old/1"
    works "$stage/new/0"
  done
  ok "five services rolled out, each old replica ended with 0"

  say "prediction: back to the old build"
  start prediction/old/2; ready prediction/old/2; leave prediction/new/0
  start prediction/old/3; ready prediction/old/3; leave prediction/new/1
  works prediction/old/2
  kill -0 "$load" 2>/dev/null || die "the load ended after $load_seconds s, before the rehearsal did: raise REHEARSE_SECONDS"
  ok "prediction rolled back beside the new builds of the others, $((SECONDS - began)) s into the load"

  wait "$load" || code=$?
  load=""
  [ "$code" = 0 ] || { tail -n 30 "$work/load.log" >&2; die "the load generator says $code"; }
  "$old/forebay-loadtest" judge --oracle "$work/oracle" --dead-letters forebay.dead-letters --max-errors 0 >"$work/judge.log" 2>&1 ||
    { cat "$work/judge.log" >&2; die "requests were lost, answered twice or answered with an error"; }
  cat "$work/judge.log" >&2
  ok "every request was answered once, and none with an error"
  leave "${!pid[@]}"
  timeout 90 "$native" down --wipe kafka redis >"$work/down.log" 2>&1
  unset FOREBAY__KAFKA__BROKERS FOREBAY__REDIS__URL
}

# --- rights ------------------------------------------------------------------------------------------------------------

login() { # USER : what a pod of that user has in its environment
  printf '%s\n' FOREBAY__KAFKA__OPTIONS__SECURITY_PROTOCOL=sasl_plaintext FOREBAY__KAFKA__OPTIONS__SASL_MECHANISM=PLAIN \
    "FOREBAY__KAFKA__OPTIONS__SASL_USERNAME=$1" "FOREBAY__KAFKA__OPTIONS__SASL_PASSWORD=$1-password"
}

acls() {
  local stage inner user code=0 plain=$work/users.yaml venv=$cache/acl-venv own
  [ "$("$venv/bin/pip" show kafka-python 2>/dev/null | sed -n 's/^Version: //p')" = 3.0.12 ] ||
    { rm -rf "$venv"; python3 -m venv "$venv" && timeout 200 "$venv/bin/pip" install -q kafka-python==3.0.12 PyYAML==6.0.3; }
  timeout 60 kubectl kustomize "$here/overlays/prod/kafka" >"$plain"
  free_port; inner=$port
  # Clients come in over SASL; the second listener is the administrator's, and the broker's own.
  local jaas="org.apache.kafka.common.security.plain.PlainLoginModule required"
  while read -r user; do jaas+=" user_$user=\"$user-password\""; done < <(sed -n '/^kind: KafkaUser/,/^spec/s/^  name: //p' "$plain")
  free_port; export KAFKA_PORT=$port
  free_port; export KAFKA_CONTROLLER_PORT=$port
  KAFKA_EXTRA="listeners=SASL_PLAINTEXT://127.0.0.1:$KAFKA_PORT,INSIDE://127.0.0.1:$inner,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT
advertised.listeners=SASL_PLAINTEXT://127.0.0.1:$KAFKA_PORT,INSIDE://127.0.0.1:$inner
listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INSIDE
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=$jaas;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:ANONYMOUS" timeout 180 "$native" up kafka >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; die "Kafka with rights did not start"; }
  FOREBAY__KAFKA__BROKERS=127.0.0.1:$inner "$old/forebay" topics create >"$work/topics.log"
  timeout 60 "$venv/bin/python" "$here/checks/acls.py" "$plain" "127.0.0.1:$inner" "127.0.0.1:$KAFKA_PORT" >&2
  export FOREBAY__KAFKA__BROKERS=127.0.0.1:$KAFKA_PORT FOREBAY__LOG__FORMAT=json
  for stage in "${stages[@]}"; do
    readarray -t own < <(login "forebay-$stage")
    # with every right that the default needs, and one more
    [ "$stage" != publishing ] || own+=(FOREBAY__RESULTS__TRANSACTIONS=true)
    start "$stage/old/0" "${own[@]}"
  done
  ready "${!pid[@]}"
  ok "each service is ready with the rights of its own user"
  local client=(--kafka-option security.protocol=sasl_plaintext --kafka-option sasl.mechanism=PLAIN --kafka-option sasl.username=inference-client --kafka-option sasl.password=inference-client-password --kafka-option group.id=inference-client-load)
  "$old/forebay-loadtest" kafka "${client[@]}" --rate 100 --seconds 10 --warmup 0 --repeat-ratio 0.5 --oracle "$work/acl-oracle" >"$work/acl-load.log" 2>&1 || code=$?
  [ "$code" = 0 ] || { tail -n 20 "$work/acl-load.log" >&2; die "with rights the load generator says $code"; }
  ok "requests of inference-client are answered"
  timeout 60 "$venv/bin/python" "$here/checks/acls.py" --refused "127.0.0.1:$KAFKA_PORT" forebay-caching inference-results >&2
  ok "caching's user cannot write to inference-results"
  # the broker logs which user it refused: this check reads only that record
  grep 'is Denied' "$FOREBAY_NATIVE_DIR/kafka/log" | sed -E 's/.*(Principal = .*)( from host).*( on resource = [^ ]+).*/\1\3/' | sort -u >"$work/denied.log" || true
  if [ "$(wc -l <"$work/denied.log")" != 1 ] || ! grep -q 'User:forebay-caching.*inference-results' "$work/denied.log"; then
    cat "$work/denied.log" >&2
    die "a service was refused a right that it needs"
  fi
  ok "the broker refused nothing else"
  leave "${!pid[@]}"
  timeout 90 "$native" down --wipe kafka >"$work/down.log" 2>&1
  unset FOREBAY__KAFKA__BROKERS
}

parts=("$@")
[ $# -gt 0 ] || parts=(settings rollout acls)
for binary in forebay forebay-loadtest "${stages[@]/#/forebay-}"; do
  [ -x "$old/$binary" ] || die "there is no $old/$binary; build first: cargo build --workspace"
  [ -x "$new/$binary" ] || die "there is no $new/$binary"
done
began=$SECONDS
for part in "${parts[@]}"; do
  case $part in settings | rollout | acls) "$part" ;; *) usage >&2; die "there is no part $part" ;; esac
done
say "took $((SECONDS - began)) s"
echo "$passed passed, 0 failed"
