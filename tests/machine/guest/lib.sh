# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# lib.sh - what a scenario can say; it runs in the emulated machine. What it writes to $D is judged.
#
#   control COMMAND          set the machine (/proc/cbmachine/control; module/proc.c)
#   meter [SENSOR OPTION...] start cbformula and cbsensor afresh; from here on the truth counts
#   work KIND DUTY SECONDS NAME [CPU]   a workload (guest/wl.c) in the plain cgroup box/NAME
#   outside KIND DUTY SECONDS [CPU]     the same in no container
#   container NAME CGROUP    judge NAME, whose cgroup is CGROUP in the truth
#   finish                   called after the scenario: wait for the last frame, collect, stop
set -u
. /run/out/env
D=/run/out/$SCENARIO
S=/run/state.$SCENARIO
mkdir -p "$D" "$S"
case $CBM_LAYOUT in
v1) ROOT=/sys/fs/cgroup/perf_event ;;
hybrid) ROOT=/sys/fs/cgroup/unified ;;
*) ROOT=/sys/fs/cgroup ;;
esac

boottime_ns() {
  local up
  read -r up _ </proc/uptime
  echo "${up/./}0000000"
}

control() { echo "$*" >/proc/cbmachine/control; }

box() {
  mkdir -p "$ROOT/box/$1"
  container "$1" "/box/$1"
}
container() { echo "$1 $2" >>"$D/containers"; }
work() {
  box "$4"
  "$GUEST/wl" "$1" "$2" 100 "$3" "$ROOT/box/$4" ${5:+"$5"} &
}
outside() { "$GUEST/wl" "$1" "$2" 100 "$3" "$ROOT" ${4:+"$4"} & }
