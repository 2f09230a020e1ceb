# shellcheck shell=bash
# stores.sh - what the tests of the other stores share: a formula on a plain link, a synthetic sensor
# (every microjoule of it is in $T/ledger), and servers that can be killed and come back. Source it
# after lib.sh.
export SENSOR_NAME=synthetic1
# plain_formula [options]: on the ports of before when there were any
plain_formula() {
  link_port=${link_port:-$(free_port)} http_port=${http_port:-$(free_port)}
  formula_url=http://127.0.0.1:$http_port
  "$BIN/cbformula" --state-dir "$T/formula" --plain --listen "tcp://127.0.0.1:$link_port" \
    --http "127.0.0.1:$http_port" "$@" >>"$T/formula.log" 2>&1 &
  formula_pid=$!
  later stop_pid $formula_pid
  wait_for 20 curl -sf --max-time 2 "$formula_url/healthz" >/dev/null
}
# kill_9 PID of this shell: and wait until it is gone
kill_9() {
  kill -9 "$1"
  wait "$1" 2>/dev/null
}
# synthetic SEED [options]: more sensors get more seeds
synthetic() {
  local seed=$1
  shift
  "$BIN/cbsensor" --state-dir "$T/sensor$seed" --name "synthetic$seed" --plain --tick 100ms \
    --synthetic "seed=$seed,containers=4,ledger=$T/ledger" \
    --formula "tcp://127.0.0.1:$link_port" "$@" >>"$T/sensor$seed.log" 2>&1 &
  eval "sensor${seed}_pid=$!"
  later stop_pid $!
}
# no frame waits at a sensor or for a stream
metric() { curl -sf --max-time 5 "$formula_url/metrics" | awk -v name="$1" 'index($1, name "{") == 1 || $1 == name { s += $2 } END { printf "%d\n", s }'; }
ledger_frames() { wc -l <"$T/ledger"; }
all_stored() { [ "$(metric cb_formula_frames_total)" = "$(ledger_frames)" ]; }
streams_done() { [ "$(metric cb_stream_waiting_frames)" = 0 ]; }
# the newest frame of every machine is young: its sensor is connected and has nothing left to send
fresh() { curl -sf --max-time 5 "$formula_url/metrics" | awk '/^cb_formula_lag_seconds\{/ { n++; if ($2 > 0.5) old = 1 } END { exit !n || old }'; }
# stop_sensors PID...: without leaving a frame in a spool
stop_sensors() {
  local pid
  sleep 1 # longer than what is young
  wait_for 30 fresh || return
  for pid in "$@"; do stop_pid "$pid"; done
}
# drained: the sensors have stopped; all they made is stored and taken
drained() { wait_for 30 all_stored && wait_for 40 streams_done; }
energy() { /usr/bin/python3 "$TOP/tests/integration/energy.py" "$@"; }

# influxd_at PORT DIR: InfluxDB 1.x there; its pid in influxd_pid
influxd_at() {
  mkdir -p "$2"
  cat >"$2/influxdb.conf" <<END
reporting-disabled = true
bind-address = "127.0.0.1:$(free_port)"
[meta]
dir = "$2/meta"
[data]
dir = "$2/data"
wal-dir = "$2/wal"
[http]
bind-address = "127.0.0.1:$1"
log-enabled = false
END
  influxd -config "$2/influxdb.conf" >>"$2/log" 2>&1 &
  influxd_pid=$!
  later stop_pid $influxd_pid
  wait_for 20 curl -sf --max-time 2 "http://127.0.0.1:$1/ping"
}
# victoria_at PORT DIR: a server for InfluxDB 2.x's protocol; its pid in victoria_pid. The same point
# written twice is one point in InfluxDB; here deduplication must be asked for.
victoria_at() {
  local program
  program=$("$TOP/tests/integration/victoriametrics/build.sh" 2>"$T/build.log") || return
  "$program" -httpListenAddr="127.0.0.1:$1" -storageDataPath="$2" -retentionPeriod=1y \
    -dedup.minScrapeInterval=1ms >>"$T/victoria.log" 2>&1 &
  victoria_pid=$!
  later stop_pid $victoria_pid
  wait_for 20 curl -sf --max-time 2 "http://127.0.0.1:$1/health" >/dev/null
}
