#!/usr/bin/env bash
# The notebook runs from top to bottom over a database of cbformula's, and says what is an estimate.
# limit: 120s
. "$(dirname "$0")/lib.sh"
later stop_all "$T"
start_engine "$T" "" cb/busy || exit
make_keys "$T" && start_formula "$T" && start_sensor "$T" || exit
export DOCKER_HOST=unix://$engine_socket CBFORMULA_URL=$formula_url
for i in 1 2; do ok "a test, number $i" "$BIN/cbtester" -n "test$i" cb/busy "$i"; done

export HOME=$T CBWATTS_DATABASE=$T/formula/cbwatts.sqlite IPYTHONDIR=$T/ipython MPLCONFIGDIR=$T/mpl
notebook() {
  /usr/bin/jupyter nbconvert --to markdown --execute --output-dir "$T/out" notebooks/recaps.ipynb
}
ok "the notebook runs over SQLite" notebook
page=$T/out/recaps.md
like "it shows both tests" 'test1.*test2' "$(tr '\n' ' ' <"$page")"
ok "it draws a chart" test -s "$T/out/recaps_files/$(basename "$(compgen -G "$T/out/recaps_files/*.png" | head -n 1)")"
if grep -q '"source":"estimate"' <(curl -sf "$formula_url/api/v1/recaps"); then
  like "it calls an estimate an estimate" '<td>test1</td>.*<td>estimate</td>' "$(tr '\n' ' ' <"$page")"
fi
CBWATTS_DATABASE=$T/nothing.sqlite
like "without a database it says so" 'no database .*nothing.sqlite.*make up' "$(notebook 2>&1 | tr '\n' ' ')"
done_testing
