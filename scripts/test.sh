#!/usr/bin/env bash
# Runs the tests, stage after stage, and ends with what each had to say. Not zero when any failed.
# Usage: scripts/test.sh [STAGE…]; without one, all:
#
#   unit  builds everything with address and undefined-behaviour sanitizers; ctest
#   tsan  the unit tests of the rooms whose state threads share, with the thread sanitizer
#   fuzz  every fuzz target, FUZZ_SECONDS (5) each
#   e2e   pytest: the structure of the source, and the program of `unit` against real servers
#
# The stage e2e tests MERLON_BIN when that is set, so that any build can be put to it.
set -euo pipefail
cd "$(dirname "$0")/.."

# Rooms whose unit tests run threads beside each other.
shared_rooms=(io telemetry state)
jobs=$(nproc)
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
logs=build/test-logs
mkdir -p $logs

build() {  # build PRESET [TARGET…]
  local preset=$1
  shift
  cmake --preset "$preset" >$logs/configure-"$preset".log 2>&1 || { cat $logs/configure-"$preset".log; return 1; }
  cmake --build --preset "$preset" ${1:+--target "$@"} -- --quiet
}

run_ctest() {  # run_ctest PRESET STAGE
  ctest --test-dir build/"$1" --parallel $jobs --output-on-failure --no-tests=error 2>&1 | tee $logs/"$2".log
}

stage_unit() { build asan && run_ctest asan unit; }

stage_tsan() {
  local targets=()
  for room in "${shared_rooms[@]}"; do
    if compgen -G "src/$room/*_test.cc" >/dev/null; then targets+=("merlon_${room}_test"); fi
  done
  build tsan "${targets[@]}" || return 1
  for target in "${targets[@]}"; do
    build/tsan/"$target" --gtest_brief=1 || { echo "tsan: $target failed" | tee $logs/tsan.log; return 1; }
  done
  echo "tsan: ${#targets[@]} programs passed: ${targets[*]}" | tee $logs/tsan.log
}

stage_fuzz() { scripts/fuzz.sh "${FUZZ_SECONDS:-5}" 2>&1 | tee $logs/fuzz.log; }

stage_e2e() {
  if [[ -z ${MERLON_BIN:-} ]]; then
    build asan merlon || return 1
    export MERLON_BIN=$PWD/build/asan/merlon
  fi
  # Debian's python3-pytest belongs to this interpreter, whichever comes first in PATH.
  # Tests wait for clocks and peers more than they compute: one more than there are processors.
  /usr/bin/python3 -m pytest tests -n $((jobs + 1)) -q 2>&1 | tee $logs/e2e.log
}

stages=("$@")
[[ ${#stages[@]} -gt 0 ]] || stages=(unit tsan fuzz e2e)
failed=()
for stage in "${stages[@]}"; do
  declare -F "stage_$stage" >/dev/null || { echo "test: there is no stage \"$stage\"" >&2; exit 2; }
done
for stage in "${stages[@]}"; do
  echo "== $stage"
  started=$SECONDS
  rm -f $logs/"$stage".log
  # Its own shell, so that a failure inside ends the stage and not the run.
  ( "stage_$stage" ) || failed+=("$stage")
  echo "== $stage took $((SECONDS - started)) s"
done

echo "== results"
for stage in "${stages[@]}"; do
  case $stage in
    unit) grep -h 'tests passed' $logs/unit.log 2>/dev/null || true ;;
    *) tail -n 1 $logs/"$stage".log 2>/dev/null || true ;;
  esac
done
if [[ ${#failed[@]} -gt 0 ]]; then
  echo "test: FAILED: ${failed[*]}"
  exit 1
fi
echo "test: passed: ${stages[*]}"
