"""Makes new connections steadily until SIGTERM, inside a machine's network namespace.

load.py PATH-OF-LAB ADDRESS PORT INTERVAL-SECONDS. Prints {"ok": n, "failures": [cause, …]}.
"""

import json
import signal
import sys
import time

sys.path.insert(0, sys.argv[1])
from probe import ask  # lab/probe.py, which is a script like this one

stop = False


def end(*_):
    global stop
    stop = True


signal.signal(signal.SIGTERM, end)
print("started", flush=True)
good, failures = 0, []
while not stop:
    try:
        ask(sys.argv[2], int(sys.argv[3]))
        good += 1
    except OSError as err:
        failures.append(f"{time.time():.3f} {err!r}")
    time.sleep(float(sys.argv[4]))
print(json.dumps({"ok": good, "failures": failures}), flush=True)
