# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# lib.sh - what a scenario can say; it runs in the emulated machine. What it writes to $D is judged.
#
#   control COMMAND          set the machine (/proc/cbmachine/control; module/proc.c)
#   meter [SENSOR OPTION...] start cbformula and cbsensor afresh; from here on it is measured
#   recorder                 the same with `cbformula record`: the frames are kept, not attributed
#   work KIND DUTY SECONDS NAME [CPU]   a workload (guest/wl.c) in the plain cgroup box/NAME
#   outside KIND DUTY SECONDS [CPU]     the same in no container
#   container NAME CGROUP    judge NAME, whose cgroup is CGROUP in the truth
#   settle                   wait until the workloads have ended
#   dismiss                  end them now
#   finish                   called after the scenario: wait for the last frame, collect, stop
set -u
. /run/out/env
D=/run/out/$SCENARIO
S=/run/state.$SCENARIO
HTTP=127.0.0.1:9771
LINK=tcp://127.0.0.1:9770
TICK=500ms
mkdir -p "$D" "$S"
workers=() record='' formula='' sensor=''
case $CBM_LAYOUT in
v1) ROOT=/sys/fs/cgroup/perf_event ;;
hybrid) ROOT=/sys/fs/cgroup/unified ;;
*) ROOT=/sys/fs/cgroup ;;
esac

die() {
  echo "scenario: $*"
  exit 1
}

# until SECONDS COMMAND...: poll until it succeeds
until_ok() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

control() { echo "$*" >/proc/cbmachine/control || die "control $*"; }

container() { echo "$1 $2" >>"$D/containers"; }

work() {
  mkdir -p "$ROOT/box/$4"
  grep -q "^$4 " "$D/containers" 2>/dev/null || container "$4" "/box/$4"
  "$GUEST/wl" "$1" "$2" 100 "$3" "$ROOT/box/$4" ${5:+"$5"} &
  workers+=($!)
}

outside() {
  "$GUEST/wl" "$1" "$2" 100 "$3" "$ROOT" ${4:+"$4"} &
  workers+=($!)
}

settle() {
  [ ${#workers[@]} -eq 0 ] || wait "${workers[@]}" || die "a workload failed"
  workers=()
}

dismiss() {
  kill "${workers[@]}"
  wait "${workers[@]}"
  workers=()
}

answers() { curl -sf -o /dev/null "http://$HTTP/healthz"; }

# The end of the last stored frame, boot time in ms; 0 before the first
covered_ms() {
  local answer
  answer=$(curl -sf "http://$HTTP/api/v1/machines" | grep -o '"last_t1_ns": *[0-9]*' | head -n 1)
  answer=${answer##*[: ]}
  echo $((${answer:-0} / 1000000))
}
covers() { [ "$(covered_ms)" -ge "$1" ]; }
uptime_ms() {
  local up
  read -r up _ </proc/uptime
  echo $((10#${up/./} * 10))
}

let_in() {
  "$BIN/cbsensor" --state-dir "$S/sensor" --print-key >"$S/key" || die "cbsensor --print-key"
  "$BIN/cbformula" keys --state-dir "$S/formula" add emulated "$(cat "$S/key")" || die "keys add"
}

meter() {
  if [ -n "$RECORD" ]; then
    recorder "$@"
    return
  fi
  let_in
  "$BIN/cbformula" --state-dir "$S/formula" --listen "$LINK" --http "$HTTP" >"$D/formula.log" 2>&1 &
  formula=$!
  until_ok 30 answers || die "cbformula does not answer"
  sense "$@"
  until_ok 30 covers 1 || die "no frame arrived"
}

recorder() {
  let_in
  "$BIN/cbformula" record --state-dir "$S/formula" --listen "$LINK" "$D/frames.cbrec" \
    >"$D/formula.log" 2>&1 &
  formula=$!
  until_ok 30 test -s "$S/formula/formula.pub" || die "cbformula record made no key"
  sense "$@"
  until_ok 30 grep -q ready: "$D/sensor.log" || die "cbsensor is not ready"
}

sense() {
  cat /proc/cbmachine/truth >"$D/begin"
  "$GUEST/record" 200 >"$S/record" & # not over 9p, whose host may be busy
  record=$!
  "$BIN/cbsensor" --state-dir "$S/sensor" --formula "$LINK" --formula-key "$S/formula/formula.pub" \
    --name emulated --tick "$TICK" --cgroup 'box/*' "$@" >"$D/sensor.log" 2>&1 &
  sensor=$!
}

stop() {
  kill "$1" && wait "$1" || die "$2 ended with $?"
}

finish() {
  settle
  [ -n "$sensor" ] || die "it never called meter"
  [ -e "$D/frames.cbrec" ] || until_ok 30 covers "$(uptime_ms)" ||
    die "the end is not covered by a frame"
  stop "$sensor" cbsensor
  stop "$record" record
  cat /proc/cbmachine/truth >"$D/end"
  cp "$S/record" "$D/"
  stop "$formula" cbformula
  [ -e "$D/frames.cbrec" ] || cp "$S"/formula/cbwatts.sqlite* "$D/"
  rm -rf "$S"
  find "$ROOT/box" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null
  return 0
}
