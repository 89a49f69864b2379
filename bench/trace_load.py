"""The loads of ``bench.trace``: slices of new connections and of a transfer, asked for by lines.

python -m bench.trace_load serve       in the server's Pod
python -m bench.trace_load call        in the client's Pod: a line in, a slice's JSON out
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from statistics import median

from bench.cpus import apart
from bench.proxy_node import answer

SERVER = "10.244.0.3"
_BULK, _NEW = 7001, 7002  # ports
_CHUNK = 1 << 18  # bytes in one write
_DATA = bytes(_CHUNK)
_SIZE = 1 << 21  # bytes of a transfer, and of these so many in a slice
_TRANSFERS = 40
_CONNECTIONS = 150
_WARM = 10  # of so many one more, which does not count


def main() -> None:
    """Serve, or call."""
    if sys.argv[1] == "serve":
        os.sched_setaffinity(0, apart()[1])
        answer(_NEW)
        _receive(_BULK)
        print(os.getpid(), flush=True)
        signal.pause()
    os.sched_setaffinity(0, apart()[0])
    server = int(sys.argv[2])
    with socket.create_connection((SERVER, _BULK)) as bulk:
        for _ in sys.stdin:
            print(json.dumps(_slice(bulk, server)), flush=True)


def _slice(bulk: socket.socket, server: int) -> dict[str, float]:
    """Return seconds and processor seconds of a connection and of a transfer: medians."""
    found: dict[str, float] = {}
    acts: dict[str, tuple[Callable[[], object], int]] = {
        "connection": (_connect, _CONNECTIONS),
        "transfer": (lambda: _transfer(bulk), _TRANSFERS),
    }
    for name, (act, count) in acts.items():
        for _ in range(count // _WARM):
            act()
        times = [_timed(server, act) for _ in range(count)]
        wall, busy = zip(*times, strict=True)
        found[name], found[f"{name}'s processor"] = median(wall), median(busy)
    return found


def _timed(server: int, act: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of an act, and the processor seconds of client and server meanwhile."""
    clock = ~server << 3 | 2  # CPUCLOCK_SCHED of a process (clock_getcpuclockid)
    busy, began = time.process_time_ns() + time.clock_gettime_ns(clock), time.perf_counter()
    act()
    took = time.perf_counter() - began
    return took, (time.process_time_ns() + time.clock_gettime_ns(clock) - busy) / 1e9


def _connect() -> None:
    with socket.socket() as client:
        client.connect((SERVER, _NEW))
        client.recv(1)


def _transfer(bulk: socket.socket) -> None:
    for _ in range(_SIZE // _CHUNK):
        bulk.sendall(_DATA)
    bulk.recv(1)


def _receive(port: int) -> None:
    """In the background, answer each slice's bytes with one."""
    listener = socket.create_server(("", port))
    buffer = bytearray(_CHUNK)

    def accept() -> None:
        connection, _ = listener.accept()
        left = _SIZE
        while size := connection.recv_into(buffer, min(left, _CHUNK)):
            left -= size
            if not left:
                connection.send(b"!")
                left = _SIZE

    threading.Thread(target=accept, daemon=True).start()


if __name__ == "__main__":
    main()
