#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build.sh: the real SmartWatts in a virtual environment in the cache, once; prints its python.
# requirements.txt pins it and everything that it needs.
set -eu
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/cbwatts
place=$cache/smartwatts-$(sha256sum requirements.txt | cut -c 1-16)
if [ ! -x "$place/done" ]; then
  rm -rf "$place" # from a run that was cut off
  mkdir -p "$cache"
  /usr/bin/python3 -m venv "$place" >&2
  "$place/bin/pip" install --quiet --only-binary :all: --no-deps -r requirements.txt >&2
  TZ=UTC "$place/bin/python" -m smartwatts --help >/dev/null
  install -m 755 /dev/null "$place/done"
fi
echo "$place/bin/python"
