#!/usr/bin/env bash
# The notebook runs from top to bottom over a database of cbformula's, and says what is an estimate.
# limit: 120s
. "$(dirname "$0")/lib.sh"
later stop_all "$T"
start_engine "$T" "" cb/busy || exit
make_keys "$T" && start_formula "$T" && start_sensor "$T" || exit
export DOCKER_HOST=unix://$engine_socket CBFORMULA_URL=$formula_url
for i in 1 2; do ok "a test, number $i" "$BIN/cbtester" -n "test$i" cb/busy "$i"; done

export HOME=$T CBWATTS_DATABASE=$T/formula/cbwatts.sqlite CBWATTS_CBFORMULA=$BIN/cbformula CBWATTS_IDLE=equal
export CBFORMULA_STATE_DIR=$T/formula IPYTHONDIR=$T/ipython MPLCONFIGDIR=$T/mpl
notebook() {
  /usr/bin/jupyter nbconvert --to markdown --execute --output-dir "$T/out" notebooks/recaps.ipynb
}
ok "the notebook runs over SQLite" notebook
page=$T/out/recaps.md
like "it shows both tests" 'test1.*test2' "$(tr '\n' ' ' <"$page")"
like "getrecap, getenergy and getpowers work" \
  "getrecap\(\): 2 tests.*getenergy\('test2'\), joules:.*container_PKG_0 +[0-9.]+.*container_PKG_0</th>" "$(tr '\n' ' ' <"$page")"
joules=$(sed -n 's/^ *container_PKG_0  *\([0-9.]*\).*/\1/p' "$page")
is "getenergy is what cbformula energy says" 0 "$("$BIN/cbformula" energy test2 --json | /usr/bin/python3 -c '
import json, sys
print(int(abs(json.load(sys.stdin)[0]["container_PKG_0"] - float(sys.argv[1])) > 1e-5))' "$joules")"
ok "it draws a chart" test -s "$T/out/recaps_files/$(basename "$(compgen -G "$T/out/recaps_files/*.png" | head -n 1)")"
if grep -q '"source":"estimate"' <(curl -sf "$formula_url/api/v1/recaps"); then
  like "it calls an estimate an estimate" '<td>test1</td>.*<td>estimate</td>' "$(tr '\n' ' ' <"$page")"
fi
like "and the idle shares that were asked for" '<th>idle share J</th>' "$(tr '\n' ' ' <"$page")"
CBWATTS_DATABASE=$T/nothing.sqlite
like "without a database it says so" 'no database .*nothing.sqlite.*make up' "$(notebook 2>&1 | tr '\n' ' ')"
done_testing
