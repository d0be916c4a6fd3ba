#!/usr/bin/env bash
# PostgreSQL and Redis for the tests, from Debian's packages where none are installed. Quiet, and bounded in time.
# Nothing is started and no cluster is made: the tests start their own, in temporary folders.
# Ends with 0 also where they cannot be had: the tests say so, and fail where PENSTOCK_NEED_SERVERS=1.
set -uo pipefail

missing=()
command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
command -v redis-server >/dev/null || command -v valkey-server >/dev/null || missing+=(redis-server)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "tests: ${missing[*]} not installed; their tests will be skipped (sudo apt-get install ${missing[*]})" >&2
  exit 0
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made_policy=1
fi
trap 'rm -f "$log"; [ -z "$made_policy" ] || rm -f "$policy"' EXIT

install() {
  DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install --yes --no-install-recommends \
    -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "${missing[@]}" >>"$log" 2>&1 </dev/null
}
install || { timeout 120 apt-get update >>"$log" 2>&1 </dev/null && install; } || {
  echo "tests: ${missing[*]} could not be installed:" >&2
  tail -n 3 "$log" >&2
}
exit 0
