#!/usr/bin/env bash
# down.sh (make down): stop what `make up` started and remove what it made. Harmless when nothing is up.
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh
up=$PWD/build/up

if [ ! -d "$up" ]; then
  say "nothing is up"
  exit
fi
[ "${1:-}" = stop ] || become_root scripts/down.sh stop
lock_up
trap '' INT TERM HUP
stop_all "$up"
rm -rf "$up"
say "all is down"
