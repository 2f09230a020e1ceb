# shellcheck shell=bash
# lib.sh - what tests/torture/run does inside its name spaces. Source it once, there.

mount --make-rprivate / && mount -t tmpfs -o mode=755 none /run || exit 2
. tests/integration/lib.sh
RANDOM=$((SEED % 32768))
TOOLS=$TOP/build/gcc/tests/torture
HUB=10.77.0.1
formula_url=http://127.0.0.1:9771
mongodb_url=mongodb://127.0.0.1:27017/cbwatts
influxdb_url=http://127.0.0.1:8086
RESOLUTION=5 # seconds of a row there
SMALL=synthetic-1   # its spool is on a disk that is full at times
DAMAGED=synthetic-2 # its link goes through bad_wire.py
mkdir -p "$T"/{go,loop,pid,pause,clock,ledger,log,pending,state}

say() { sed 's/^/# /' <<<"$SECONDS s: $*"; }
tenths() { printf '%d.%d' $(($1 / 10)) $(($1 % 10)); }
at_least() { awk -v a="$1" -v b="${2%% *}" 'BEGIN { print b, "wanted at least", a; exit !(b + 0 >= a + 0) }'; }
at_most() { awk -v a="$1" -v b="${2%% *}" 'BEGIN { print b, "wanted at most", a; exit !(b + 0 <= a + 0) }'; }

# Disks

small_disk() { # DIR MEGABYTES
  mkdir -p "$1" && truncate -s "${2}M" "$1.img" && mkfs.ext4 -q -m 0 "$1.img" && mount -o loop "$1.img" "$1"
}
fill() { # DIR: to the last block
  fallocate -l "$(df --output=avail -B1 "$1" | tail -n 1)" "$1/fill"
  cat /dev/zero >>"$1/fill"
} 2>/dev/null
# later_on TENTHS COMMAND...: in the background, and counted as pending until it is done
later_on() {
  local mark
  mark=$(mktemp "$T/pending/XXXXXX")
  (
    sleep "$(tenths "$1")"
    shift
    "$@"
    rm -f "$mark"
  ) >/dev/null 2>&1 &
}
fill_for() { # DIR TENTHS
  [ ! -e "$1/fill" ] || return 0
  fill "$1"
  later_on "$2" rm -f "$1/fill"
}
nothing_is_pending() { ! compgen -G "$T/pending/*" >/dev/null; }

# Networks: all of them on one bridge in the name space we are in

add_hub() { ip link set lo up && ip link add hub type bridge && ip addr add $HUB/16 dev hub && ip link set hub up; }
add_net() { # I
  ip netns add "s$1" && ip link add "h$1" type veth peer name e0 netns "s$1" && ip link set "h$1" master hub up &&
    ip -n "s$1" link set lo up && ip -n "s$1" addr add "10.77.1.$1/16" dev e0 && ip -n "s$1" link set e0 up
}
cut_link() { ip link set "h$1" down; }
restore_link() { ip link set "h$1" up; }
cut_for() { # I TENTHS
  cut_link "$1"
  later_on "$2" restore_link "$1"
}

# Programs that are started again whenever they end, as long as their file in go/ is there. What a
# sensor's spool holds at its death goes to ledger/NAME.spooled.

supervise() { # NAME COMMAND...: the command execs, so that its pid is the program's
  local name=$1
  shift
  touch "$T/go/$name" "$T/loop/$name"
  (
    while [ -e "$T/go/$name" ]; do
      "$@" >>"$T/log/$name" 2>&1 &
      echo $! >"$T/pid/$name"
      wait $!
      [ ! -d "$T/state/$name/spool" ] || "$TOOLS/list_spool" "$T/state/$name/spool" >>"$T/ledger/$name.spooled"
      rm -f "$T/pid/$name"
      [ ! -e "$T/go/$name" ] || sleep "$(cat "$T/pause/$name" 2>/dev/null || echo 0.2)"
    done
    rm -f "$T/loop/$name"
  ) >/dev/null 2>>"$T/log/shell" &
}
pause() { tenths "$2" >"$T/pause/$1"; }
signal() { # NAME SIGNAL: fails when it does not run
  local pid
  pid=$(cat "$T/pid/$1" 2>/dev/null) && kill -"$2" "$pid" 2>/dev/null
}
runs() { [ -e "$T/pid/$1" ]; }
has_ended() { [ ! -e "$T/loop/$1" ]; }
# Lines a log gets from now on: mark_log NAME..., then says NAME PATTERN
mark_log() {
  local name
  for name; do wc -l <"$T/log/$name" >"$T/log/$name.mark"; done
}
says() { tail -n +$(($(cat "$T/log/$1.mark" 2>/dev/null || echo 0) + 1)) "$T/log/$1" | grep -E -e "$2"; }
no_sensor_runs() { ! compgen -G "$T/loop/synthetic-*" >/dev/null; }
end_sensors() {
  local path
  rm -f "$T"/go/synthetic-*
  for path in "$T"/pid/synthetic-*; do signal "${path##*/}" TERM; done
  wait_for 60 no_sensor_runs
}
end() { # NAME
  rm -f "$T/go/$1"
  signal "$1" TERM
  wait_for 60 has_ended "$1"
}
step() { echo "$2" >"$T/clock/$1"; } # NAME SECONDS: its wall clock from now on

run_formula() {
  exec env LD_PRELOAD="$TOOLS/clockstep.so" CLOCKSTEP="$T/clock/formula" "$BIN/cbformula" \
    --state-dir "$T/store/formula" --listen "tcp://$HUB:9770" --http "${formula_url#http://}" \
    --mongodb "$mongodb_url" --mongodb-resolution ${RESOLUTION}s \
    --influxdb "$influxdb_url" --influxdb-resolution ${RESOLUTION}s
}
start_formula() {
  supervise formula run_formula
  wait_for 30 answers
}
answers() { curl -sf --max-time 2 "$formula_url/healthz" >/dev/null; }

# Other stores: what they keep is on the disk that is never filled

run_mongodb() {
  [ -z "$FERRETDB" ] || exec "$FERRETDB" 127.0.0.1:27017 "$T/mongodb"
  exec mongod --bind_ip 127.0.0.1 --port 27017 --dbpath "$T/mongodb"
}
run_influxdb() { exec influxd -config "$T/influxdb.conf"; }
start_stores() {
  mkdir "$T/mongodb"
  # no limits: containers come and go by the ten thousand
  cat >"$T/influxdb.conf" <<END
reporting-disabled = true
bind-address = "127.0.0.1:8088"
[meta]
dir = "$T/influxdb/meta"
[data]
dir = "$T/influxdb/data"
wal-dir = "$T/influxdb/wal"
max-series-per-database = 0
max-values-per-tag = 0
[http]
bind-address = "${influxdb_url#http://}"
log-enabled = false
END
  supervise mongodb run_mongodb
  supervise influxdb run_influxdb
  wait_for 30 port_in_use 27017 && wait_for 30 curl -sf --max-time 2 "$influxdb_url/ping"
}
# both have taken every frame there is
stores_done() {
  [ "$(curl -sf --max-time 10 "$formula_url/metrics" |
    awk 'index($1, "cb_stream_waiting_frames{") == 1 { n++; s += $2 } END { print n, s }')" = "2 0" ]
}

# NAME: every name has its own, or two would claim one boot; wherever it runs, or it would have two
seed_of() {
  local n=${1##*[!0-9]} sum
  read -r sum _ < <(cksum <<<"$1")
  echo $((SEED * 1000 + ${n:-$((100 + sum % 900))}))
}
run_sensor() { # I NAME [more options]
  local i=$1 name=$2 where=$HUB:9770
  shift 2
  [ "$name" != "$DAMAGED" ] || where=127.0.0.1:9770
  exec ip netns exec "s$i" env LD_PRELOAD="$TOOLS/clockstep.so" CLOCKSTEP="$T/clock/$name" \
    "$BIN/cbsensor" --name "$name" --state-dir "$T/state/$name" --formula "tcp://$where" \
    --formula-key "$T/store/formula/formula.pub" --tick 100ms \
    --synthetic "seed=$(seed_of "$name"),containers=$CONTAINERS,ledger=$T/ledger/$name.ledger" "$@"
}
run_relay() { # I
  exec ip netns exec "s$1" "$TOP/tests/torture/bad_wire.py" 9770 $HUB 9770 "$SEED" "$T/log/relay.counts"
}
key_of() { "$BIN/cbsensor" --state-dir "$T/state/$1" --print-key 2>>"$T/log/keys"; }
keys() { "$BIN/cbformula" --state-dir "$T/store/formula" keys "$@" >>"$T/log/keys" 2>&1; }
let_in() { keys add "$1" "$(key_of "$1")"; }
start_sensor() { # I NAME [more options]
  mkdir -p "$T/state/$2"
  let_in "$2" || return
  [ "$2" != "$DAMAGED" ] || supervise relay run_relay "$1"
  supervise "$2" run_sensor "$@"
}

# What cbformula knows

caught_up() { tests/torture/watch.py caught-up "$formula_url" 1.5 "$1"; }
all_caught_up() { # SECONDS [MACHINES]
  wait_for "$1" caught_up "${2:-$SENSORS}" >/dev/null || { caught_up "${2:-$SENSORS}" || false; }
}
record() {
  tests/torture/watch.py record "$formula_url" "$T/$1" 2>>"$T/log/shell" &
  recorder=$!
}
record_end() {
  sleep 0.5
  kill $recorder
  wait $recorder 2>/dev/null
}
metric() { curl -s --max-time 10 "$formula_url/metrics" | awk -v m="$1" 'index($1, m) == 1 { s += $2 } END { printf "%d", s }'; }
# "machine microjoules" of every machine, from the counters
node_joules() {
  curl -s --max-time 10 "$formula_url/metrics" | awk '
    index($1, "cb_node_energy_joules_total{") == 1 {
      split($1, a, "\""); split($2, j, "."); uj[a[2]] += j[1] * 1000000 + j[2]
    }
    END { for (m in uj) printf "%s %.0f\n", m, uj[m] }' | sort
}
# "machine milliseconds": the time that no frame covers
node_gaps() {
  curl -s --max-time 10 "$formula_url/metrics" | awk '
    index($1, "cb_node_gap_seconds_total{") == 1 { split($1, a, "\""); printf "%s %.0f\n", a[2], $2 * 1000 }' | sort
}
left_in_spools() {
  local dir
  for dir in "$T"/state/synthetic-*/spool; do
    "$TOOLS/list_spool" "$dir" | sed "s|^|${dir#"$T/state/"} |"
  done
}
