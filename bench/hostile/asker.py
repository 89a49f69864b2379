"""The second client: asks /healthz every 20 ms until its standard input ends.

    python -m bench.hostile.asker PORT FOLDER

It prints a JSON list of (time of asking, seconds until the answer), by the clock of the machine,
which is the same in all processes.
"""

import gc
import http.client
import json
import select
import ssl
import sys
import time
from pathlib import Path

EVERY = 0.02

# http.client takes 100 headers, and drops the connection at one more. An answer may have a warning
# for each of 100 unknown fields, upstream's too.
http.client._MAXHEADERS = 1000  # type: ignore[attr-defined]


def client(port: int, folder: Path) -> http.client.HTTPSConnection:
    """Return an administrator's connection."""
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    tls.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    return http.client.HTTPSConnection("127.0.0.1", port, context=tls)


def main() -> None:
    """Ask until the standard input ends."""
    connection = client(int(sys.argv[1]), Path(sys.argv[2]))
    waits: list[tuple[float, float]] = []
    gc.disable()
    due = time.monotonic()
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        begin = time.monotonic()
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        if answer.read() != b"ok":
            raise SystemExit(f"/healthz answered {answer.status}")
        waits.append((begin, time.monotonic() - begin))
        due = max(due + EVERY, time.monotonic())
    print(json.dumps(waits))


if __name__ == "__main__":
    main()
