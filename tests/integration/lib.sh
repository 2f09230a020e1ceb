# shellcheck shell=bash
# lib.sh - what every integration test needs: TAP, a scratch directory, the parts of cbwatts, and the
# certainty that nothing stays behind. Source it first; end the script with `done_testing`.
#
#   ok NAME COMMAND...      passes when the command succeeds; its output is shown when it does not
#   is NAME WANT GOT        passes when both are the same
#   like NAME PATTERN TEXT  passes when the extended regular expression matches
#   pass NAME | fail NAME [TEXT] | skip NAME REASON
#   later COMMAND...        run at the end, last given first (unmount, ...)
#   spawn NAME COMMAND...   a program in the background with $T/NAME.log, pid in $NAME_pid, stopped
#                           at the end
#   done_testing            run what was put off, see that nothing stays behind, print the plan
#   $T                      scratch directory, removed at exit (KEEP=1 keeps it)
#   $TOP, $BIN              the repository, the programs (BIN can be set to a sanitizer build)
#
# and all of scripts/common.sh: start_engine, make_keys, start_formula, start_sensor, stop_all,
# wait_for, free_port, docker_api, stop_pid, ... The engine is always a private one below $T.
set -u
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${BIN:-$TOP/build/bin}
T=$(mktemp -d "${TMPDIR:-/tmp}/cbtest.XXXXXX")
chmod 755 "$T"
cd "$TOP" || exit 2
# shellcheck source=scripts/common.sh
. scripts/common.sh
# servers that scripts/setup.sh has unpacked for the tests
for _dir in "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}"/cbwatts/debian/*/usr/bin; do PATH=$PATH:$_dir; done
# no engine, formula or proxy of the user's is meant
export DOCKER_HOST=unix://$T/engine/docker.sock
unset CBFORMULA_URL http_proxy HTTP_PROXY
_n=0 _failed=0 _later=()

# what the tests may change outside $T and no other process changes meanwhile
_state() {
  awk -v t="$T/" 'index($5, "/sys/fs/cgroup") == 1 || index($5, t) == 1 { print "mount", $5 }' /proc/self/mountinfo
  iptables -S 2>/dev/null | sed 's/^/iptables /'
  compgen -G "${TMPDIR:-/tmp}/cbwatts-run.*"
}
# the cgroups of the containers that our engine had, by its log
_cgroups() {
  grep -hoE '[0-9a-f]{64}' "$T/engine/dockerd.log" 2>/dev/null | sort -u | while read -r id; do
    compgen -G "/sys/fs/cgroup/*/docker/$id" || compgen -G "/sys/fs/cgroup/docker/$id"
  done
}
_processes() {
  local p
  for p in /proc/[0-9]*; do
    case "$(tr '\0' ' ' <"$p/cmdline") $(readlink "$p/exe" "$p/cwd")" in
    *"$T"*) [ "${p#/proc/}" = $$ ] || echo "process ${p#/proc/}: $(tr '\0' ' ' <"$p/cmdline")" ;;
    esac 2>/dev/null
  done
}
# what was not there before: to stdout; fails when there is something
_stays_behind() {
  local more
  more=$(_processes; _cgroups; _state | sort | comm -23 - <(echo "$_before"))
  [ -z "$more" ] || { echo "$more" && return 1; }
}
_run_later() {
  local i
  for ((i = ${#_later[@]} - 1; i >= 0; i--)); do eval "${_later[i]}" >>"$T/cleanup.log" 2>&1; done
  _later=()
}
_cleanup() {
  local status=$?
  trap '' INT TERM
  trap - EXIT
  _run_later
  if [ -n "${KEEP:-}" ]; then echo "# kept: $T"; else rm -rf "$T"; fi
  exit $status
}
trap _cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
_before=$(_state | sort)

later() { _later+=("$(printf '%q ' "$@")"); }
pass() { _n=$((_n + 1)); echo "ok $_n - $1"; }
skip() { _n=$((_n + 1)); echo "ok $_n - $1 # skip $2"; }
fail() {
  _n=$((_n + 1)) _failed=$((_failed + 1))
  echo "not ok $_n - $1"
  [ $# -eq 1 ] || printf '%s\n' "$2" | tail -n 30 | sed 's/^/# /'
}
ok() {
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then pass "$name"; else fail "$name" "$out"; fi
}
is() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "want: $2"$'\n'"got:  $3"; fi; }
like() { if [[ $3 =~ $2 ]]; then pass "$1"; else fail "$1" "no match of $2 in: $3"; fi; }
spawn() {
  local name=$1
  shift
  "$@" >"$T/$name.log" 2>&1 &
  printf -v "${name}_pid" '%s' $!
  later stop_pid $!
}
done_testing() {
  cd "$TOP" || exit
  _run_later
  ok "nothing stays behind" wait_for 5 _stays_behind
  echo "1..$_n"
  [ $_failed -eq 0 ]
  exit $?
}
