#!/usr/bin/env bash
# Tries native.sh for real, beside whatever else runs here: own folder, own ports, everything stopped at the end.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
FOREBAY_NATIVE_DIR=$(mktemp -d)
base=$((20000 + RANDOM % 8000)) # below the ephemeral ports; RabbitMQ takes base + 20, 22 and 23
export FOREBAY_NATIVE_DIR KAFKA_PORT=$base REDIS_PORT=$((base + 10)) RABBITMQ_PORT=$((base + 20))
export KAFKA_TLS_PORT=$((base + 2)) KAFKA_MTLS_PORT=$((base + 3)) REDIS_TLS_PORT=$((base + 11)) KAFKA_PLAIN_USERS="\$ConnectionString=a=b;c"
native() { bash "$here/native.sh" "$@"; }
trap 'native down --wipe >/dev/null 2>&1; rm -rf "$FOREBAY_NATIVE_DIR"' EXIT

passed=0
fail() { echo "FAILED: $*" >&2; exit 1; }
ok() { passed=$((passed + 1)); echo "ok: $*"; }
quiet() { "$@" >"$FOREBAY_NATIVE_DIR/out" 2>&1; }
says() { grep -qF -- "$1" "$FOREBAY_NATIVE_DIR/out" || { cat "$FOREBAY_NATIVE_DIR/out" >&2; fail "expected to read: $1"; }; }
redis() { timeout 3 redis-cli -p "$REDIS_PORT" "$@"; }

quiet native up || { cat "$FOREBAY_NATIVE_DIR/out" >&2; fail "up"; }
says "export FOREBAY__KAFKA__BROKERS=127.0.0.1:$KAFKA_PORT"
says "export FOREBAY__REDIS__URL=redis://127.0.0.1:$REDIS_PORT"
quiet native status kafka redis rabbitmq || fail "status after up"
ok "three services up and healthy, exports printed"

trusts() { # PORT AUTHORITY [MORE...] : whether a TLS connection to it stands
  local port=$1 authority=$2
  shift 2
  timeout 10 openssl s_client -connect "localhost:$port" -verify_return_error -CAfile "$FOREBAY_NATIVE_DIR/tls/$authority.pem" "$@" </dev/null >"$FOREBAY_NATIVE_DIR/out" 2>&1
}
for port in "$KAFKA_TLS_PORT" "$REDIS_TLS_PORT"; do
  trusts "$port" ca || { cat "$FOREBAY_NATIVE_DIR/out" >&2; fail "no TLS on port $port"; }
  ! trusts "$port" other-ca || fail "port $port shows a certificate of another authority"
done
trusts "$KAFKA_MTLS_PORT" ca -cert "$FOREBAY_NATIVE_DIR/tls/client.pem" -key "$FOREBAY_NATIVE_DIR/tls/client-key.pem" || fail "no TLS with a client's certificate"
quiet native scram somebody secret || { cat "$FOREBAY_NATIVE_DIR/out" >&2; fail "scram"; }
! quiet native acls --list || fail "a Kafka without rights lists some"
says "No Authorizer is configured"
ok "listeners with TLS, and a user"

before=$(cat "$FOREBAY_NATIVE_DIR/redis/pid")
quiet native up redis
[ "$before" = "$(cat "$FOREBAY_NATIVE_DIR/redis/pid")" ] || fail "a second up started another Redis"
ok "up twice starts once"

quiet native topics --create --topic kept --partitions 3 || fail "topics --create"
quiet native kill kafka
! quiet native status kafka || fail "status says a killed Kafka runs"
(unset KAFKA_PORT; quiet native up kafka) || fail "up after kill"
quiet native topics --describe --topic kept || fail "topic lost by kill and up"
says "PartitionCount: 3"
ok "a killed Kafka comes back on its port with its data"

quiet native pause redis
! redis ping >/dev/null 2>&1 || fail "a paused Redis answers"
quiet native status redis
says paused
quiet native resume redis
[ "$(redis ping)" = PONG ] || fail "a resumed Redis does not answer"
ok "pause and resume"

! quiet env FOREBAY_NATIVE_DIR="$FOREBAY_NATIVE_DIR/other" bash "$here/native.sh" up redis || fail "started on a taken port"
says "port $REDIS_PORT is taken"
! quiet native up postgres || fail "accepted an unknown service"
says "unknown service postgres"
ok "a taken port and an unknown service are errors"

quiet native down
! quiet native status kafka redis rabbitmq || fail "status after down"
for port in "$KAFKA_PORT" "$REDIS_PORT" "$RABBITMQ_PORT"; do
  ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is still open after down"
done
ok "down stops all of it"

echo "$passed passed, 0 failed"
