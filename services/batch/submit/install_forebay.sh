#!/usr/bin/env bash
# Init script of a Databricks cluster: puts the binary, which lies beside it, where programs may be run.
set -euo pipefail
install -m 755 "$(dirname "$0")/forebay" /usr/local/bin/forebay
