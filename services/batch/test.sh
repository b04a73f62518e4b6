#!/usr/bin/env bash
# Tests of the batch job. `test.sh` runs the quick ones (Python alone, seconds); `test.sh real` also runs the job with Spark and the
# examples against a Kafka started here, kills included (two minutes on two cores once Spark is there). `test.sh install` only
# fetches Spark.
#
# FOREBAY_BIN_DIR  where the binary forebay is (default: target/debug of the workspace, built if need be)
# FOREBAY_CACHE    Spark, its Kafka connector and Kafka are kept there (1 GB; default ~/.cache/forebay)
# BATCH_TIMEOUT    seconds the real tests may take (default 480)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export FOREBAY_CACHE=${FOREBAY_CACHE:-$HOME/.cache/forebay} PYTHONDONTWRITEBYTECODE=1

if [ "${1:-}" != install ]; then
  timeout 120 python3 -m unittest discover -s "$here/tests"
  bash "$here/submit/dry_run_test.sh"
fi
case ${1:-} in real | install) ;; *) exit 0 ;; esac

spark_version=$(sed -n 's/^pyspark==//p' "$here/requirements.txt")
home=$FOREBAY_CACHE/batch-$(cat "$here/requirements.txt" "$here/connector.pom.xml" | cksum | cut -d' ' -f1)
work=$(mktemp -d "${TMPDIR:-/tmp}/forebay-batch.XXXXXX")
export FOREBAY_NATIVE_DIR=$work/native

# shellcheck disable=SC2317  # called by the trap
stop() {
  local code=$?
  trap - EXIT INT TERM
  timeout 60 "$root/compose/native.sh" down kafka >/dev/null 2>&1 || echo "test.sh: Kafka did not stop" >&2
  if [ "$code" != 0 ]; then
    for log in "$work"/*.log; do [ ! -e "$log" ] || { echo "--- the last lines of $(basename "$log")"; grep -vE ' INFO |^\s+at ' "$log" | tail -n 40; } >&2; done
    # what failed is the last thing one reads
    [ ! -e "$work/real.out" ] || { echo "--- what the tests said"; tail -n 40 "$work/real.out"; } >&2
  fi
  [ -n "${BATCH_KEEP:-}" ] || rm -rf "$work"
  exit "$code"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

install() { # Spark in an environment of its own, and the jars of its connector; a half installation never looks like a whole one
  [ ! -e "$home/whole" ] || return 0
  echo "installing Spark $spark_version into $home" >&2
  rm -rf "$home"
  mkdir -p "$home"
  python3 -m venv "$home/venv"
  timeout 600 "$home/venv/bin/pip" install --quiet -r "$here/requirements.txt"
  timeout 300 mvn -q -B -f "$here/connector.pom.xml" -Dspark.version="$spark_version" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$home/jars" >"$work/maven.log" 2>&1 </dev/null
  touch "$home/whole"
}

# shellcheck source=../../compose/ports.sh
. "$root/compose/ports.sh"

mkdir -p "$FOREBAY_CACHE"
exec 8>"$FOREBAY_CACHE/batch.lock"
flock -w 900 8
install
exec 8>&-
[ "$1" = real ] || exit 0

if [ -z "${FOREBAY_BIN_DIR:-}" ]; then
  (cd "$root" && cargo build --workspace --bins)
  FOREBAY_BIN_DIR=${CARGO_TARGET_DIR:-$root/target}/debug
fi
port=$(free_ports 4)
KAFKA_PORT=$port KAFKA_CONTROLLER_PORT=$((port + 1)) KAFKA_HEAP="-Xms128m -Xmx512m"
export KAFKA_PORT KAFKA_CONTROLLER_PORT KAFKA_HEAP
timeout 240 "$root/compose/native.sh" up kafka >"$work/up.log" 2>&1
FOREBAY__KAFKA__BROKERS=127.0.0.1:$KAFKA_PORT timeout 60 "$FOREBAY_BIN_DIR/forebay" topics create --set kafka.partitions=3 >"$work/topics.log" 2>&1
timeout 60 "$root/compose/native.sh" topics --create --topic inference-results-batch --partitions 3 >>"$work/topics.log" 2>&1
cp -r "$root/shared/model/sample" "$work/models"
mkdir "$work/models/churn"
for version in 1 2; do cp -r "$root/shared/model/tests/golden/wide/onehot_logreg" "$work/models/churn/$version"; done
echo 'tags: {2: {forebay.output: predict_proba}}' >"$work/models/churn/registered_model.yaml"

REAL_HTTP=127.0.0.1:$((port + 2)) REAL_ADMIN=127.0.0.1:$((port + 3))
REAL_SUBMIT="$home/venv/bin/spark-submit --master local[2] --driver-memory 768m --jars $(echo "$home"/jars/{spark-sql-kafka,spark-token,kafka-clients,commons-pool}*.jar | tr ' ' ,)
  --conf spark.ui.enabled=false --conf spark.driver.host=127.0.0.1 --conf spark.driver.bindAddress=127.0.0.1 --conf spark.sql.shuffle.partitions=1"
export REAL_HTTP REAL_ADMIN REAL_SUBMIT REAL_KAFKA=127.0.0.1:$KAFKA_PORT REAL_FOREBAY=$FOREBAY_BIN_DIR/forebay REAL_REGISTRY=$work/models
export REAL_WORK=$work REAL_EXAMPLES=$root/docs/examples/python
timeout --kill-after=10 "${BATCH_TIMEOUT:-480}" "$home/venv/bin/python" "$here/tests/real.py" 2> >(tee "$work/real.out" >&2)
