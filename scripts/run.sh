#!/usr/bin/env bash
# run.sh (make run): install what is missing, build, measure two containers, show both, clean up.
#
# Whatever it starts (a private Docker engine, cbformula, cbsensor, containers) and makes (images,
# files) is gone again when it ends, also on Ctrl-C.
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh
BIN=${BIN:-build/bin}

child=
# in_foreground COMMAND...: like the command alone, but a signal to us ends it at once
in_foreground() {
  "$@" &
  child=$!
  wait $child
  child=
}
clean_up() {
  local status=$?
  trap '' INT TERM HUP
  trap - EXIT
  if [ -n "$child" ]; then
    stop_pid "$child" 200
    wait "$child" 2>/dev/null || :
  fi
  if [ -n "$T" ]; then
    stop_all "$T"
    rm -rf "$T"
  fi
  exit $status
}
# measure NAME IMAGE ARGS...: one recap into $T/NAME.json
measure() {
  local name=$1
  shift
  say "measuring: cbtester $*"
  in_foreground env DOCKER_HOST="unix://$engine_socket" CBFORMULA_URL="$formula_url" \
    "$BIN/cbtester" --json --idle proportional "$@" >"$T/$name.json"
}

trap 'exit 130' INT
trap 'exit 143' TERM HUP
trap clean_up EXIT
T=
if [ "${1:-}" != measure ]; then
  scripts/setup.sh build
  in_foreground "${BUILD[@]}" >&2
  # reading counters, cgroups and Docker needs root; building does not
  become_root scripts/run.sh measure
fi
T=$(mktemp -d "${TMPDIR:-/tmp}/cbwatts-run.XXXXXX")
start_engine "$T" "" cb/sleep cb/busy
make_keys "$T"
start_formula "$T"
start_sensor "$T"
grep -i 'energy' "$T/cbsensor.log" >&2 || :
measure sleep cb/sleep 5
measure busy cb/busy 5
"$BIN/cbtester" show "$T/sleep.json" "$T/busy.json"
