#!/usr/bin/env bash
# /metrics: promtool has nothing to say against it, a real Prometheus scrapes it, counters go on over
# a kill, a dead container stays five minutes, and Kepler's names are there when asked for.
# limit: 300s
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
prometheus_port=$(free_port)
plain_formula --metrics-names both --jsonl "$T/jsonl"
is "cbformula runs" 0 $?
cat >"$T/prometheus.yml" <<END
global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
  - job_name: cbwatts
    static_configs: [{ targets: ["127.0.0.1:$http_port"] }]
END
spawn prometheus prometheus --config.file="$T/prometheus.yml" --storage.tsdb.path="$T/tsdb" \
  --web.listen-address="127.0.0.1:$prometheus_port" --log.level=warn
synthetic 1
synthetic 2
scrape() { curl -sf --max-time 5 "$formula_url/metrics"; }
has_energy() { scrape | grep -q '^cb_container_energy_joules_total'; }
ok "energy shows" wait_for 20 has_energy
scrape >"$T/scrape"
ok "promtool has nothing to say against it" bash -c "promtool check metrics <'$T/scrape'"
is "promtool would" 3 "$(printf '# TYPE x_total gauge\nx_total 1\n' | promtool check metrics >/dev/null 2>&1; echo $?)"
is "every family is in the table" "" \
  "$(comm -23 <(grep -oE '^# TYPE [a-z_0-9]+' "$T/scrape" | cut -d' ' -f3 | sort) \
    <("$BIN/cbformula" schema | cut -f4,7 | tr '\t' '\n' | sort -u))"
for name in cb_sensor_cpu_seconds_total cb_sensor_missed_ticks_total cb_sensor_lost_frames_total \
  cb_sensor_estimated_energy_joules_total cb_sensor_unreadable_sources \
  cb_stream_rows_total cb_stream_lag_seconds kepler_container_cpu_joules_total \
  kepler_node_cpu_joules_total kepler_node_cpu_idle_joules_total kepler_node_cpu_active_joules_total; do
  like "$name is there" "(^|"$'\n'")$name\{" "$(cat "$T/scrape")"
done
is "Kepler's joules are ours" "$(metric cb_node_energy_joules_total >/dev/null; awk '/^cb_node_energy_joules_total\{/ { s += $2 } END { printf "%.6f", s }' "$T/scrape")" \
  "$(awk '/^kepler_node_cpu_joules_total\{/ { s += $2 } END { printf "%.6f", s }' "$T/scrape")"

before=$(metric cb_node_energy_joules_total)
kill_9 "$formula_pid"
plain_formula --metrics-names kepler --jsonl "$T/jsonl"
is "with Kepler's names alone ours are not there" "" "$(scrape | grep '^cb_node_energy_joules_total')"
like "but Kepler's are" 'kepler_node_cpu_joules_total\{' "$(scrape)"
kill_9 "$formula_pid"
plain_formula --jsonl "$T/jsonl"
after=$(metric cb_node_energy_joules_total)
ok "counters go on over a kill ($before, $after)" test "$after" -ge "$before"
is "without asking there are no names of Kepler's" "" "$(scrape | grep kepler)"

# shellcheck disable=SC2154
stop_sensors "$sensor1_pid" "$sensor2_pid"
ok "everything is taken" drained
scrape >"$T/metrics"
prometheus_has_all() { energy "sqlite=$T/formula/cbwatts.sqlite" "prometheus=http://127.0.0.1:$prometheus_port"; }
ok "Prometheus has the joules that were stored" wait_for 10 prometheus_has_all
ok "as have the page and the files" energy "ledger=$T/ledger" "sqlite=$T/formula/cbwatts.sqlite" \
  "metrics=$T/metrics" "jsonl=$T/jsonl"
prometheus_has_all | sed 's/^/# /'
never_back() {
  curl -sf -G "http://127.0.0.1:$prometheus_port/api/v1/query" --data-urlencode \
    'query=sum(resets(cb_node_energy_joules_total[10m])) + sum(resets(cb_container_energy_joules_total[10m]))' | grep -q '"0"\]'
}
ok "no counter ever went back" never_back
is "a dead container's series stays" 8 "$(scrape | grep -c '^cb_container_info{.*synthetic')"
done_testing
