#!/usr/bin/env bash
# Builds every fuzz target (fuzz/ROOM/NAME_fuzz.cc) and runs each for SECONDS over its seeds.
# Usage: scripts/fuzz.sh [SECONDS=60] [NAME…]
#
# What is found on the way stays in build/fuzz/found and is used the next time. An input that fails
# is written to build/fuzz/failed/; run it again with: build/asan/NAME FILE
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true

sources=(fuzz/*/*_fuzz.cc)
[[ -e ${sources[0]} ]] || { echo "fuzz: no target in fuzz/" >&2; exit 1; }

mkdir -p build/fuzz/failed
cmake --preset fuzz >build/fuzz/configure.log 2>&1 || { cat build/fuzz/configure.log >&2; exit 1; }
names=()
for source in "${sources[@]}"; do
  name=$(basename "$source" .cc)
  [[ $# -eq 0 || " $* " == *" $name "* ]] && names+=("$name")
done
[[ ${#names[@]} -gt 0 ]] || { echo "fuzz: there is no target named $*" >&2; exit 1; }
cmake --build --preset fuzz --target "${names[@]}" -- --quiet

failed=()
for source in "${sources[@]}"; do
  name=$(basename "$source" .cc)
  [[ " ${names[*]} " == *" $name "* ]] || continue
  found=build/fuzz/found/$name
  log=build/fuzz/$name.log
  mkdir -p "$found"
  seeds=()
  for folder in "$(dirname "$source")/corpus/$name" "$(dirname "$source")/corpus/${name%_fuzz}"; do
    [[ -d $folder ]] && seeds+=("$folder")
  done
  if "build/asan/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="build/fuzz/failed/$name-" "$found" "${seeds[@]}" >"$log" 2>&1; then
    echo "fuzz: $name: $(grep -a '^Done' "$log" || true)"
  else
    failed+=("$name")
    tail -n 40 "$log"
    echo "fuzz: $name FAILED, its input is in build/fuzz/failed/"
  fi
done

if [[ ${#failed[@]} -gt 0 ]]; then
  echo "fuzz: ${#failed[@]} of ${#names[@]} targets failed: ${failed[*]}"
  exit 1
fi
echo "fuzz: ${#names[@]} targets passed"
