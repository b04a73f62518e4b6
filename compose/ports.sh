# shellcheck shell=bash
# Free ports on loopback, for scripts that start things beside others: `. compose/ports.sh`.

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_ports() { # COUNT : the first of COUNT free ports in a row, below the range from which outgoing connections take theirs
  local base i
  for _ in $(seq 200); do
    base=$((20000 + RANDOM % 9000))
    for ((i = 0; i < $1; i++)); do ! taken $((base + i)) || continue 2; done
    echo "$base"
    return 0
  done
  printf 'no %s free ports\n' "$1" >&2
  return 1
}
