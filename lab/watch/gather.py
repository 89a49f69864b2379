"""Reads what machines count: bytes of their cables, and packets that they drop."""

import http.client
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from control.linux import syscalls
from lab.spec import UPLINK
from lab.status import LabStatus
from lab.watch.picture import Traffic

_METRICS = ("127.0.0.1", 10249)  # of each node's proxy, in the node's network
_SECONDS = 2.0
_DROPS = re.compile(rb"^kubeproxy_network_policy_dropped_packets_total\{.*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a machine has counted since its start."""

    received: int
    sent: int
    dropped: int


def count(status: LabStatus) -> dict[str, Counts]:
    """Return the counts of the machines that run."""
    pids = {machine.name: machine.pid for machine in status.machines if machine.pid is not None}
    with ThreadPoolExecutor(8) as threads:  # setns is for a thread alone, and these end here
        drops = dict(zip(pids, threads.map(_policy_drops, pids.values()), strict=True))
    found = {}
    for name, pid in pids.items():
        with suppress(OSError):  # the machine has just ended
            counted = read_devices(Path(f"/proc/{pid}/net/dev").read_text())
            found[name] = Counts(counted.received, counted.sent, counted.dropped + drops[name])
    return found


def read_devices(text: str) -> Counts:
    """Read /proc/PID/net/dev: the uplink's bytes, and every link's drops; see proc_net_dev(5)."""
    received = sent = dropped = 0
    for name, row in _rows(text):
        dropped += row[3] + row[11]
        if name == UPLINK:
            received, sent = row[0], row[8]
    return Counts(received, sent, dropped)


def _rows(text: str) -> Iterator[tuple[str, list[int]]]:
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        yield name.strip(), [int(number) for number in numbers.split()]


def _policy_drops(pid: int) -> int:
    """Return the packets that a node's policies have dropped; 0 if its proxy does not answer."""
    connection = http.client.HTTPConnection(*_METRICS, timeout=_SECONDS)
    try:
        with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
            syscalls.setns(namespace.fileno(), syscalls.CLONE_NEWNET)
        connection.request("GET", "/metrics")
        return read_drops(connection.getresponse().read())
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def read_drops(metrics: bytes) -> int:
    """Return the sum of the policies' drops in a proxy's metrics."""
    return sum(int(float(value)) for value in _DROPS.findall(metrics))


def rates(
    before: Mapping[str, Counts], after: Mapping[str, Counts], seconds: float
) -> dict[str, Traffic]:
    """Return what passed each second; a machine that was started meanwhile begins at 0."""
    found = {}
    for name, now in after.items():
        then = before.get(name)
        if then is None or seconds <= 0:
            continue
        # A machine's way down is the cable's way in.
        parts = (
            now.received - then.received,
            now.sent - then.sent,
            now.dropped - then.dropped,
        )
        found[name] = Traffic(*(max(0, part) / seconds for part in parts))
    return found
