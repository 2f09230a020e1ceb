#!/usr/bin/env bash
# setup.sh build|test|machine: install what is missing, on Debian as root or with sudo.
#
# Says what it installs and does nothing, quickly, when all is there. `test` is `build` and what the
# tests need besides; `machine` is what the emulated machine of tests/machine needs.
set -eu
cd "$(dirname "$0")/.."
. scripts/common.sh
unpacked=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/cbwatts/debian

# One line for each need: the Debian package, and how to see on another system that it is there
# (cmd:NAME, lib:PKG-CONFIG-NAME, inc:HEADER or py:MODULE).
needs_build='
build-essential cmd:gcc
pkg-config cmd:pkg-config
libmongoc-dev lib:libmongoc-1.0
libbson-dev lib:libbson-1.0
libpfm4-dev inc:perfmon/pfmlib.h
libzmq3-dev lib:libzmq
libcurl4-openssl-dev lib:libcurl
libsqlite3-dev lib:sqlite3
libmicrohttpd-dev lib:libmicrohttpd
libjansson-dev lib:jansson
libcap-ng-dev lib:libcap-ng
libseccomp-dev lib:libseccomp
libzstd-dev lib:libzstd
libyaml-dev lib:yaml-0.1
zlib1g-dev lib:zlib
curl cmd:curl'
needs_test='
libcmocka-dev lib:cmocka
liblapacke-dev inc:lapacke.h
clang cmd:clang
libbpf-dev lib:libbpf
bpftool cmd:bpftool
clang-format cmd:clang-format
libclang-rt-14-dev cmd:clang
git cmd:git
ca-certificates cmd:curl
python3 cmd:/usr/bin/python3
sqlite3 cmd:sqlite3
iproute2 cmd:ip
procps cmd:pgrep
docker-compose cmd:docker-compose
jupyter-nbconvert cmd:jupyter
python3-ipykernel py:ipykernel
python3-pandas py:pandas
python3-matplotlib py:matplotlib
python3-pymongo py:pymongo'
needs_machine='
qemu-system-x86 cmd:qemu-system-x86_64
linux-headers-amd64 cmd:gcc
cpio cmd:cpio
iproute2 cmd:ip
kmod cmd:insmod
python3 cmd:/usr/bin/python3
python3-pymongo py:pymongo
python3-venv py:ensurepip
zstd cmd:zstd'

# Servers that only tests start. They are unpacked below the cache and not installed: as services they
# would run on this machine from then on. (package program)
unpacked_test='
influxdb influxd
prometheus promtool'

# wanted WHAT: the needs of a purpose, one "package check" a line
wanted() {
  printf '%s\n' "$needs_build"
  # An engine that is there (Docker's own packages, say) must not be replaced by Debian's.
  command -v dockerd >/dev/null || engine_reachable || echo 'docker.io cmd:dockerd'
  command -v busybox >/dev/null || echo 'busybox-static cmd:busybox'
  case $1 in
  test)
    printf '%s\n' "$needs_test"
    command -v go >/dev/null || echo 'golang-go cmd:go'
    printf '%s\n' "$needs_machine"
    ;;
  machine)
    printf '%s\n' "$needs_machine"
    command -v go >/dev/null || echo 'golang-go cmd:go'
    ;;
  esac
}

missing_debian() {
  local names
  names=$(wanted "$1" | awk 'NF && !seen[$1]++ { print $1 }')
  # shellcheck disable=SC2086
  { dpkg-query -W -f '${db:Status-Status} ${Package}\n' $names 2>/dev/null || :; } |
    awk -v names="$names" '
      $1 == "installed" { have[$2] = 1 }
      END { n = split(names, a, "\n"); for (i = 1; i <= n; i++) if (!(a[i] in have)) print a[i] }'
}

missing_elsewhere() {
  local package check
  wanted "$1" | while read -r package check; do
    case $check in
    cmd:*) command -v "${check#cmd:}" >/dev/null || echo "$package" ;;
    lib:*) pkg-config --exists "${check#lib:}" 2>/dev/null || echo "$package" ;;
    py:*) /usr/bin/python3 -c "import ${check#py:}" 2>/dev/null || echo "$package" ;;
    inc:*) echo "#include <${check#inc:}>" | gcc -E - >/dev/null 2>&1 || echo "$package" ;;
    esac
  done
}

missing_unpacked() {
  local package program
  while read -r package program; do
    [ -z "$package" ] || command -v "$program" >/dev/null || echo "$package"
  done <<<"$unpacked_test"
}

# install PACKAGE...: an old or missing package list is fetched anew, once
install() {
  local log
  log=$(mktemp)
  # shellcheck disable=SC2064
  trap "rm -f '$log'" EXIT
  set -- env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq -y \
    --no-install-recommends install "$@"
  if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || ! as_root "$@" >"$log" 2>&1; then
    say "updating the package lists: apt-get update"
    as_root apt-get -o DPkg::Lock::Timeout=300 -qq update >"$log" 2>&1 || failed_install "$log"
    as_root "$@" >"$log" 2>&1 || failed_install "$log"
  fi
}

failed_install() {
  die "apt-get could not install what is missing: $(grep -m 1 '^E:' "$1" || tail -n 1 "$1")"
}

# unpack PACKAGE
unpack() {
  local dir=$unpacked/$1 work
  [ ! -d "$dir" ] || return 0
  mkdir -p "$unpacked"
  work=$(mktemp -d "$unpacked/.$1.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  say "unpacking $1 into $dir"
  (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$1" && dpkg-deb -x "$1"_*.deb tree) ||
    die "apt-get could not download $1: run 'apt-get update' as root"
  mv -T "$work/tree" "$dir"
  rm -rf "$work"
  trap - EXIT
}

what=${1:-build}
case $what in
build | test | machine) ;;
*) die "usage: scripts/setup.sh build|test|machine" ;;
esac

if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
  mapfile -t missing < <(missing_debian "$what")
  if [ ${#missing[@]} -gt 0 ]; then
    may_be_root || die "needs root to install ${missing[*]}: run it as root or with sudo"
    say "installing: ${missing[*]}"
    install "${missing[@]}"
  fi
  if [ "$what" = test ]; then
    while read -r package program; do
      [ -z "$package" ] || command -v "$program" >/dev/null || unpack "$package"
    done <<<"$unpacked_test"
  fi
else
  mapfile -t missing < <(missing_elsewhere "$what"; [ "$what" != test ] || missing_unpacked)
  [ ${#missing[@]} -eq 0 ] ||
    die "no apt-get here: install what Debian calls ${missing[*]} with your package manager"
fi
