#!/usr/bin/env bash
# gobuild.sh DIR PACKAGE: build a server for the tests once into the cache and print its path. DIR has
# the go.mod and go.sum that fix its version; PACKAGE is its main package ("." is DIR itself).
#
# Where `go` is older than go.mod asks for (Debian 12 has 1.19) that one fetches a newer toolchain as
# what it is to the module proxy, the module golang.org/toolchain, checked by its checksum database.
# Only the binary stays: what Go downloads and compiles (1 GB) goes away again.
set -eu
shopt -s inherit_errexit
cd "$1"
package=$2
name=$(basename "$PWD")
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/cbwatts
toolchain=go1.24.4
wanted=$(sed -n 's/^go //p' go.mod)
key=$(cat go.mod go.sum ./*.go | sha256sum | cut -c 1-16)
binary=$cache/$name-$key

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
  rm -f "$cache/$name"-*
  echo "building $name (a minute or two, once) into $cache" >&2
  GOFLAGS="-mod=readonly $GOFLAGS" "$go" build -trimpath -ldflags='-s -w' -o "$binary.$$" "$package" >&2
  mv "$binary.$$" "$binary"
fi
echo "$binary"
