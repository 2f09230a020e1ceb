#!/usr/bin/env bash
# One run, read from every store: SQLite, MongoDB, InfluxDB by both protocols, Prometheus, /metrics,
# JSON lines and CSV have the same joules, which are those the sensors wrote down. cbformula is killed
# under way, and MongoDB.
# limit: 600s
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
v1=$(free_port) v2=$(free_port) mongo_port=$(free_port) prometheus_port=$(free_port)
ferretdb=$(tests/integration/ferretdb/build.sh 2>"$T/build.log") || fail "FerretDB is built" "$(cat "$T/build.log")"
mkdir "$T/mongo"
mongo_up() { "$ferretdb" "127.0.0.1:$mongo_port" "$T/mongo" >>"$T/mongo.log" 2>&1 & mongo_pid=$!; later stop_pid $mongo_pid; wait_for 20 port_in_use "$mongo_port"; }
uri=mongodb://127.0.0.1:$mongo_port/cbwatts
influxd_at "$v1" "$T/influx" && victoria_at "$v2" "$T/victoria" && mongo_up
is "the servers run" 0 $?
options=(--influxdb "http://127.0.0.1:$v1" --influxdb2 "http://127.0.0.1:$v2" --mongodb "$uri"
  --jsonl "$T/files" --csv "$T/files" --files-rotate-time 4s)
plain_formula "${options[@]}"
is "cbformula runs, with five other stores at once" 0 $?
cat >"$T/prometheus.yml" <<END
global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs: [{ job_name: cbwatts, static_configs: [{ targets: ["127.0.0.1:$http_port"] }] }]
END
spawn prometheus prometheus --config.file="$T/prometheus.yml" --storage.tsdb.path="$T/tsdb" \
  --web.listen-address="127.0.0.1:$prometheus_port" --log.level=warn
synthetic 1
synthetic 2
sleep 4
kill_9 "$mongo_pid"
for _ in 1 2 3; do
  kill_9 "$formula_pid"
  plain_formula "${options[@]}"
  sleep 1.$((RANDOM % 10))
done
mongo_up
is "MongoDB is back" 0 $?
# shellcheck disable=SC2154
stop_sensors "$sensor1_pid" "$sensor2_pid"
ok "everything is taken" drained
curl -s "$formula_url/metrics" >"$T/metrics"
sources=("ledger=$T/ledger" "sqlite=$T/formula/cbwatts.sqlite" "mongodb=$uri" "influxdb=http://127.0.0.1:$v1"
  "victoria=http://127.0.0.1:$v2" "metrics=$T/metrics" "prometheus=http://127.0.0.1:$prometheus_port"
  "jsonl=$T/files" "csv=$T/files")
same() { energy "${sources[@]}" >"$T/figures" 2>&1 || { cat "$T/figures"; return 1; }; }
ok "every store has the same joules" wait_for 10 same
sed 's/^/# /' "$T/figures"
is "and they are nine readings" 9 "$(grep -c ' J$' "$T/figures")"
"$BIN/cbformula" schema >"$T/schema"
ok "Grafana's dashboards get their answers from these servers" /usr/bin/python3 "$TOP/tests/integration/dashboards.py" \
  "http://127.0.0.1:$prometheus_port" "http://127.0.0.1:$v1" "$T/schema"
ok "and their compose file is one" docker-compose -f docker/compose.yaml -f docker/compose.grafana.yaml config -q
done_testing
