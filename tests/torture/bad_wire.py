#!/usr/bin/python3
"""bad_wire.py - a TCP relay that damages what passes. usage: bad_wire.py PORT HOST PORT SEED LOG

Now and then it flips a bit, sends a piece twice, swallows one, goes mute (a half-open connection),
cuts the connection, or plays the bytes of an earlier connection to the server again.
Counts of each go to LOG. Until killed.
"""
import collections
import random
import select
import socket
import sys
import threading
import time

counts = collections.Counter()
recorded = []


def tell(path):
    while True:
        time.sleep(1)
        with open(path, "w") as out:
            print(" ".join(f"{k}={v}" for k, v in sorted(counts.items())), file=out)


def replay(server):
    """The first bytes of an earlier client, as they were."""
    try:
        with socket.create_connection(server, timeout=5) as s:
            s.settimeout(1)
            for piece in recorded[0]:
                s.sendall(piece)
            while s.recv(65536):
                pass
    except OSError:
        pass
    counts["replayed_connections"] += 1


def damage(rng, piece):
    """What becomes of a piece: (bytes to send, go on)."""
    dice = rng.random()
    if dice < 0.004:
        at = rng.randrange(len(piece))
        counts["flipped_bits"] += 1
        return piece[:at] + bytes([piece[at] ^ (1 << rng.randrange(8))]) + piece[at + 1:], True
    if dice < 0.007:
        counts["repeated_pieces"] += 1
        return piece + piece, True
    if dice < 0.010:
        counts["swallowed_pieces"] += 1
        return b"", True
    if dice < 0.013:
        counts["cut_connections"] += 1
        return b"", False
    return piece, True


def carry(client, server, rng):
    mute_until = None
    kept = []
    try:
        far = socket.create_connection(server, timeout=5)
    except OSError:
        client.close()
        return
    counts["connections"] += 1
    ends = {client: far, far: client}
    try:
        while True:
            if mute_until and time.monotonic() > mute_until:
                break
            ready, _, _ = select.select(list(ends), [], [], 0.5)
            for end in ready:
                piece = end.recv(65536)
                if not piece:
                    return
                if end is client and len(kept) < 20:
                    kept.append(piece)
                if mute_until:
                    continue
                piece, on = damage(rng, piece)
                ends[end].sendall(piece)
                if not on:
                    return
                if rng.random() < 0.001:
                    counts["mute_connections"] += 1
                    mute_until = time.monotonic() + 12
    except OSError:
        pass
    finally:
        client.close()
        far.close()
        recorded[:] = [kept]
        threading.Thread(target=replay, args=(server,), daemon=True).start()


def main(port, host, far_port, seed, log):
    server = (host, int(far_port))
    rng = random.Random(int(seed))
    threading.Thread(target=tell, args=(log,), daemon=True).start()
    with socket.create_server(("127.0.0.1", int(port))) as listener:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=carry, args=(client, server, random.Random(rng.random())), daemon=True).start()


main(*sys.argv[1:])
