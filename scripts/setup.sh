#!/usr/bin/env bash
# Installs the Debian packages that the named groups need and that are missing, and for `test` what the tests use from
# npm; with all of them there it does nothing. Usage: scripts/setup.sh GROUP… (build, test,
# fuzz, bench, lint)
#
# Needs root or sudo only when something is missing. Services that come along with a package
# (nginx, haproxy and their like: tests and benchmarks start their own) are neither started now nor
# at the next boot.
set -euo pipefail

packages_of() {
  case $1 in
    build) echo clang-19 lld-19 ccache ninja-build cmake pkg-config libc6-dev libssl-dev libyaml-dev \
      libfmt-dev libspdlog-dev libnghttp2-dev nlohmann-json3-dev libcli11-dev prometheus-cpp-dev \
      libvalijson-dev libpcre2-dev libc-ares-dev libhiredis-dev liburing-dev libgtest-dev libgmock-dev ;;
    fuzz) echo libclang-rt-19-dev ;;
    test) echo libclang-rt-19-dev python3-pytest python3-pytest-xdist nginx-light openssl curl patch \
      procps python3-h2 python3-grpcio python3-websockets chromium redis-server redis-sentinel haproxy \
      iproute2 libfaketime nghttp2-client ;;
    bench) echo libbenchmark-dev redis-server nginx-light haproxy h2o nghttp2-proxy wrk nghttp2-client openssl ;;
    lint) echo clang-format-19 clang-tidy-19 ;;
    *)
      echo "setup: there is no group \"$1\": build, test, fuzz, bench or lint" >&2
      return 2
      ;;
  esac
}

[[ $# -gt 0 ]] || { echo "usage: scripts/setup.sh build|test|fuzz|bench|lint …" >&2; exit 2; }
wanted=()
for group in "$@"; do
  list=$(packages_of "$group")
  # A machine may have node from elsewhere.
  if [[ $group == test ]] && ! command -v npm >/dev/null; then list+=" nodejs npm"; fi
  read -ra names <<<"$list"
  wanted+=("${names[@]}")
done

if ! command -v dpkg-query >/dev/null; then
  echo "setup: not a Debian system, nothing is installed; needed here are the counterparts of: ${wanted[*]}"
  exit 0
fi

# The list of packages that dpkg has in full, one word a line. dpkg-query fails when it does not know one.
present=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^installed //p') || true
missing=()
for package in "${wanted[@]}"; do
  grep -qxF -- "$package" <<<"$present" || missing+=("$package")
done
# What tests use from npm, in the versions of tests/node/package-lock.json; no script of a package runs.
install_node_parts() {
  local folder
  folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests/node" && pwd)
  cmp -s "$folder/package-lock.json" "$folder/node_modules/.installed-lock.json" && return 0
  echo "setup: installing with npm what tests need: oidc-provider, jose, grpc-js, the schema of SARIF and ajv"
  npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error
  cp "$folder/package-lock.json" "$folder/node_modules/.installed-lock.json"
}
needs_node=false
for group in "$@"; do [[ $group == test ]] && needs_node=true; done

if [[ ${#missing[@]} -eq 0 ]]; then
  if $needs_node; then install_node_parts; fi
  exit 0
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: missing, and neither root nor sudo to install them: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "setup: installing with apt: ${missing[*]}"

# invoke-rc.d asks this file whether a service may start; 101 is "forbidden". One that is there stays.
guard=/usr/sbin/policy-rc.d
if [[ ! -e $guard ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $guard >/dev/null
  "${as_root[@]}" chmod 755 $guard
  trap '"${as_root[@]}" rm -f $guard' EXIT
fi

apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
log=$(mktemp)
# Old package lists name files that the mirror no longer has; an update that fails may still leave usable ones.
if ! { "${apt[@]}" update || true; "${apt[@]}" install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "setup: apt could not install them; its whole output is in $log" >&2
  exit 1
fi
rm -f "$log"

for package in "${missing[@]}"; do
  case $package in
    nginx-light) service=nginx ;;
    haproxy) service=haproxy ;;
    redis-server) service=redis-server ;;
    redis-sentinel) service=redis-sentinel ;;
    h2o) service=h2o ;;
    nghttp2-proxy) service=nghttpx ;;
    *) continue ;;
  esac
  if [[ -d /run/systemd/system ]]; then "${as_root[@]}" systemctl --quiet disable "$service"; fi
done
if $needs_node; then install_node_parts; fi
