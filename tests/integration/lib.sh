# shellcheck shell=bash
# lib.sh - what every integration test needs: TAP, a scratch directory, and the certainty that
# nothing stays behind. Source it first; end the script with `done_testing`.
#
#   ok NAME COMMAND...      passes when the command succeeds; its output is shown when it does not
#   pass NAME | fail NAME | skip NAME REASON
#   later COMMAND...        run at exit, last given first (stop a process by its pid, unmount, ...)
#   spawn NAME COMMAND...   start a program in the background, log to $T/NAME.log, pid in $NAME_pid;
#                           stopped (TERM, then KILL) at exit
#   wait_for SECONDS COMMAND...  poll until the command succeeds
#   free_port               print a free TCP port of 127.0.0.1
#   $T                      scratch directory, removed at exit
#   $TOP, $BIN              the repository, the programs (BIN can be set to a sanitizer build)
set -u
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${BIN:-$TOP/build/bin}
T=$(mktemp -d "${TMPDIR:-/tmp}/cbtest.XXXXXX")
chmod 755 "$T"
_n=0 _failed=0 _later=()

later() { _later+=("$(printf '%q ' "$@")"); }
_cleanup() {
  local i status=$?
  trap - EXIT INT TERM
  for ((i = ${#_later[@]} - 1; i >= 0; i--)); do eval "${_later[i]}" >>"$T/cleanup.log" 2>&1; done
  [ -n "${KEEP:-}" ] && { echo "# kept: $T"; exit $status; }
  rm -rf "$T"
  exit $status
}
trap _cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

pass() { _n=$((_n + 1)); echo "ok $_n - $1"; }
fail() { _n=$((_n + 1)); _failed=$((_failed + 1)); echo "not ok $_n - $1"; }
skip() { _n=$((_n + 1)); echo "ok $_n - $1 # skip $2"; }
ok() {
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then pass "$name"; else
    fail "$name"
    printf '%s\n' "$out" | tail -n 30 | sed 's/^/# /'
  fi
}
done_testing() {
  echo "1..$_n"
  [ $_failed -eq 0 ]
  exit $?
}

stop_pid() {
  local pid=$1 i
  kill "$pid" 2>/dev/null || return 0
  for ((i = 0; i < ${2:-50}; i++)); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null
}
spawn() {
  local name=$1
  shift
  "$@" >"$T/$name.log" 2>&1 &
  printf -v "${name}_pid" '%s' $!
  later stop_pid $!
}
wait_for() {
  local limit=$1 end
  shift
  end=$(($(date +%s%N) + limit * 1000000000))
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s%N)" -lt $end ] || return 1
    sleep 0.05
  done
}
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
