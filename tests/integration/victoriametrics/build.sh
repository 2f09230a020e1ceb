#!/usr/bin/env bash
# build.sh: build the tests' time series server, which takes InfluxDB's write protocols of both
# versions, once into the cache and print its path.
exec "$(dirname "$0")/../gobuild.sh" "$(dirname "$0")" github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics
