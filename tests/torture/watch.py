#!/usr/bin/python3
"""watch.py - what a running cbformula knows of its machines, and how it catches up.

watch.py caught-up URL SECONDS N        every one of N machines is stored up to SECONDS ago: exit 0
watch.py record URL FILE                one line for each machine every 0.2 s, until killed:
                                        boottime frames last_t1 machine (seconds; "inf": no answer)
watch.py lag FILE [NAME...]             the largest lag in seconds of all machines but those named
watch.py rate FILE SECONDS NAME|all [BUT...]
                                        how many seconds of frames were stored in a second while NAME
                                        caught up with at least SECONDS: from the end of its last
                                        stall to a lag below 1.5 s; the median of all but BUT
watch.py fleet FILE [BUT...]            the same for all but BUT together after an outage of cbformula:
                                        from the last poll before it answers again until the last of
                                        them lags less than 1.5 s; the seconds are those of the mean
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
            have = machines(url)
            for m in have or [{"frames": 0, "last_t1_ns": 0, "machine": "-"}]:
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
    worst = max((at - t1, name) for name, rows in read(path).items() if name not in (*names, "-") for at, _, t1 in rows)
    print(f"{worst[0]:.2f} {worst[1]}")


def rate_of(rows, polls, least):
    """(seconds of frames, seconds they took): after the last stall of a second that left at least so
    many, or from the first row where that lags so much. None: never caught up."""
    seconds = 0, 1
    stalls = [i for i in range(1, len(rows)) if rows[i][2] > rows[i - 1][2] and rows[i][0] - since(rows, i - 1) > 1]
    for stalled in reversed([0, *stalls]):
        before = rows[max(stalled - 1, 0)]
        begin = max((at for at in polls if at < rows[stalled][0]), default=rows[0][0])
        seconds = next(((t1 - before[2], at - begin) for at, _, t1 in rows[stalled:] if at - t1 < 1.5), None)
        if seconds and seconds[0] >= least:
            break
    return seconds


def since(rows, i):
    """When row i's last frame was seen first."""
    while i > 0 and rows[i - 1][2] == rows[i][2]:
        i -= 1
    return rows[i][0]


def rate(path, least, name, *but):
    have = read(path)
    polls = sorted(at for rows in have.values() for at, _, _ in rows)
    rates = {n: rate_of(r, polls, float(least)) for n, r in have.items() if n not in ("-", *but) and name in ("all", n)}
    missing = [n for n, r in rates.items() if r is None]
    stalled = {n: r for n, r in rates.items() if r and r[0] >= float(least)}
    if missing or not stalled:
        print("not caught up:", missing)
        return 1
    order = sorted(stalled, key=lambda n: stalled[n][0] / stalled[n][1])
    seconds, took = stalled[order[len(order) // 2]]
    least = stalled[order[0]]
    print(f"{seconds / took:.1f} ({seconds:.1f} s of frames in {took:.2f} s, the median of {len(order)}; "
          f"the slowest: {least[0]:.1f} s in {least[1]:.2f} s)")
    return 0


def fleet(path, *but):
    have = read(path)
    silent = [at for at, _, _ in have.pop("-", [])]
    if not silent:
        print("cbformula was never away")
        return 1
    back = min((at for rows in have.values() for at, _, _ in rows if at > silent[0]), default=0)
    begin = max((at for at in silent if at < back), default=silent[-1])
    seconds, end = [], []
    for name in have.keys() - {*but}:
        rows = have[name]
        before = max((t1 for at, _, t1 in rows if at < begin), default=None)
        good = next(((at, t1) for at, _, t1 in rows if at > begin and at - t1 < 1.5), None)
        if before is None or good is None:
            print("not caught up:", name)
            return 1
        seconds.append(good[1] - before)
        end.append((good[0], name))
    took, last = max(end)
    mean = sum(seconds) / len(seconds)
    took -= begin
    print(f"{mean / took:.1f} ({mean:.1f} s of frames of {len(end)} sensors in {took:.2f} s, {last} was the last)")
    return 0


if __name__ == "__main__":
    what, rest = sys.argv[1], sys.argv[2:]
    if what == "caught-up":
        sys.exit(caught_up(*rest))
    if what == "record":
        record(*rest)
    if what == "lag":
        sys.exit(lag(rest[0], rest[1:]))
    sys.exit(fleet(*rest) if what == "fleet" else rate(*rest))
