#!/usr/bin/env bash
# engine.sh start DIR [SOCKET] | stop DIR: a private Docker engine with everything below DIR.
#
# It makes no bridge, no iptables rule and no forwarding, so containers have --network none or host.
# `stop` ends it with its containers, containerd and mounts, and removes what it made below DIR and
# the socket. Both need root. SOCKET is DIR/docker.sock unless given (`make up` gives Docker's own).
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh

start() {
  local dir=$1 socket=${2:-$1/docker.sock} pid
  command -v dockerd >/dev/null || die "no dockerd here: install docker.io"
  [ ${#socket} -le 100 ] || die "the path $socket is too long for a socket: use a shorter TMPDIR"
  # The cgroup directory named docker is shared by all engines: it goes with us only if it came with us.
  compgen -G '/sys/fs/cgroup/*/docker' >/dev/null || [ -d /sys/fs/cgroup/docker ] ||
    touch "$dir/engine-made-cgroup"
  echo "$socket" >"$dir/engine-socket"
  trap 'stop "$dir"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  # Its own containerd name spaces, for when it finds a containerd of the system and uses that one.
  # setsid: a Ctrl-C in the terminal is ours to carry out, in order.
  setsid dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/dockerd-own.pid" \
    --host "unix://$socket" --bridge=none --iptables=false --ip6tables=false --ip-forward=false \
    --containerd-namespace "cbwatts-$$" --containerd-plugins-namespace "cbwatts-plugins-$$" \
    >"$dir/dockerd.log" 2>&1 </dev/null &
  pid=$!
  save_pid "$dir/dockerd.pid" "$pid"
  wait_for 60 answers_or_died "$socket" "$pid" || die "dockerd did not answer on $socket in 60 s"
  if ! engine_answers "$socket"; then
    die "dockerd did not start: $(sed -n 's/.*msg="\(.*\)"$/\1/p; /^failed/p' "$dir/dockerd.log" | tail -n 1)"
  fi
  trap - EXIT
}
answers_or_died() { engine_answers "$1" || ! is_running "$2"; }

stop() {
  local dir=$1 socket pid id
  trap '' INT TERM HUP
  [ -e "$dir/engine-socket" ] || return 0
  socket=$(cat "$dir/engine-socket")
  if pid=$(saved_pid "$dir/dockerd.pid"); then
    for id in $(docker_api "$socket" GET '/containers/json?all=1' 2>/dev/null |
      grep -oE '"Id":"[0-9a-f]{64}"' | cut -d '"' -f 4); do
      docker_api "$socket" DELETE "/containers/$id?force=1&v=1" >/dev/null 2>&1 || :
    done
    stop_pid "$pid" 200
  fi
  # what a killed dockerd leaves: its containerd and shims, which name our directory, containers
  for pid in $(pids_naming "$dir/"); do stop_pid "$pid" 30; done
  for id in "$dir"/data/containers/*; do end_container "${id##*/}"; done
  engine_answers "$socket" || rm -f "$socket"
  unmount_below "$dir"
  rm -rf "$dir/data" "$dir/exec"
  if [ -e "$dir/engine-made-cgroup" ]; then
    find /sys/fs/cgroup -maxdepth 2 -name docker -type d -exec rmdir {} + 2>/dev/null || :
  fi
  rm -f "$dir/engine-made-cgroup" "$dir/engine-socket" "$dir/dockerd.pid" "$dir/dockerd-own.pid"
}

# pids_naming TEXT: dockerd, containerd and shims with the text on their command line
pids_naming() {
  local p
  for p in /proc/[0-9]*; do
    case $(tr '\0' ' ' <"$p/cmdline") in
    *dockerd*"$1"* | *containerd*"$1"*) echo "${p#/proc/}" ;;
    esac
  done 2>/dev/null
}

# end_container ID: what is left of it in the cgroups
end_container() {
  local c
  for c in /sys/fs/cgroup/docker/"$1" /sys/fs/cgroup/*/docker/"$1"; do
    [ -d "$c" ] || continue
    xargs -r kill -KILL <"$c/cgroup.procs" || :
    wait_for 5 rmdir "$c" 2>/dev/null || say "cannot remove $c"
  done
}

unmount_below() {
  local m
  # the last mounted goes first
  awk -v d="$1/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | tac |
    while read -r m; do umount "$m" 2>/dev/null || umount -l "$m"; done
}

case ${1:-} in
start | stop)
  [ $# -ge 2 ] || die "usage: scripts/engine.sh start DIR [SOCKET] | stop DIR"
  [ "$(id -u)" -eq 0 ] || die "a private Docker engine needs root: run it as root or with sudo"
  [ "$1" != start ] || mkdir -p "$2"
  [ -d "$2" ] || exit 0
  "$1" "$(cd "$2" && pwd)" "${@:3}"
  ;;
*) die "usage: scripts/engine.sh start DIR [SOCKET] | stop DIR" ;;
esac
