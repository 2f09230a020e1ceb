#!/usr/bin/env bash
# 10-engine.sh again with programs built with the address and undefined behaviour sanitizers.
# limit: 240s
cd "$(dirname "$0")/../.." || exit 2
make -s "-j$(nproc)" DEVELOPER=1 SAN=address,undefined all || exit
BIN=$PWD/build/gcc-address-undefined/bin exec tests/integration/10-engine.sh
