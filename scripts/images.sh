#!/usr/bin/env bash
# images.sh SOCKET NAME...: make small images from busybox in the engine at SOCKET, no registry asked.
#
#   cb/sleep N      sleeps N seconds
#   cb/busy N       keeps one CPU busy for N seconds
#   cb/marks W N    prints --++, is busy W seconds (the warm-up), prints ++--, is busy N seconds
#
# An image of that name that is there already stays as it is. Prints the names of those it made.
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh

# root_tree DIR: busybox, a name for each of its commands, and the libraries if it needs any
root_tree() {
  local dir=$1 busybox lib
  busybox=$(command -v busybox) || die "no busybox here: install busybox-static"
  mkdir -p "$dir/bin" "$dir/tmp" "$dir/proc"
  cp "$busybox" "$dir/bin/busybox"
  "$busybox" --list | grep -vx busybox | while read -r lib; do ln -s busybox "$dir/bin/$lib"; done
  for lib in $(ldd "$busybox" 2>/dev/null | grep -oE '/[^ ]+'); do
    mkdir -p "$dir$(dirname "$lib")"
    cp -L "$lib" "$dir$lib"
  done
  cat >"$dir/bin/busy" <<'END'
#!/bin/sh
# burns in a child, so that the time is kept by sleep and not by counting
while :; do :; done &
sleep "${1:-5}"
kill $!
END
  cat >"$dir/bin/marks" <<'END'
#!/bin/sh
echo "--++ warm-up"
busy "${1:-1}"
echo "++-- measured"
busy "${2:-2}"
END
  chmod 755 "$dir/bin/busy" "$dir/bin/marks"
}

# import SOCKET TREE NAME ENTRYPOINT
import() {
  local answer changes
  changes="changes=$(urlencode "ENTRYPOINT [\"/bin/$4\"]")&changes=$(urlencode 'ENV PATH=/bin')"
  if ! answer=$(tar -C "$2" --owner=0 --group=0 -c . |
    docker_api "$1" POST "/images/create?fromSrc=-&repo=$3&tag=latest&$changes" \
      -H 'Content-Type: application/x-tar' -T -) || [[ $answer == *'"error"'* ]]; then
    die "the engine could not make the image $3: $answer"
  fi
  echo "$3"
}
urlencode() {
  local s=$1
  s=${s// /%20} s=${s//\"/%22} s=${s//\[/%5B} s=${s//\]/%5D}
  echo "$s"
}

[ $# -ge 2 ] || die "usage: scripts/images.sh SOCKET NAME..."
socket=$1
shift
tree=
trap 'rm -rf "$tree"' EXIT
for name in "$@"; do
  docker_api "$socket" GET "/images/$name:latest/json" >/dev/null 2>&1 && continue
  [ -n "$tree" ] || { tree=$(mktemp -d) && chmod 755 "$tree" && root_tree "$tree"; }
  case $name in
  cb/sleep | cb/busy | cb/marks) import "$socket" "$tree" "$name" "${name#cb/}" ;;
  *) die "no such image here: $name (cb/sleep, cb/busy, cb/marks)" ;;
  esac
done
