#!/usr/bin/env bash
# Tests create.sh and cleanup.sh with stand-ins for az, kubectl and helm that write down how they were called. No network.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
export PATH=$work/bin:$PATH CALLS=$work/calls EVENTHUB_NAMESPACE=forebay-test
unset AZURE_GROUP AZURE_LOCATION EVENTHUB_NAME CHARTS
connection='Endpoint=sb://forebay-test.servicebus.windows.net/;SharedAccessKeyName=forebay;SharedAccessKey=c2VjcmV0'

mkdir "$work/bin"
for name in az kubectl helm; do
  cat > "$work/bin/$name" <<'FAKE'
#!/usr/bin/env bash
# Writes its arguments, then what came in; answers what the scripts read. FAIL: a call that goes wrong. ABSENT: not there yet.
call="${0##*/} $*"
printf '%s\n' "$call" >> "$CALLS"
[ -z "${FAIL:-}" ] || [[ "$call" != *"$FAIL"* ]] || exit 3
case $call in
  *"create secret generic"*) printf 'secret content: %s\n' "$(cat)" >> "$CALLS" ;;
  *"keys list"*) printf '%s' "$CONNECTION" ;;
  "az group exists"*) echo "${GROUP_EXISTS:-false}" ;;
  *'tags."made-for"'*) echo "${GROUP_TAG:-forebay}" ;;
  "kubectl get namespace"*) exit 1 ;;
  "kubectl config current-context") echo test-cluster ;;
  *" show "*) [ -z "${ABSENT:-}" ] || exit 3 ;;
esac
FAKE
  chmod +x "$work/bin/$name"
done
export CONNECTION=$connection

check() { # NAME COMMAND... : must succeed
  local name=$1
  shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $name" >&2; fi
}
script() { # SCRIPT ARGUMENTS... : its output in $work/out, its exit code in `code`
  local name=$1
  shift
  : > "$CALLS"
  code=0
  bash "$here/$name.sh" "$@" > "$work/out" 2> "$work/err" < /dev/null || code=$?
}
calls() { grep -cE -- "$1" "$CALLS" || true; }
said() { grep -qE -- "$1" "$work/out" "$work/err"; }
silent() { [ ! -s "$CALLS" ]; }
is() { [ "$1" = "$2" ]; }
before() { [ "$(grep -nE -- "$1" "$CALLS" | head -n 1 | cut -d: -f1)" -lt "$(grep -nE -- "$2" "$CALLS" | head -n 1 | cut -d: -f1)" ]; }

# --- create.sh
script create
check "a dry run is the default" is "$code" 0
check "a dry run calls nothing" silent
check "a dry run prints the namespace" said '^az eventhubs namespace create .*--sku Standard'
check "a dry run says so" said 'nothing was done'
cp "$work/out" "$work/dry"
script create --dry-run
check "--dry-run is the same" cmp -s "$work/out" "$work/dry"
script create --apply
check "apply succeeds" is "$code" 0
check "ten hubs, no more" is "$(calls '^az eventhubs eventhub create ')" 10
check "four partitions each" is "$(calls 'eventhub create .*--partition-count 4 ')" 10
check "one day" is "$(calls '--cleanup-policy Delete --retention-time-in-hours 24 ')" 9
check "the models' hub is compacted" is "$(calls '--name forebay.models .*--cleanup-policy Compact ')" 1
check "the answers' hub is named after the requests'" is "$(calls '--name inference-requests-results ')" 1
check "the consumer group" is "$(calls 'consumer-group create .*--eventhub-name inference-requests --name inference-consumer ')" 1
check "no right to manage" is "$(calls 'authorization-rule create .*--rights Send Listen ')" 1
check "the secret holds the connection string" grep -qxF "secret content: $connection" "$CALLS"
check "the secret has its name and key" is "$(calls 'create secret generic eventhub-secret --from-file=connection-string=/dev/stdin')" 1
check "no argument holds the key" is "$(grep -v '^secret content' "$CALLS" | grep -c SharedAccessKey= || true)" 0
check "no output holds the key" is "$(cat "$work/out" "$work/err" | grep -c SharedAccessKey= || true)" 0
check "Redis has no login" is "$(calls '^helm upgrade --install redis .*--values .*redis.values.yaml')" 1
check "the namespace comes before its hubs" before 'namespace create' 'eventhub create'
check "every command that is run was shown" is "$(grep -cE '^(az|helm) ' "$work/dry")" "$(grep -E '^(az|helm) ' "$CALLS" | grep -vcE 'az group exists')"
GROUP_EXISTS=true script create --apply eventhubs
check "an existing group is not marked as ours" is "$(calls 'az group create')" 0
FAIL="eventhub create" script create --apply
check "a failure ends it" is "$code" 3
check "and nothing comes after it" is "$(calls 'secret|helm')" 0
CONNECTION="" script create --apply eventhubs
check "an empty connection string is an error" is "$code" 2
check "and makes no secret" is "$(calls 'create secret')" 0
script create --apply kafka
check "Kafka has three brokers" grep -qx 'replicaCount: 3' "$here/kafka.values.yaml"
check "Kafka by Helm" is "$(calls '^helm upgrade --install kafka .*--namespace kafka .*kafka.values.yaml')" 1
check "Kafka's ten topics" is "$(calls 'kafka-topics.sh .*--create --if-not-exists .*--partitions 4 --replication-factor 3')" 10
check "the broker's address as a secret" grep -qxF 'secret content: kafka.kafka:9092' "$CALLS"
check "Kafka needs no Azure" is "$(calls '^az')" 0
EVENTHUB_NAMESPACE="" script create --apply
check "no name, no start" is "$code" 2
check "the name is required" said 'EVENTHUB_NAMESPACE is not set'
EVENTHUB_NAMESPACE='x; rm -rf /' script create
check "an impossible name is refused" is "$code" 2
script create --force
check "an unknown word is refused" is "$code" 2
check "before anything is done" silent
EVENTHUB_NAME=orders script create --apply eventhubs
check "another hub name" is "$(calls '--name orders(-results)? ')" 2

# --- cleanup.sh
script cleanup
check "cleaning is a dry run by default" silent
script cleanup --apply
check "cleaning needs a confirmation" is "$code" 2
check "no answer deletes nothing" is "$(calls 'delete|uninstall')" 0
script cleanup --apply --yes
check "cleaning succeeds" is "$code" 0
for made in 'kubectl delete -k .*/overlays/legacy' 'delete configmap -l app.kubernetes.io/part-of=forebay' 'helm uninstall redis' 'helm uninstall kafka' \
  'delete pvc -l app.kubernetes.io/instance=kafka' 'delete namespace kafka' 'delete secret kafka-secret' 'delete secret eventhub-secret' \
  'az eventhubs namespace delete .*--name forebay-test'; do
  check "cleaning: $made" is "$(calls "$made")" 1
done
check "services go before what they use" before 'delete -k' 'helm uninstall'
check "the resource group stays" is "$(calls 'az group delete')" 0
script cleanup --apply --yes --group
check "the resource group goes if wanted" is "$(calls 'az group delete --name forebay --yes')" 1
GROUP_TAG=theirs script cleanup --apply --yes --group
check "somebody else's group stays" is "$(calls 'az group delete')" 0
check "and that is said" is "$code" 2
ABSENT=1 script cleanup --apply --yes --group
check "cleaning twice is no error" is "$code" 0
script cleanup --apply --yes redis
check "a part alone" is "$(wc -l < "$CALLS")" 1

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
