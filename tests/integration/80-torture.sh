#!/usr/bin/env bash
# Sensors and formula killed, links cut, disks filled, clocks stepped: every frame is stored exactly
# once, with its joules. The short form of `make torture`.
# limit: 600s
exec "$(dirname "$0")/../torture/run" short
