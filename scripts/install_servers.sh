#!/usr/bin/env bash
# PostgreSQL and Redis for the tests, from Debian's packages where none are installed. Quiet, and bounded in time.
# Nothing is started: the tests start servers of their own, in temporary folders.
# Ends with 0 also where they cannot be had: the tests say so, and fail where PENSTOCK_NEED_SERVERS=1.
set -uo pipefail

missing() {  # what the tests look for (tests/servers.py), as Debian's packages
  command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || echo postgresql
  command -v redis-server >/dev/null || command -v valkey-server >/dev/null || echo redis-server
}
[ -z "$(missing)" ] && exit 0

root=()
if [ "$(id -u)" -ne 0 ]; then
  if sudo -n true 2>/dev/null; then root=(sudo -n); else root=(false); fi
fi
if [ "${root[*]}" = false ] || ! command -v apt-get >/dev/null; then
  echo "tests: not installed, and cannot be from here: $(missing | paste -sd' ') (sudo apt-get install $(missing | paste -sd' '))" >&2
  exit 0
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null; then
  "${root[@]}" chmod +x "$policy" && made_policy=1
fi
trap 'rm -f "$log"; [ -z "$made_policy" ] || "${root[@]}" rm -f "$policy"' EXIT

apt() {  # waits for another apt's lock, tries again where a mirror does not answer, and ends
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive timeout --kill-after=10 "$1" apt-get \
    -o DPkg::Lock::Timeout=120 -o Acquire::Retries=2 -o Acquire::http::Timeout=20 "${@:2}" >>"$log" 2>&1 </dev/null
}
install() {  # each for itself: one that cannot be had keeps the other from nobody
  local package
  for package in $(missing); do
    apt 300 install --yes --no-install-recommends "$package"
  done
}
install
if [ -n "$(missing)" ]; then
  # A list of packages that is old or absent, or an installation that somebody broke off.
  "${root[@]}" timeout 120 dpkg --configure -a >>"$log" 2>&1 </dev/null
  apt 120 update
  install
fi
if [ -n "$(missing)" ]; then
  echo "tests: could not be installed: $(missing | paste -sd' '):" >&2
  tail -n 5 "$log" >&2
fi
exit 0
