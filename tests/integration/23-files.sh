#!/usr/bin/env bash
# Energy in JSON lines and CSV files: rotated, killed at any moment and gone on with, no row twice, no
# row lost, no torn line in the end.
# limit: 300s
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/stores.sh"
mkdir "$T/out"
echo 'not of this database' >"$T/out/energy.jsonl"
options=(--jsonl "$T/out" --csv "$T/out" --files-rotate-time 3s)
plain_formula "${options[@]}"
is "cbformula runs" 0 $?
synthetic 1
synthetic 2
has_rows() { grep -q cb_node "$T/out/energy.csv" && grep -q cb_node "$T/out/energy.jsonl"; }
ok "rows arrive" wait_for 20 has_rows
is "what was there is kept aside" 'not of this database' "$(cat "$T/out/energy-000001.jsonl")"
rm "$T/out/energy-000001.jsonl"
for _ in 1 2 3 4 5 6 7 8 9 10; do
  sleep $((RANDOM % 2)).$((RANDOM % 10))
  kill_9 "$formula_pid"
  plain_formula "${options[@]}" || fail "cbformula comes back"
done
"$BIN/cbformula" --state-dir "$T/other" --plain --listen tcp://127.0.0.1:* --http 127.0.0.1:0 --csv "$T/out" >"$T/second.log" 2>&1
like "a second one is not let in" 'another cbformula writes to' "$(cat "$T/second.log")"
# shellcheck disable=SC2154
stop_sensors "$sensor1_pid" "$sensor2_pid"
ok "everything is taken" drained
ok "files were finished" test -e "$T/out/energy-000003.csv" -a -e "$T/out/energy-000003.jsonl"
curl -s "$formula_url/metrics" >"$T/metrics"
sources=("ledger=$T/ledger" "sqlite=$T/formula/cbwatts.sqlite" "jsonl=$T/out" "csv=$T/out" "metrics=$T/metrics")
ok "every file has its lines once, and the joules that the sensors wrote down" energy "${sources[@]}"
energy "${sources[@]}" | sed 's/^/# /'
is "each CSV file begins with the head" "$(find "$T/out" -name '*.csv' | wc -l)" \
  "$(head -qn 1 "$T"/out/*.csv | grep -c '^row,time,wall_ns,again,machine')"

# a full disk
stop_pid "$formula_pid"
rm -rf "$T/formula"
: >"$T/ledger"
mkdir "$T/small"
mount -t tmpfs -o size=40k none "$T/small"
is "a small disk" 0 $?
later umount "$T/small"
plain_formula --jsonl "$T/small"
synthetic 3
full() { grep -q 'No space left on device' "$T/formula.log"; }
ok "a full disk is told" wait_for 30 full
is "and leaves no half line" "" "$(tail -c 1 "$T/small/energy.jsonl" | tr -d '\n')"
mount -o remount,size=50m "$T/small"
# shellcheck disable=SC2154
stop_sensors "$sensor3_pid"
ok "with room again, everything comes" drained
ok "once" energy "ledger=$T/ledger" "sqlite=$T/formula/cbwatts.sqlite" "jsonl=$T/small"
stop_pid "$formula_pid"
done_testing
