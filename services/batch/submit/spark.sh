#!/usr/bin/env bash
# Starts the job on a plain Spark 4 cluster (or `--master local[2]` on this machine).
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: submit/spark.sh [--dry-run] [OPTION OF SPARK-SUBMIT...] [-- OPTION OF THE JOB...]

  submit/spark.sh --master local[2] -- --brokers localhost:9092 --checkpoint /tmp/batch
  submit/spark.sh --master spark://head:7077 --deploy-mode client -- --brokers kafka:9092
  submit/spark.sh --dry-run -- --once          print the command and start nothing

The binary travels with the job to every executor, and so must run there (Linux, the same processor family). Options of the job:
PYTHONPATH=services/batch python3 -m forebay_batch --help.

Environment
  FOREBAY_BINARY   the binary that is sent along (default target/release/forebay)
  SPARK_SUBMIT     the program (default spark-submit)
  SPARK_CONNECTOR  its Kafka connector: Maven coordinates (default org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.1, as Spark itself)
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
binary=${FOREBAY_BINARY:-$here/../../target/release/forebay}
dry=no spark=() job=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --dry-run) dry=yes ;;
    --) shift; job=("$@"); break ;;
    *) spark+=("$1") ;;
  esac
  shift
done

package=${TMPDIR:-/tmp}/forebay_batch.zip
command=("${SPARK_SUBMIT:-spark-submit}" --name BatchInferencePipeline
  --packages "${SPARK_CONNECTOR:-org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.1}"
  --py-files "$package" --files "$binary" "${spark[@]}" "$here/submit/main.py" --forebay forebay "${job[@]}")
if [ "$dry" = yes ]; then
  printf '%q ' "${command[@]}"
  echo
  exit 0
fi
[ -x "$binary" ] || { echo "spark.sh: $binary is no program; build it with: cargo build --release, or set FOREBAY_BINARY" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/forebay-batch.XXXXXX")
trap 'rm -rf "$work"' EXIT
(cd "$here" && python3 -c 'import shutil, sys; shutil.make_archive(sys.argv[1], "zip", ".", "forebay_batch")' "$work/forebay_batch")
cp "$binary" "$work/forebay" # --files names it by its last part
for i in "${!command[@]}"; do
  [ "${command[$i]}" != "$package" ] || command[i]=$work/forebay_batch.zip
  [ "${command[$i]}" != "$binary" ] || command[i]=$work/forebay
done
# in the background, so that a signal reaches the job and not this shell alone
"${command[@]}" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM INT
code=0
wait "$child" || code=$?
! kill -0 "$child" 2>/dev/null || { code=0; wait "$child" || code=$?; }
exit "$code"
