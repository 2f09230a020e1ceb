#!/usr/bin/env bash
# up.sh (make up): the parts of `make run`, kept running below build/up/ until `make down`.
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh
BIN=${BIN:-build/bin}
up=$PWD/build/up

how_to_use() {
  local env
  env=$(grep -E '^export ' "$up/env" || :)
  cat <<END
cbwatts is up: cbsensor measures this machine, cbformula answers at $(sed -n 's/^# formula //p' "$up/env").
${env:+
In each shell, first:
$env
}
Measure a container:   ${SUDO_USER:+sudo }$BIN/cbtester cb/busy 5
The recap as JSON:     ${SUDO_USER:+sudo }$BIN/cbtester --json cb/busy 5
Any image will do:     ${SUDO_USER:+sudo }$BIN/cbtester IMAGE ARGS...
Stop it all:           make down
Logs:                  $up/cbsensor.log $up/cbformula.log
END
}
all_up() {
  [ -e "$up/env" ] && saved_pid "$up/cbsensor.pid" >/dev/null && saved_pid "$up/cbformula.pid" >/dev/null &&
    engine_answers "$(sed -n 's/^# engine //p' "$up/env")"
}

if [ "${1:-}" != start ]; then
  scripts/setup.sh build
  "${BUILD[@]}" >&2
  become_root scripts/up.sh start
fi

lock_up
if all_up; then
  how_to_use
  exit
fi
if [ -d "$up" ]; then
  say "a part of the last make up has ended: starting again"
  stop_all "$up"
  rm -rf "$up"
fi

undo() {
  local status=$?
  trap '' INT TERM HUP
  stop_all "$up"
  rm -rf "$up"
  exit $status
}
trap undo EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$up"
start_engine "$up" "$(default_socket_if_free)" cb/sleep cb/busy cb/marks
make_keys "$up"
start_formula "$up"
start_sensor "$up"
{
  echo "# engine $engine_socket"
  echo "# formula $formula_url"
  [ "$engine_socket" = "$DEFAULT_SOCKET" ] || echo "export DOCKER_HOST=unix://$engine_socket"
  [ "$formula_url" = http://127.0.0.1:9771 ] || echo "export CBFORMULA_URL=$formula_url"
} >"$up/env"
trap - EXIT
how_to_use
