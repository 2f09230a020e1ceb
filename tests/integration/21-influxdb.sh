#!/usr/bin/env bash
# Energy in InfluxDB, by the protocols of 1.x (a real influxd) and of 2.x (a server that speaks it):
# servers and cbformula are killed under way, and afterwards every store has the same joules.
# limit: 600s
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
v1=$(free_port) v2=$(free_port)
influxd_at "$v1" "$T/influx"
is "InfluxDB 1.x runs" 0 $?
victoria_at "$v2" "$T/victoria"
is "a server for the protocol of 2.x runs" 0 $?
echo s3cret-token >"$T/token"
options=(--influxdb "http://127.0.0.1:$v1" --influxdb2 "http://127.0.0.1:$v2" --influxdb2-org o
  --influxdb2-bucket b --influxdb2-token-file "$T/token" --jsonl "$T/jsonl"
  --influxdb-format cbwatts,powerapi,cadvisor)
plain_formula "${options[@]}" || fail "cbformula runs" "$(cat "$T/formula.log")"
synthetic 1
synthetic 2
influxdb() { curl -sf -G "http://127.0.0.1:$v1/query" -d db=cbwatts --data-urlencode "q=$1"; }
has_rows() { influxdb 'SELECT count(energy_uj) FROM cb_node' | grep -q '"count"\],"values"'; }
ok "rows arrive" wait_for 20 has_rows

kill_9 "$influxd_pid"
sleep 3
kill_9 "$formula_pid"
sleep 1
plain_formula "${options[@]}"
is "cbformula comes back without InfluxDB" 0 $?
like "and waits for it" 'influxdb: cannot reach it' "$(sleep 3; cat "$T/formula.log")"
influxd_at "$v1" "$T/influx"
is "InfluxDB comes back" 0 $?
# not killed: it answers before it has written (up to 5 s), where InfluxDB has its log
stop_pid "$victoria_pid"
sleep 2
victoria_at "$v2" "$T/victoria"
is "the other one goes and comes back" 0 $?
for i in 1 2 3 4; do
  kill_9 "$formula_pid"
  plain_formula "${options[@]}" || fail "cbformula comes back, $i"
  sleep 0.$((RANDOM % 9 + 1))
done
# shellcheck disable=SC2154
stop_sensors "$sensor1_pid" "$sensor2_pid"
ok "everything is taken" drained
curl -s "$formula_url/metrics" >"$T/metrics"
ok "every store has the joules that the sensors wrote down" energy "ledger=$T/ledger" \
  "sqlite=$T/formula/cbwatts.sqlite" "influxdb=http://127.0.0.1:$v1" "victoria=http://127.0.0.1:$v2" \
  "jsonl=$T/jsonl" "metrics=$T/metrics"
energy "ledger=$T/ledger" "sqlite=$T/formula/cbwatts.sqlite" "influxdb=http://127.0.0.1:$v1" \
  "victoria=http://127.0.0.1:$v2" "jsonl=$T/jsonl" "metrics=$T/metrics" | sed 's/^/# /'
is "no row was refused" 0 "$(metric cb_stream_set_aside_rows_total)"
is "no frame was lost" 0 "$(metric cb_stream_lost_frames_total)"

measurements=$(influxdb 'SHOW MEASUREMENTS')
like "with PowerAPI's measurement" '"power_consumption"' "$measurements"
like "and cAdvisor's" '"cpu_usage_total"' "$measurements"
like "PowerAPI's panel has its targets" '"rapl"' \
  "$(influxdb 'SHOW TAG VALUES FROM power_consumption WITH KEY = target')"
is "watts are numbers with a point" 1 \
  "$(influxdb 'SHOW FIELD KEYS FROM power_consumption' | grep -c '"power","float"')"
is "microjoules are whole numbers" 1 "$(influxdb 'SHOW FIELD KEYS FROM cb_node' | grep -c '"energy_uj","integer"')"
is "the token is in no log" 0 "$(grep -c s3cret "$T/formula.log")"

# a field of another type: InfluxDB takes the other points of the batch and refuses that one
curl -s "http://127.0.0.1:$v1/query" --data-urlencode 'q=CREATE DATABASE odd' >"$T/odd.log"
curl -s "http://127.0.0.1:$v1/write?db=odd" --data-binary 'cb_node,domain=package idle_uj="text"' >>"$T/odd.log"
kill_9 "$formula_pid"
rm -rf "$T/formula" "$T/sensor1"
: >"$T/ledger"
plain_formula --influxdb "http://127.0.0.1:$v1" --influxdb-database odd
synthetic 1 --frames 25
ok "refused points do not stop the others" wait_for 30 all_stored
refused() { [ "$(metric cb_stream_set_aside_rows_total)" -gt 0 ]; }
ok "they are counted" wait_for 20 refused
like "and kept with the server's reason" 'field type conflict' \
  "$(sqlite3 -readonly "$T/formula/cbwatts.sqlite" 'SELECT reason FROM stream_asides LIMIT 1')"
has_containers() { curl -sf -G "http://127.0.0.1:$v1/query" -d db=odd --data-urlencode 'q=SELECT sum(dynamic_uj) FROM cb_container' | grep -q '"sum"\],"values"'; }
ok "the containers' rows are there" wait_for 20 has_containers
done_testing
