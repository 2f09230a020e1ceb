#!/usr/bin/env bash
# build.sh: build the tests' MongoDB server once into the cache and print its path.
exec "$(dirname "$0")/../gobuild.sh" "$(dirname "$0")" .
