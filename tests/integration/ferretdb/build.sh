#!/usr/bin/env bash
# build.sh: build the tests' MongoDB server once into the cache and print its path.
#
# It needs Go 1.24. Where `go` is older (Debian 12 has 1.19) that one fetches a newer toolchain as
# what it is to the module proxy, the module golang.org/toolchain, checked by its checksum database.
# Only the binary stays: what Go downloads and compiles (1.3 GB) goes away again.
set -eu
shopt -s inherit_errexit
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/cbwatts
toolchain=go1.24.4
wanted=1.24
key=$(cat go.mod go.sum main.go | sha256sum | cut -c 1-16)
binary=$cache/ferretdb-$key

# new_enough GO: is it at least the version that go.mod asks for?
new_enough() {
  local have
  have=$(GOTOOLCHAIN=local "$1" version 2>/dev/null | sed -n 's/.* go\([0-9.]*\).*/\1/p')
  [ -n "$have" ] && printf '%s\n%s\n' "$wanted" "$have" | sort -V -C
}

# find_go: print the path of a Go that will do, fetched if need be
find_go() {
  local arch old dir module
  arch=$(dpkg --print-architecture)
  module=golang.org/toolchain@v0.0.1-$toolchain.linux-$arch
  if command -v go >/dev/null && new_enough go; then
    command -v go
    return
  fi
  old=$(command -v go || compgen -G '/usr/lib/go-*/bin/go' | tail -n 1)
  [ -n "$old" ] || { echo "no Go here: install golang-go" >&2 && return 1; }
  echo "fetching Go $toolchain" >&2
  (cd / && "$old" mod download "$module" >&2)
  dir=$GOPATH/pkg/mod/$module
  # a module has no executable files
  chmod +x "$dir"/bin/* "$dir"/pkg/tool/*/*
  echo "$dir/bin/go"
}

if [ ! -x "$binary" ]; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  trap 'exit 130' INT TERM
  export GOPATH=$work GOCACHE=$work/cache GO111MODULE=on GOFLAGS=-modcacherw GOTOOLCHAIN=local CGO_ENABLED=0
  go=$(find_go)
  rm -f "$cache"/ferretdb-*
  echo "building FerretDB (a minute or two, once) into $cache" >&2
  GOFLAGS="-mod=readonly $GOFLAGS" "$go" build -trimpath -ldflags='-s -w' -o "$binary.$$" . >&2
  mv "$binary.$$" "$binary"
fi
echo "$binary"
