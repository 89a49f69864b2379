"""Makes a machine's cable good or bad, and remembers it for the machine's next start."""

import dataclasses
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.link.quality import LinkError, Quality
from lab.link.scripts import Kernel, machine_end, queues, rules, switch_end, unqueue
from lab.machine import enter_network
from lab.network import LabNetworkError, run_script
from lab.spec import UPLINK
from lab.state import LabDir
from lab.supervise import fork

_RECORD = "links.json"
_NONE = "RTNETLINK answers: No such file or directory", "Cannot delete qdisc with handle of zero"


def kernel() -> Kernel:
    """Return the queueing disciplines of this kernel: tried in a network namespace that ends."""
    return Kernel(netem=_has("netem delay 1ms"), tbf=_has("tbf rate 1mbit burst 16384 latency 1s"))


def _has(discipline: str) -> bool:
    argv = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", *discipline.split()]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def require(want: Quality, has: Kernel) -> None:
    """Refuse what this kernel cannot do; raises LinkError."""
    if want.delay and not has.netem:
        raise LinkError(
            "--delay: this kernel has no netem, which delays packets; load it (modprobe sch_netem) "
            "or use another kernel, Debian's for instance. --loss, --rate, --mtu and --down work"
        )


def apply(keeper: int, pid: int, machine: str, want: Quality, has: Kernel) -> None:
    """Let the cable of a running machine be as wanted; raises LinkError.

    ``keeper`` and ``pid`` are processes in the switch's and the machine's network.
    """

    def at_switch() -> None:
        _run(["nft", "-f", "-"], rules(machine, want, has))
        _queue(machine, want, has)
        run_script(switch_end(machine, want))

    def in_machine() -> None:
        _queue(UPLINK, want, has)
        run_script(machine_end(want))

    _inside(pid, in_machine, machine)
    _inside(keeper, at_switch, machine)


def _inside(pid: int, work: Any, machine: str) -> None:
    """Do something in the network of a process, by a fork; raises LinkError with its words."""
    reading, writing = os.pipe()

    def child() -> None:
        try:
            enter_network(pid)
            work()
        except (OSError, LabNetworkError, LinkError) as err:
            os.write(writing, str(err).encode()[:4000])
            raise SystemExit(1) from err

    made = fork(child)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    if os.waitpid(made, 0)[1]:
        raise LinkError(f"the cable of {machine} cannot be changed: {said or 'a process died'}")


def _queue(device: str, want: Quality, has: Kernel) -> None:
    _run(unqueue(device), may_be_absent=True)
    for argv in queues(device, want, has):
        _run(argv)


def _run(argv: list[str], script: str = "", *, may_be_absent: bool = False) -> None:
    done = subprocess.run(argv, input=script, text=True, capture_output=True, check=False)
    if done.returncode and not (may_be_absent and any(x in done.stderr for x in _NONE)):
        raise LinkError(f"{' '.join(argv[:2])}: {done.stderr.strip()}")


def recorded(lab: LabDir) -> dict[str, Quality]:
    """Return the cables that are not good, by machine; raises OSError, ValueError, TypeError."""
    path: Path = lab.path / _RECORD
    rows = json.loads(path.read_text()) if path.exists() else {}
    return {name: Quality(**row) for name, row in rows.items()}


def record(lab: LabDir, links: Mapping[str, Quality]) -> None:
    """Write the cables that are not good; raises OSError."""
    rows: dict[str, object] = {
        name: dataclasses.asdict(q) for name, q in links.items() if q != Quality()
    }
    lab.write(_RECORD, rows)


def forget(lab: LabDir, machine: str) -> None:
    """Forget the cable of a machine that is removed; raises OSError."""
    links = recorded(lab)
    if links.pop(machine, None):
        record(lab, links)


def plug_in(lab: LabDir, machine: str, pid: int) -> None:
    """Let the new cable of a machine that starts be as the old one was; raises LinkError."""
    if want := recorded(lab).get(machine):
        apply(os.getpid(), pid, machine, want, kernel())
