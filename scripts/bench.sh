#!/usr/bin/env bash
# Builds the release and the benchmarks, compares the program with its peers, and runs the in-process
# benchmarks. Usage: scripts/bench.sh [PART [OPTION…]]; without a part, both:
#
#   peers       bench/run OPTION…: nginx, HAProxy and Merlon in turn (bench/run --help)
#   in-process  every Google Benchmark; OPTION is a regular expression over their names
set -euo pipefail
cd "$(dirname "$0")/.."

build() {  # build [TARGET…]
  cmake --preset bench >/dev/null
  cmake --build --preset bench ${1:+--target "$@"} -- --quiet
}

peers() {
  build merlon merlon_bench_relay merlon_gateway_bench
  ln -sfn release/merlon build/merlon
  bench/run "$@"
}

in_process() {
  build
  local programs=(build/release/merlon_*_bench)
  [[ -x ${programs[0]} ]] || { echo "bench: no benchmark was built" >&2; exit 1; }
  local program
  for program in "${programs[@]}"; do
    echo "== $(basename "$program")"
    "$program" --benchmark_filter="${1:-.}"
  done
}

part=${1:-}
[[ $# -eq 0 ]] || shift
case $part in
  peers) peers "$@" ;;
  in-process) in_process "$@" ;;
  "")
    # Benchmarks run even when a peer is missing; the exit code still says that not all was measured.
    result=0
    peers || result=$?
    in_process
    exit $result
    ;;
  *)
    echo "bench: there is no part \"$part\": peers or in-process" >&2
    exit 2
    ;;
esac
