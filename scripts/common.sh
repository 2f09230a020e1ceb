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

# become_root SCRIPT ARG: go on as root, by sudo where we are not; returns when we are root
become_root() {
  [ "$(id -u)" -ne 0 ] || return 0
  command -v sudo >/dev/null || die "needs root to read counters and containers: run it as root or with sudo"
  say "needs root to read counters and containers: using sudo"
  exec sudo -- env BIN="${BIN:-}" DOCKER_HOST="${DOCKER_HOST:-unix://$DEFAULT_SOCKET}" "$@"
}
# lock_up: one `make up` or `make down` at a time; descriptor 9 holds the lock until we end
lock_up() {
  exec 9>build/up.lock
  flock -n 9 || die "another make up or make down is at work: try again when it is done"
}
# A make of its own: the one that calls us asked pkg-config before it was installed.
# shellcheck disable=SC2034 # for those who source this
BUILD=(env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s "-j$(nproc)" all)

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

# The place where every Docker program looks, when no socket or only a dead one is there
default_socket_if_free() {
  if [ ! -e "$DEFAULT_SOCKET" ] || { [ -S "$DEFAULT_SOCKET" ] && ! engine_answers "$DEFAULT_SOCKET"; }; then
    echo "$DEFAULT_SOCKET"
  fi
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


# A pid file holds the pid and the time it started, so that a later process of that number is safe.
start_time() { awk '{ sub(/.*\) /, ""); print $20 }' "/proc/$1/stat" 2>/dev/null; }
save_pid() { echo "$2 $(start_time "$2")" >"$1"; }
# saved_pid FILE: print the pid if that process still runs
saved_pid() {
  local pid time
  read -r pid time 2>/dev/null <"$1" || return 1
  is_running "$pid" && [ "$(start_time "$pid")" = "$time" ] && echo "$pid"
}
stop_saved() {
  local pid
  pid=$(saved_pid "$1") && stop_pid "$pid" "${2:-100}"
  rm -f "$1"
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

port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# free_port [DEFAULT]: the default, or another port, below those that connections take, when something
# listens there
free_port() {
  local port=${1:-$((20000 + RANDOM % 12000))}
  while port_in_use "$port"; do port=$((20000 + RANDOM % 12000)); done
  echo "$port"
}


# Our parts. Everything of one run is below one directory DIR:
#   engine/ (a private engine), images (made in somebody else's engine), env, formula/ sensor/ (state),
#   *.pid, *.log

# in_background DIR NAME COMMAND...: a daemon with DIR/NAME.log and DIR/NAME.pid
in_background() {
  local dir=$1 name=$2
  shift 2
  # setsid: a Ctrl-C in the terminal is the caller's to carry out, in order
  setsid "$@" >"$dir/$name.log" 2>&1 </dev/null 9>&- &
  save_pid "$dir/$name.pid" $!
}
# came_up DIR NAME COMMAND...: wait until the command succeeds; say why not when the daemon ended
came_up() {
  local dir=$1 name=$2
  shift 2
  wait_for 20 up_or_ended "$dir/$name.pid" "$@" || die "$name is not ready after 20 s: see $dir/$name.log"
  saved_pid "$dir/$name.pid" >/dev/null || die "$(tail -n 1 "$dir/$name.log")"
}
up_or_ended() {
  local file=$1
  shift
  "$@" >/dev/null 2>&1 || ! saved_pid "$file" >/dev/null
}

# start_engine DIR [SOCKET] [IMAGE...]: the engine that answers, or a private one on SOCKET (on one
# below DIR when it is ""); and the images. Sets engine_socket.
start_engine() {
  local dir=$1 socket=$2
  shift 2
  if engine_reachable; then
    say "the Docker engine at $engine_socket"
    echo "$engine_socket" >"$dir/images-socket"
    scripts/images.sh "$engine_socket" "$@" >"$dir/images" || return
  else
    engine_socket=${socket:-$dir/engine/docker.sock}
    say "no Docker engine answers at ${DOCKER_HOST:-$DEFAULT_SOCKET}: a private one at $engine_socket"
    scripts/engine.sh start "$dir/engine" "$engine_socket" 9>&- || return
    scripts/images.sh "$engine_socket" "$@" >/dev/null || return
  fi
}

SENSOR_NAME=$(uname -n)
# make_keys DIR: the sensor's keys; the formula lets it in
make_keys() {
  local dir=$1 key
  key=$("$BIN/cbsensor" --state-dir "$dir/sensor" --print-key) || return
  "$BIN/cbformula" --state-dir "$dir/formula" keys add "$SENSOR_NAME" "$key" >&2
}
# start_formula DIR [options]: on free ports; sets link_port, formula_url
start_formula() {
  local dir=$1 http_port
  shift
  link_port=$(free_port 9770) http_port=$(free_port 9771)
  formula_url=http://127.0.0.1:$http_port
  in_background "$dir" cbformula "$BIN/cbformula" --state-dir "$dir/formula" \
    --listen "tcp://127.0.0.1:$link_port" --http "127.0.0.1:$http_port" "$@"
  came_up "$dir" cbformula curl -sf --max-time 2 "$formula_url/healthz"
}
# start_sensor DIR [options]: it is ready when its first frame is stored
start_sensor() {
  local dir=$1
  shift
  in_background "$dir" cbsensor "$BIN/cbsensor" --state-dir "$dir/sensor" \
    --docker-host "unix://$engine_socket" --name "$SENSOR_NAME" \
    --formula "tcp://127.0.0.1:$link_port" --formula-key "$dir/formula/formula.pub" "$@"
  came_up "$dir" cbsensor has_frames
}
has_frames() {
  curl -sf --max-time 2 "$formula_url/api/v1/machines" | grep -qE '"frames": ?[1-9]'
}

# stop_all DIR: undo all of the above, in order; files stay
stop_all() {
  local dir=$1 name
  [ -d "$dir" ] || return 0
  stop_saved "$dir/cbsensor.pid"
  stop_saved "$dir/cbformula.pid"
  if [ -s "$dir/images" ]; then
    while read -r name; do
      docker_api "$(cat "$dir/images-socket")" DELETE "/images/$name:latest" >/dev/null || :
    done <"$dir/images"
  fi
  rm -f "$dir/images"
  scripts/engine.sh stop "$dir/engine"
}
