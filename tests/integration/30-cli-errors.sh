#!/usr/bin/env bash
# Every failure is one line that names the remedy, the exit code says so, and nothing half-started
# stays: no process, container, mount or file.
# limit: 120s
. "$(dirname "$0")/lib.sh"
later stop_all "$T"
nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent)

# refuses NAME CODE PATTERN COMMAND...: one line on stderr that matches, that exit code, no output.
# CODE "some": any but 0.
refuses() {
  local name=$1 want=$2 pattern=$3 code
  shift 3
  timeout 30 "$@" >"$T/out" 2>"$T/err" </dev/null
  code=$?
  [ "$want" = some ] && [ $code -ne 0 ] && [ $code -lt 124 ] && want=$code
  if [ $code = "$want" ] && [ "$(wc -l <"$T/err")" -eq 1 ] && grep -qiE -e "$pattern" "$T/err" && [ ! -s "$T/out" ]; then
    pass "$name"
  else
    fail "$name" "exit code $code, want $want and one line like $pattern, got:"$'\n'"$(cat "$T/err" "$T/out")"
  fi
}
tester=("$BIN/cbtester" --lock-file "$T/lock")
sensor=("$BIN/cbsensor" --state-dir "$T/sensor" --formula tcp://127.0.0.1:1)
formula=("$BIN/cbformula" --state-dir "$T/f2")

# Options
refuses "cbtester without an image" some '^usage: cbtester' "${tester[@]}"
refuses "cbtester with an unknown flag" some "unknown option '--nope'.*--help" "${tester[@]}" --nope cb/busy
refuses "cbsensor with an unknown flag" some "unknown option '--nope'.*--help" "$BIN/cbsensor" --nope
refuses "cbformula with an unknown flag" some "unknown option '--nope'.*--help" "$BIN/cbformula" --nope
refuses "cbsensor with a bad tick" some 'tick' "${sensor[@]}" --tick banana
refuses "cbformula with a bad address" some 'listen|address|tcp' "${formula[@]}" --listen banana

# No Docker, no formula
refuses "cbtester without Docker" 125 'docker.*(start|DOCKER_HOST)' \
  env DOCKER_HOST="unix://$T/nothing.sock" "${tester[@]}" cb/busy 1
start_engine "$T" "" cb/busy || exit
api() { docker_api "$engine_socket" "$@"; }
closed_port=$(free_port)
export DOCKER_HOST=unix://$engine_socket CBFORMULA_URL=http://127.0.0.1:$closed_port
refuses "cbtester without cbformula" 125 'cbformula.*(start|CBFORMULA_URL)' "${tester[@]}" cb/busy 1
is "it had not made a container" '[]' "$(api GET '/containers/json?all=1')"
refuses "cbtester as an ordinary user" 125 'sudo|group docker' "${nobody[@]}" "$BIN/cbtester" cb/busy 1

# The servers
make_keys "$T" && start_formula "$T" || exit
CBFORMULA_URL=$formula_url
refuses "cbtester without a sensor on this machine" 125 'sensor' "${tester[@]}" cb/busy 1
is "it had not made a container either" '[]' "$(api GET '/containers/json?all=1')"
start_sensor "$T" || exit
refuses "cbtester with a wrong image" 125 'no such image|nosuch.*(pull|image)' "${tester[@]}" nosuch/image:1
is "no container is left of it" '[]' "$(api GET '/containers/json?all=1')"
http_port=${formula_url##*:}
refuses "cbformula on a HTTP port in use" some "$http_port.*(in use|--http)" \
  "${formula[@]}" --http "127.0.0.1:$http_port" --listen "tcp://127.0.0.1:$(free_port)"
refuses "cbformula on a link port in use" some "$link_port.*(in use|--listen)" \
  "${formula[@]}" --listen "tcp://127.0.0.1:$link_port" --http "127.0.0.1:$(free_port)"
refuses "cbformula on the state of a running one" some 'another|in use|running|locked' \
  "$BIN/cbformula" --state-dir "$T/formula" --listen "tcp://127.0.0.1:$(free_port)" --http "127.0.0.1:$(free_port)"

# State directories
mkdir "$T/ro" && mount -t tmpfs -o ro tmpfs "$T/ro" && later umount "$T/ro"
refuses "cbsensor with a read-only state directory" some "$T/ro.*--state-dir|--state-dir.*$T/ro|read-only" \
  "$BIN/cbsensor" --state-dir "$T/ro/sensor" --formula tcp://127.0.0.1:1 --formula-key "$T/formula/formula.pub"
refuses "cbformula with a read-only state directory" some "$T/ro.*--state-dir|--state-dir.*$T/ro|read-only" \
  "$BIN/cbformula" --state-dir "$T/ro/formula" --listen "tcp://127.0.0.1:$(free_port)" --http "127.0.0.1:$(free_port)"
refuses "cbsensor as an ordinary user" some 'root|sudo|CAP_|capabilit|rights' \
  "${nobody[@]}" "$BIN/cbsensor" --state-dir "$T/nobody" --formula tcp://127.0.0.1:1
mkdir "$T/own" && cp "$T/formula/formula.pub" "$T/own/" && chown -R 65534:65534 "$T/own" &&
  "${nobody[@]}" "$BIN/cbsensor" --state-dir "$T/own" --print-key >/dev/null
refuses "cbsensor as an ordinary user with a state directory" some 'root|sudo|CAP_|capabilit|rights' \
  "${nobody[@]}" "$BIN/cbsensor" --state-dir "$T/own" --formula tcp://127.0.0.1:1 --formula-key "$T/own/formula.pub"
# as on a machine that has just come up: the hierarchy has no cgroup yet
bare=$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo)/cbtest.bare.$$
later rmdir "$bare"
mkdir "$bare" && refuses "cbsensor as an ordinary user where there is no cgroup" some 'root|sudo|CAP_|capabilit|rights' \
  bash -c 'echo $$ >"$0/cgroup.procs" && exec unshare --cgroup --mount bash -c "
    umount -a -t cgroup,cgroup2; mount -t cgroup2 none /sys/fs/cgroup && exec \"\$@\"" sh "$@"' "$bare" \
  "${nobody[@]}" "$BIN/cbsensor" --state-dir "$T/own" --formula tcp://127.0.0.1:1 --formula-key "$T/own/formula.pub"
refuses "cbformula as an ordinary user without a state directory of its own" some '--state-dir|rights|permission' \
  "${nobody[@]}" "$BIN/cbformula" --state-dir "$T/nobody" --listen "tcp://127.0.0.1:$(free_port)" \
  --http "127.0.0.1:$(free_port)"
refuses "make run's engine as an ordinary user" some 'root.*sudo' "${nobody[@]}" scripts/engine.sh start "$T/nobody"

# The set-up
mkdir "$T/bin" && for c in bash env id dirname uname cat awk grep cut nproc curl pkg-config gcc; do
  ln -s "$(command -v $c)" "$T/bin/$c"
done
refuses "the set-up on another distribution" some 'no apt-get.*install' env PATH="$T/bin" scripts/setup.sh test

# of what was refused nothing runs on
is "nothing half-started is left" "" "$(pgrep -af -- "--state-dir $T/(f2|ro|nobody|own)")"
done_testing
