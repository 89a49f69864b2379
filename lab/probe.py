"""Ask an HTTP server many times, each on a new connection, and count who answered.

Runs by itself (``python3 -IS probe.py ADDRESS PORT COUNT SERVERS``), because it has to run inside a
machine's or a Pod's network namespace. It begins to count when SERVERS servers have answered: a
proxy learns of endpoints one after the other. Prints
{"answers": {name: n}, "failures": {cause: n}}.
"""

import json
import socket
import sys
import time


def ask(address: str, port: int, timeout: float = 5.0) -> str:
    """The body that one request on a new connection gets; raises OSError."""
    with socket.create_connection((address, port), timeout) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        received = b""
        while part := connection.recv(4096):
            received += part
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator or b" 200 " not in head.split(b"\r\n")[0]:
        raise OSError(f"answered {head[:40]!r}")
    return body.decode().strip()


def count(address: str, port: int, times: int) -> dict[str, dict[str, int]]:
    """Ask ``times`` times; returns how often each answer, and each failure, came."""
    answers: dict[str, int] = {}
    failures: dict[str, int] = {}
    for _ in range(times):
        try:
            name = ask(address, port)
            answers[name] = answers.get(name, 0) + 1
        except OSError as err:
            failures[str(err)] = failures.get(str(err), 0) + 1
    return {"answers": answers, "failures": failures}


def wait(address: str, port: int, servers: int, seconds: float) -> bool:
    """Ask until so many servers have answered, for ``seconds`` at most; True if they did."""
    deadline = time.monotonic() + seconds
    seen: set[str] = set()
    while len(seen) < servers and time.monotonic() < deadline:
        try:
            seen.add(ask(address, port, 0.5))
        except OSError:
            time.sleep(0.02)
    return len(seen) >= servers


if __name__ == "__main__":
    host, numbers = sys.argv[1], [int(text) for text in sys.argv[2:]]
    wait(host, numbers[0], numbers[2], 10)
    json.dump(count(host, numbers[0], numbers[1]), sys.stdout)
