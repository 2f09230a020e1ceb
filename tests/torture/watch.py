#!/usr/bin/python3
"""watch.py - what a running cbformula knows of its machines, and how it catches up.

watch.py caught-up URL SECONDS N        every one of N machines is stored up to SECONDS ago: exit 0
watch.py record URL FILE                one line for each machine every 0.2 s, until killed:
                                        boottime frames last_t1 machine (seconds; "inf": no answer)
watch.py lag FILE [NAME...]             the largest lag in seconds of all machines but those named
watch.py rate FILE NAME|all             how many seconds of frames were stored in a second while NAME
                                        caught up: from its first new frame to a lag below 1.5 s
"""
import json
import sys
import time
import urllib.request


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def machines(url):
    try:
        with urllib.request.urlopen(url + "/api/v1/machines", timeout=5) as answer:
            return json.load(answer)["machines"]
    except OSError:
        return []


def caught_up(url, seconds, n):
    have = machines(url)
    at = now()
    late = [m for m in have if at - m["last_t1_ns"] / 1e9 > float(seconds)]
    if len(have) < int(n) or late:
        print(len(have), "machines, late:", [(m["machine"], round(at - m["last_t1_ns"] / 1e9, 1)) for m in late][:5])
        return 1
    return 0


def record(url, path):
    with open(path, "w") as out:
        while True:
            for m in machines(url):
                print(f"{now():.3f} {m['frames']} {m['last_t1_ns'] / 1e9:.3f} {m['machine']}", file=out)
            out.flush()
            time.sleep(0.2)


def read(path):
    by_name = {}
    with open(path) as lines:
        for line in lines:
            at, frames, t1, name = line.split()
            by_name.setdefault(name, []).append((float(at), int(frames), float(t1)))
    return by_name


def lag(path, names):
    worst = max((at - t1, name) for name, rows in read(path).items() if name not in names for at, _, t1 in rows)
    print(f"{worst[0]:.2f} {worst[1]}")


def rate_of(rows):
    """(seconds of frames, seconds it took) from the first row that brings something new."""
    begin = next((i for i in range(1, len(rows)) if rows[i][2] > rows[0][2]), None)
    if begin is None:
        return None
    before = rows[begin - 1]
    for at, _, t1 in rows[begin:]:
        if at - t1 < 1.5:
            return t1 - before[2], at - before[0]
    return None


def rate(path, name):
    rows = {n: rate_of(r) for n, r in read(path).items() if name in ("all", n)}
    missing = [n for n, r in rows.items() if r is None]
    if missing or not rows:
        print("not caught up:", missing)
        return 1
    slowest = min(rows, key=lambda n: rows[n][0] / rows[n][1])
    seconds, took = rows[slowest]
    print(f"{seconds / took:.1f} {slowest}: {seconds:.1f} s of frames in {took:.2f} s")
    return 0


if __name__ == "__main__":
    what, rest = sys.argv[1], sys.argv[2:]
    if what == "caught-up":
        sys.exit(caught_up(*rest))
    if what == "record":
        record(*rest)
    if what == "lag":
        sys.exit(lag(rest[0], rest[1:]))
    sys.exit(rate(*rest))
