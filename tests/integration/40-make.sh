#!/usr/bin/env bash
# In a fresh clone: make run, twice; Ctrl-C in it; make up, cbtester, make down.
# limit: 420s
. "$(dirname "$0")/lib.sh"
figures() { /usr/bin/python3 "$TOP/tests/integration/figures.py" "$@"; }
export TMPDIR=$T XDG_CACHE_HOME=$T/cache
git clone -q "$TOP" "$T/clone" && cd "$T/clone" || exit
later stop_all "$T/clone/build/up"
# what `make run` starts is below $T too, so that the look behind at the end finds it
runs() { compgen -G "$T/cbwatts-run.*"; }

timed() { # timed NAME COMMAND...: seconds in $took
  local begin=$EPOCHREALTIME
  "${@:2}" >"$T/$1.out" 2>"$T/$1.err" </dev/null
  local status=$? end=$EPOCHREALTIME
  took=$(((${end/./} - ${begin/./}) / 1000000))
  echo "# $1: exit $status after $took s"
  return $status
}

timed first make run
is "make run works in a fresh clone" 0 $?
like "it shows both containers" 'sleep.*busy' "$(tr '\n' ' ' <"$T/first.out")"
like "and what they were measured by" 'estimate|perf|powercap' "$(cat "$T/first.out")"
sed 's/^/# /' "$T/first.out"
[ -s "$T/first.out" ] || fail "make run said" "$(cat "$T/first.err")"
timed second make run
is "make run works again" 0 $?
ok "in under 30 s ($took s)" [ "$took" -lt 30 ]
is "nothing of it stays" "" "$(runs)"

# A signal at several moments. In a session of its own, so that the whole group gets a Ctrl-C.
interrupted() { # interrupted SIGNAL TARGET SECONDS [PATTERN to wait for in its messages]
  local pid
  setsid scripts/run.sh >"$T/int.out" 2>"$T/int.err" </dev/null &
  pid=$!
  [ $# -lt 4 ] || wait_for 20 grep -q "$4" "$T/int.err"
  sleep "$3"
  kill -"$1" -- "$2$pid"
  wait $pid
}
# python3: a background job of this shell would ignore SIGINT
group_int() { /usr/bin/python3 -c '
import os, signal, subprocess, sys, time
p = subprocess.Popen(["scripts/run.sh"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                     stderr=open(sys.argv[1], "w"), start_new_session=True)
while p.poll() is None and sys.argv[2] not in open(sys.argv[1]).read():
    time.sleep(0.05)
time.sleep(float(sys.argv[3]))
os.killpg(p.pid, signal.SIGINT)
sys.exit(p.wait() % 256)' "$@"; }
group_int "$T/int.err" "private one" 0.15
is "Ctrl-C while the engine starts" 130 $?
is "leaves nothing" "" "$(runs; pgrep -af "$T/cbwatts-run")"

# the engine of somebody else: our images go from it, and only ours
start_engine "$T" "" cb/sleep || exit
export DOCKER_HOST=unix://$engine_socket
group_int "$T/int.err" "cbtester cb/sleep" 1.5
is "Ctrl-C while a container runs" 130 $?
is "leaves nothing" "" "$(runs; pgrep -af "$T/cbwatts-run")"
is "no container in somebody else's engine" '[]' "$(docker_api "$engine_socket" GET '/containers/json?all=1')"
is "no image of ours, and theirs still" '"cb/sleep:latest"' \
  "$(docker_api "$engine_socket" GET /images/json | grep -oE '"cb/[a-z]+:latest"')"
interrupted TERM "" 0.5 "cbtester cb/sleep"
is "a TERM while a container runs" 143 $?
is "leaves nothing" "" "$(runs; pgrep -af "$T/cbwatts-run")"
scripts/engine.sh stop "$T/engine"
rm -f "$T/images" "$T/images-socket"

# make up, as a user would: no variable set
unset DOCKER_HOST
timed up make up
is "make up works" 0 $?
like "and says how to use it" 'cbtester' "$(cat "$T/up.out")"
# what it printed to be set, if Docker's own place or our ports were taken
eval "$(grep '^export ' "$T/up.out")"
build/bin/cbtester --json cb/busy 2 >"$T/recap.json" 2>"$T/tester.err"
is "cbtester works then" 0 $?
ok "its recap adds up exactly" figures recap "$T/recap.json"
timed again make up
is "make up again is harmless" 0 $?
is "and changed nothing" "$(cat "$T/up.out")" "$(cat "$T/again.out")"
stop_saved build/up/cbsensor.pid
timed repaired make up
is "make up starts what has ended" 0 $?
timed down make down
is "make down works" 0 $?
ok "and leaves nothing in build/up" [ ! -e build/up ]
timed nothing make down
is "make down again is harmless" 0 $?
done_testing
