"""Ask an HTTP server many times, each on a new connection, and count who answered.

Runs by itself (``python3 -IS probe.py ADDRESS PORT COUNT``), because it has to run inside a
machine's or a Pod's network namespace. Prints {"answers": {name: n}, "failures": {cause: n}}.
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


def wait(address: str, port: int, seconds: float) -> bool:
    """Ask until the first answer, for ``seconds`` at most; returns whether there was one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            ask(address, port, 0.5)
        except OSError:
            time.sleep(0.02)
        else:
            return True
    return False


if __name__ == "__main__":
    host, number, repeat = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    wait(host, number, 10)
    json.dump(count(host, number, repeat), sys.stdout)
