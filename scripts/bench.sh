#!/usr/bin/env bash
# Builds the release with the in-process benchmarks and runs each. Usage: scripts/bench.sh [FILTER]
# FILTER is a regular expression over the names of benchmarks (Google Benchmark's --benchmark_filter).
set -euo pipefail
cd "$(dirname "$0")/.."

cmake --preset bench >/dev/null
cmake --build --preset bench -- --quiet
programs=(build/bench/merlon_*_bench)
[[ -x ${programs[0]} ]] || { echo "bench: no benchmark was built" >&2; exit 1; }
for program in "${programs[@]}"; do
  echo "== $(basename "$program")"
  "$program" --benchmark_filter="${1:-.}"
done
