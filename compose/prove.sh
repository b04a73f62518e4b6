#!/usr/bin/env bash
# Tests compose.yaml with a real Docker engine: up from nothing, a prediction over HTTP, Kafka and RabbitMQ, one
# trace through five services in Jaeger, Prometheus scraping all of them, `--scale prediction=3`, containers killed under load with
# nothing lost, models from MLflow, an orderly stop, down with nothing left. Runs beside a mesh that is up: project and ports are its own.
#
#   compose/prove.sh [--build]      about five minutes with the images there
#
# --build            builds the images of the Dockerfile first (ten minutes and more when nothing is cached)
# CA_BUNDLE          certificates for the build, where a proxy opens TLS
# PROVE_KEEP=FOLDER  keeps the logs of all containers
#
# A service whose image is neither here nor to be pulled is left out and named at the end: what it does is then not proven.
# Without a registry compose/standins.sh makes most of them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=forebay-prove
own=(ingestion preprocessing caching prediction publishing)
# shellcheck source=ports.sh
. "$here/ports.sh"
first=$(free_ports 12)
export HTTP_PORT=$first KAFKA_PORT=$((first + 1)) REDIS_PORT=$((first + 2)) RABBITMQ_PORT=$((first + 3))
export RABBITMQ_UI_PORT=$((first + 4)) JAEGER_PORT=$((first + 5)) PROMETHEUS_PORT=$((first + 6)) GRAFANA_PORT=$((first + 7)) MLFLOW_PORT=$((first + 8)) GRPC_PORT=$((first + 9))
export FOREBAY_LOG_FORMAT=json
row='[0.038,0.051,0.062,0.022,-0.044,-0.035,-0.043,-0.003,0.02,-0.018]'
work=$(mktemp -d "${TMPDIR:-/tmp}/forebay-prove.XXXXXX")
passed=0
missing=()

say() { printf '%s\n' "$*" >&2; }
die() { say "prove.sh: $*"; exit 1; }
ok() { passed=$((passed + 1)); say "ok: $*"; }
case ${1:-} in -h | --help) sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac

compose() { docker compose -p "$project" -f "$here/compose.yaml" "$@"; }

stop() {
  local code=$?
  trap - EXIT INT TERM
  if [ "$code" != 0 ] || [ -n "${PROVE_KEEP:-}" ]; then
    compose logs --no-color >"$work/containers.log" 2>&1 || true
    compose ps -a >"$work/ps.log" 2>&1 || true
  fi
  [ "$code" = 0 ] || { cat "$work/ps.log"; grep -E '"(ERROR|WARN)"|level=error' "$work/containers.log" | tail -n 30; } >&2
  if [ -n "${PROVE_KEEP:-}" ]; then mkdir -p "$PROVE_KEEP" && cp "$work"/* "$PROVE_KEEP/"; fi
  timeout 120 docker compose -p "$project" -f "$here/compose.yaml" --profile mlflow down -v --remove-orphans -t 5 >/dev/null 2>&1 || true
  rm -rf "$work"
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT TERM

await() { # SECONDS WHAT COMMAND... : until it succeeds
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || die "$what: not within the time"
    sleep 0.5
  done
}

for tool in docker curl jq kcat python3; do command -v "$tool" >/dev/null || die "please install $tool"; done
docker info >/dev/null 2>&1 || die "no Docker engine answers (DOCKER_HOST is ${DOCKER_HOST:-not set})"
docker compose version >/dev/null 2>&1 || die "docker compose v2 is missing"

# --- images ------------------------------------------------------------------------------------------------------------

version=${FOREBAY_VERSION:-0.1.0}
if [ "${1:-}" = --build ]; then
  for name in "${own[@]}" forebay; do
    tag=forebay-$name:$version
    [ "$name" != forebay ] || tag=forebay:$version
    docker build -q ${CA_BUNDLE:+--secret "id=ca,src=$CA_BUNDLE"} --target "$name" -t "$tag" "$here/.." >/dev/null
  done
fi
# runs what only the host could hide: no shell, no root, nothing to write to
for name in "${own[@]}" forebay; do
  image=forebay-$name:$version
  [ "$name" != forebay ] || image=forebay:$version
  docker image inspect "$image" >"$work/image.json" 2>/dev/null || die "there is no image $image; run with --build"
  size=$(jq '.[0].Size' "$work/image.json")
  [ "$size" -le 40000000 ] || die "$image has $size bytes, more than 40 MB"
  [ "$(jq -r '.[0].Config.User' "$work/image.json")" = 65532:65532 ] || die "$image does not run as 65532"
  [ "$(jq -r '.[0].Config.Healthcheck.Test[2]' "$work/image.json")" = health ] || die "$image has no health check of its own"
  docker run --rm --network none --read-only --cap-drop ALL "$image" --version >>"$work/versions" || die "$image does not run"
  say "    $image: $((size / 1000000)) MB"
done
if docker run --rm --entrypoint /bin/sh "forebay:$version" -c true 2>/dev/null; then die "the image has a shell"; fi
ok "six images: at most 40 MB, not root, read-only, no shell, health check by the program itself"

services=()
while read -r service image; do
  if docker image inspect "$image" >/dev/null 2>&1 || timeout 300 docker pull -q "$image" >/dev/null 2>&1; then
    services+=("$service")
  else
    missing+=("$service ($image)")
  fi
done < <(compose config --format json | jq -r '.services | to_entries[] | "\(.key) \(.value.image)"')
runs() { case " ${services[*]} " in *" $1 "*) ;; *) return 1 ;; esac; }

# --- up ----------------------------------------------------------------------------------------------------------------

begin=$SECONDS
compose up -d --wait --wait-timeout 180 "${services[@]}" >"$work/up.log" 2>&1 || { tail -n 20 "$work/up.log" >&2; die "up --wait failed"; }
ok "up from nothing in $((SECONDS - begin)) s: ${services[*]}"
for name in "${own[@]}"; do
  docker inspect "$(compose ps -q "$name")" | jq -e '.[0] | .HostConfig.ReadonlyRootfs and .HostConfig.Memory > 0 and .HostConfig.NanoCpus > 0
    and (.HostConfig.CapDrop | index("ALL")) and .State.Health.Status == "healthy"' >/dev/null || die "$name runs without its limits"
done
ok "five services are healthy, read-only, without capabilities, within limits of memory and CPU"

predict_url=http://127.0.0.1:$HTTP_PORT/v1/predict
answer=$(curl -fsS -m 20 "$predict_url" -d "{\"features\":$row}")
trace=$(jq -er .trace_id <<<"$answer")
jq -e '.prediction > 0 and .model_version == "v3"' <<<"$answer" >/dev/null || die "over HTTP: $answer"
ok "a prediction over HTTP: $(jq -r '"\(.prediction) from \(.model_version)"' <<<"$answer")"

kafka=127.0.0.1:$KAFKA_PORT
printf '{"request_id":"over-kafka","features":%s}\n' "$row" | timeout 20 kcat -P -b "$kafka" -t inference-requests
result_of() { timeout 20 kcat -C -q -e -b "$kafka" -t inference-results -o beginning 2>/dev/null | grep -F "\"$1\""; }
await 30 "a result over Kafka" result_of over-kafka
[ "$(result_of over-kafka | jq -r .prediction)" = "$(jq -r .prediction <<<"$answer")" ] || die "another answer over Kafka than over HTTP"
ok "the same prediction over Kafka, from the host's side"

if runs rabbitmq; then
  # over the management interface of the server, so that no client has to be installed
  rabbit() { curl -fsS -m 10 -u forebay:forebay -H 'content-type: application/json' "http://127.0.0.1:$RABBITMQ_UI_PORT/api/$1" "${@:2}"; }
  rabbit queues/%2f/prove -X PUT -d '{"auto_delete":false,"durable":true}'
  jq -n --arg row "$row" '{routing_key: "inference-requests", payload_encoding: "string", payload: "{\"request_id\":\"over-rabbitmq\",\"features\":\($row)}",
    properties: {reply_to: "prove", correlation_id: "c-1", message_id: "m-1", priority: 5}}' | rabbit exchanges/%2f/amq.default/publish -d @- | jq -e .routed >/dev/null || die "RabbitMQ has no request queue"
  replied() { rabbit queues/%2f/prove/get -d '{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}' >"$work/reply.json" && jq -e length==1 "$work/reply.json"; }
  await 30 "a reply over RabbitMQ" replied
  jq -e --argjson answer "$answer" '.[0] | .properties.correlation_id == "c-1" and (.payload | fromjson | .prediction == $answer.prediction and .request_id == "over-rabbitmq")' \
    "$work/reply.json" >/dev/null || die "over RabbitMQ: $(cat "$work/reply.json")"
  ok "the same prediction over RabbitMQ, with its correlation id"
fi

if runs jaeger; then
  known() { curl -fsS -m 5 "http://127.0.0.1:$JAEGER_PORT/api/traces/$trace" | jq -r '[.data[0].processes[].serviceName] | unique | length' | grep -qx 5; }
  await 30 "one trace with five services in Jaeger" known
  ok "Jaeger shows trace $trace through all five services"
fi
if runs prometheus; then
  query() { curl -fsS -m 5 -G "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/query" --data-urlencode "query=$1" | jq -r '.data.result[0].value[1]'; }
  scraped() { [ "$(query 'count(up{job="forebay"} == 1)')" = "$1" ]; }
  await 60 "Prometheus scrapes five services" scraped 5
  answered() { [ "$(query 'sum(inference_requests_total)')" -ge 2 ]; }
  await 60 "Prometheus counts the requests" answered
  rules=$(curl -fsS -m 5 "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/rules" | jq '[.data.groups[].rules[]] | length')
  [ "$rules" -gt 20 ] || die "Prometheus loaded $rules rules"
  ok "Prometheus scrapes five services, counts the requests and has $rules rules"
fi
if runs grafana; then
  shown() { curl -fsS -m 5 "http://127.0.0.1:$GRAFANA_PORT/api/search?query=Forebay" | jq -e '.[0].uid'; }
  await 60 "Grafana has the dashboard" shown
  ok "Grafana has the dashboard for everybody to see"
fi

# --- scale, kill ---------------------------------------------------------------------------------------------------------

compose up -d --wait --no-recreate --scale prediction=3 "${services[@]}" >"$work/scale.log" 2>&1 || { tail "$work/scale.log" >&2; die "--scale prediction=3 failed"; }
replicas=$(compose ps -q prediction | wc -l)
[ "$replicas" = 3 ] || die "$replicas replicas of prediction"
if runs prometheus; then await 60 "Prometheus finds the new replicas" scraped 7; fi
ok "--scale prediction=3: three healthy replicas, found by Prometheus"

# A crash as the engine sees it. A `docker kill` is an operator's word, which no restart policy answers, so where the host's
# process is not ours to kill, the container is started again by hand.
crash() { # SERVICE : its first container that runs
  local container
  container=$(docker ps -q --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$1" | tail -n 1)
  kill -KILL "$(docker inspect -f '{{.State.Pid}}' "$container")" 2>/dev/null ||
    { docker kill "$container" && sleep 1 && docker start "$container"; } >/dev/null
}

# 30 s of load over HTTP and Kafka; meanwhile two replicas of prediction crash, and the only one of caching
python3 - "$predict_url" "$row" >"$work/http.json" <<'PYTHON' &
import json, sys, threading, time, urllib.request

url, row = sys.argv[1], json.loads(sys.argv[2])
end, counts, wrong, lock = time.time() + 30, {"sent": 0, "answered": 0}, [], threading.Lock()

def call(thread):
    number = 0
    while time.time() < end:
        number += 1
        features = [row[0] + (thread * 1000 + number) / 1e6, *row[1:]]
        body = json.dumps({"features": features, "request_id": f"http-{thread}-{number}"}).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=70) as answer:
                good = json.load(answer)["prediction"] is not None
        except Exception as error:
            good = False
            wrong.append(f"{getattr(error, 'read', lambda: error)()}")
        with lock:
            counts["sent"] += 1
            counts["answered"] += good
        time.sleep(0.02)

threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps({**counts, "wrong": wrong[:5]}))
PYTHON
http=$!
python3 -c '
import json, sys, time
row = json.loads(sys.argv[1])
for number in range(6000):
    print(json.dumps({"request_id": f"load-{number}", "features": [row[0] - number / 1e6, *row[1:]]}), flush=True)
    time.sleep(0.005)' "$row" | timeout 90 kcat -P -b "$kafka" -t inference-requests -X linger.ms=5 &
writer=$!
sleep 5
crash prediction
sleep 7
crash prediction
sleep 6
crash caching
wait "$http" || die "the HTTP load failed"
wait "$writer" || die "the Kafka load failed"
results() { timeout 30 kcat -C -q -e -b "$kafka" -t inference-results -o beginning -f '%s\n' 2>/dev/null | jq -r 'select(.request_id // "" | startswith("load-")) | "\(.request_id) \(.error.code // "good")"'; }
complete() { results >"$work/results"; [ "$(cut -d' ' -f1 "$work/results" | sort -u | wc -l)" = 6000 ]; }
await 90 "6,000 answers over Kafka" complete
[ "$(wc -l <"$work/results")" = 6000 ] || die "$(($(wc -l <"$work/results") - 6000)) requests were answered twice"
[ "$(grep -c ' good$' "$work/results")" = 6000 ] || die "errors: $(cut -d' ' -f2 "$work/results" | sort | uniq -c)"
jq -e '.sent == .answered and .sent > 500' "$work/http.json" >/dev/null || die "over HTTP: $(cat "$work/http.json")"
ok "prediction crashed twice and caching once under load: 6,000 of 6,000 requests answered once over Kafka, $(jq .answered "$work/http.json") of $(jq .sent "$work/http.json") over HTTP"

up_again() { [ "$(docker ps -q --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$1" --filter health=healthy | wc -l)" = "$2" ]; }
await 60 "prediction is healthy again" up_again prediction 3
await 60 "caching is healthy again" up_again caching 1
ok "what crashed was started again and is healthy"

# --- a registry of one's own ---------------------------------------------------------------------------------------------

image=$(compose --profile mlflow config --format json | jq -r .services.mlflow.image)
if docker image inspect "$image" >/dev/null 2>&1 || timeout 600 docker pull -q "$image" >/dev/null 2>&1; then
  compose --profile mlflow up -d --wait --wait-timeout 120 mlflow >"$work/mlflow.log" 2>&1 || { tail "$work/mlflow.log" >&2; die "MLflow does not start"; }
  bash "$here/native.sh" install mlflow >/dev/null
  MLFLOW_TRACKING_URI=http://127.0.0.1:$MLFLOW_PORT timeout 300 "$here/native.sh" python "$here/../loadtest/suites/mlflow_fill.py" "$work/filled.json" >"$work/fill.log" 2>&1 ||
    { tail "$work/fill.log" >&2; die "MLflow cannot be filled"; }
  FOREBAY_REGISTRY=http://mlflow:5000 compose --profile mlflow up -d --wait --wait-timeout 120 "${services[@]}" mlflow >"$work/registry.log" 2>&1 ||
    { tail "$work/registry.log" >&2; die "the mesh does not start with MLflow"; }
  body=$(jq -c '{features: .rows[0], model_version: "v1"}' "$work/filled.json")
  as_python() { curl -fsS -m 20 "$predict_url" -d "$body" | jq -e --slurpfile filled "$work/filled.json" '.model_version == "v1" and .prediction == $filled[0].versions["1"].predict[0]'; }
  await 60 "the answer of version 1 as in Python" as_python
  ok "--profile mlflow: version 1 of the registered model answers to the bit as in Python"
else
  missing+=("mlflow ($image)")
fi

# --- down ----------------------------------------------------------------------------------------------------------------

begin=$SECONDS
compose stop "${own[@]}" >"$work/stop.log" 2>&1 || die "stop failed"
for name in "${own[@]}"; do
  for container in $(compose ps -aq "$name"); do
    code=$(docker inspect -f '{{.State.ExitCode}}' "$container")
    [ "$code" = 0 ] || die "$name ended with $code at its stop"
  done
done
ok "all replicas ended with 0 within $((SECONDS - begin)) s of a stop"
compose --profile mlflow down -v --remove-orphans >"$work/down.log" 2>&1 || die "down failed"
left="$(docker ps -aq --filter "label=com.docker.compose.project=$project")$(docker volume ls -q --filter "label=com.docker.compose.project=$project")$(docker network ls -q --filter "label=com.docker.compose.project=$project")"
[ -z "$left" ] || die "down left something: $left"
ok "down leaves no container, volume or network"

[ ${#missing[@]} = 0 ] || say "NOT PROVEN, no image to be had: ${missing[*]}"
echo "$passed passed, 0 failed"
