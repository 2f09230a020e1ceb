# shellcheck shell=bash
# common.sh - what the scripts behind make run, up, down and the integration tests share: messages,
# root, the Docker engine's socket, and starting and ending our own parts. Source it.

say() { printf 'cbwatts: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# Root, or a way to become it

may_be_root() { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -- "$@"; fi; }

# The Docker engine

DEFAULT_SOCKET=/var/run/docker.sock

# docker_api SOCKET METHOD PATH [curl options]: the body on stdout; fails on a status of 400 or more
docker_api() {
  local socket=$1 method=$2 path=$3
  shift 3
  curl -sS --fail-with-body --max-time 60 --unix-socket "$socket" -X "$method" "$@" "http://docker$path"
}
engine_answers() { curl -sf --max-time 5 --unix-socket "$1" http://docker/_ping >/dev/null 2>&1; }

# engine_reachable: does the engine answer that a docker command would talk to? Its socket is in
# $engine_socket then.
engine_reachable() {
  local host=${DOCKER_HOST:-unix://$DEFAULT_SOCKET}
  engine_socket=${host#unix://}
  [ "$host" != "$engine_socket" ] && engine_answers "$engine_socket"
}

# Processes

# stop_pid PID [TENTHS]: TERM, and KILL when it is still there after so many tenths of a second
stop_pid() {
  local pid=$1 i
  kill "$pid" 2>/dev/null || return 0
  for ((i = 0; i < ${2:-100}; i++)); do
    is_running "$pid" || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || return 0
}
# a zombie that waits for its parent does not run
is_running() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  [ "$(cut -c 1 <<<"${stat##*) }")" != Z ]
}

port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# free_port DEFAULT: the default, or another port when something listens there
free_port() {
  local port=$1
  while port_in_use "$port"; do port=$((20000 + RANDOM % 20000)); done
  echo "$port"
}

# wait_for SECONDS COMMAND...: poll until the command succeeds
wait_for() {
  local end=$((SECONDS + $1 + 1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.05
  done
}
