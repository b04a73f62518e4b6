#!/usr/bin/env bash
# What the submit scripts would do, without a cluster.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
passed=0 failed=0
expect() { # WHAT TEXT PATTERN
  if grep -qE -- "$3" <<<"$2"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1: no $3 in: $2"; fi
}

text=$(bash "$here/spark.sh" --dry-run --master 'local[2]' -- --once --brokers a:1)
expect "spark: options of both" "$text" '--master local.*main\.py --forebay forebay --once --brokers a:1 $'
expect "spark: the connector is of the tested version" "$text" "spark-sql-kafka-0-10_2.13:$(sed -n 's/^pyspark==//p' "$here/../requirements.txt") "
text=$(HUB='a"b' bash "$here/databricks.sh" --dry-run /Volumes/c/s/v/f)
job=$(sed '/^}/q' <<<"$text")
expect "databricks: the job is JSON with everything filled in" "$(python3 -c 'import json, sys; print(json.load(sys.stdin)["tasks"][0]["new_cluster"]["spark_env_vars"])' <<<"$job")" 'secrets/forebay/eventhub-connection.*a"b'
expect "databricks: nothing is left open" "$(grep -c '@[A-Z]*@' <<<"$job" || true)" '^0$'
expect "databricks: the job is created last" "$(tail -n 1 <<<"$text")" '^databricks jobs create --json'
for file in main.py install_forebay.sh; do
  expect "databricks: $file is brought where the job looks for it" "$text" "^databricks fs cp .*dbfs:/Volumes/c/s/v/f/$file"
done
if bash "$here/databricks.sh" --dry-run nowhere >/dev/null 2>&1; then failed=$((failed + 1)); echo "FAILED: a folder that is no volume"; else passed=$((passed + 1)); fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
