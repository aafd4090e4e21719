"""What keys cost: bulk and control messages over loopback, with a token and with keys, in turn.

    python -m benchmarks.keys                # throughput, CPU and latency
    python -m benchmarks.keys --idle 1000    # what idle connections and a slow one cost a server

Sockets are the runtime's own, so all but the numbers' use is real; no model, no torch.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from evener.runtime import keys
from evener.runtime import protocol as p
from evener.runtime.transport import Dialer, Listener

SIZE = 64 * p.CHUNK
"""Bytes of one transfer: sixty-four chunks."""

ROUNDS = 5


@contextmanager
def pair(with_keys: bool) -> Iterator[tuple[Listener, Dialer]]:
    """A listener that echoes control messages and counts bulk, and who dials it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "keys"
        keys.make(folder, ["worker"])
        listener = Listener("tcp://127.0.0.1:*", keys.ServerKeys(folder) if with_keys else "token")
        address = listener.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        dialer = Dialer(address, keys.WorkerKeys.read(folder / "worker") if with_keys else "token", "worker")
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield listener, dialer
        finally:
            dialer.control.send(b"end")
            thread.join(10)
            dialer.close()
            listener.close()


def serve(listener: Listener) -> None:
    """Answer each control message, and the last chunk of each transfer."""
    taken = 0
    while True:
        frames = listener.socket.recv_multipart(copy=False)
        listener.news()
        if len(frames) == 3:
            taken += len(frames[2].buffer)
            if taken < SIZE:
                continue
            taken = 0
        if bytes(frames[1].buffer) == b"end":
            return
        listener.socket.send_multipart([frames[0].bytes.replace(b"bulk", b"control"), b"taken"])


def transfer(dialer: Dialer) -> tuple[float, float]:
    """Megabytes per second, and CPU seconds (of both ends) per gigabyte."""
    chunk = memoryview(bytes(p.CHUNK))
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(SIZE // p.CHUNK):
        dialer.bulk.send_multipart([b"part", chunk], copy=False)
    dialer.control.recv()
    return SIZE / 1e6 / (time.perf_counter() - began), (time.process_time() - cpu) / (SIZE / 1e9)


def latency(dialer: Dialer) -> float:
    """Microseconds for a control message and its answer."""
    times = []
    for _ in range(300):
        began = time.perf_counter()
        dialer.control.send(b"ask")
        dialer.control.recv()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def costs() -> None:
    """Print the table."""
    found: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
    with pair(False) as (_, plain), pair(True) as (_, curve):
        for number in range(ROUNDS + 1):
            for with_keys, dialer in ((False, plain), (True, curve)):
                one = (*transfer(dialer), latency(dialer))
                if number:  # the first warms up
                    found[with_keys].append(one)
    print("| | MB/s | CPU-s/GB, both ends | round trip of a message (µs) |\n|---|---|---|---|")
    for with_keys, rows in found.items():
        speed, cpu, trip = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {'keys' if with_keys else 'token'} | {speed:.0f} | {cpu:.2f} | {trip:.0f} |")


def idle(count: int) -> None:
    """Print how much slower round trips and transfers are with idle connections, and one that sends a byte a second."""
    with pair(True) as (listener, dialer):
        port = int(listener.socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        transfer(dialer)
        rows: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for crowded in (False, True):
                sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count if crowded else 0)]
                if crowded:
                    sockets[0].send(b"\xff")  # a greeting that takes its time
                time.sleep(0.5)  # until all are accepted
                rows[crowded].append((transfer(dialer)[0], latency(dialer)))
                for one in sockets:
                    one.close()
                time.sleep(0.5)
    for crowded, measured in rows.items():
        speed, trip = (statistics.median(column) for column in zip(*measured, strict=True))
        print(f"{count if crowded else 0} idle connections: {speed:.0f} MB/s, {trip:.0f} µs")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, metavar="N", help="with N idle connections, and without")
    options = parser.parse_args()
    if options.idle:
        idle(options.idle)
    else:
        costs()


if __name__ == "__main__":
    main()
