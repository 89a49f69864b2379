"""Changes a lab while it runs."""

import dataclasses
import http.client
import os
import signal
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from control.linux import syscalls
from lab.components import save_components
from lab.parts import node_machines
from lab.spec import LabSpec
from lab.state import LabDir
from lab.status import MachineNotFoundError, MachineStatus, locate, look, named, stopped
from proxy.backends.base import missing

_SERVE_SECONDS = 60.0  # a proxy starts and writes its rules in 0.3 s
_HEALTH = ("127.0.0.1", 10256)  # of each node's proxy, in the node's network


class BackendMissingError(OSError):
    """This machine lacks something that a backend needs; the text names it and the remedy."""


def require_backend(mode: str) -> None:
    """Raise BackendMissingError if this machine cannot run a backend.

    Otherwise only the logs of the nodes' proxies would say it.
    """
    if lacking := missing(mode):
        raise BackendMissingError(f"{mode}: {'; '.join(lacking)}")


class ProxyNotServingError(OSError):
    """Nodes' proxies were started, and do not serve in time; the text names the nodes."""


def set_proxy(lab: LabDir, spec: LabSpec, mode: str) -> None:
    """Let every node balance Services by ``mode`` from now on; raises as ``change`` does."""
    require_backend(mode)
    change(lab, dataclasses.replace(spec, proxy=mode))


def set_counters(lab: LabDir, spec: LabSpec, detail: str) -> None:
    """Let every node count the calls of its Services, or not; raises as ``change`` does."""
    change(lab, dataclasses.replace(spec, counters=detail))


def change(lab: LabDir, changed: LabSpec) -> None:
    """Give the lab's nodes the proxies of ``changed``; return when they have written their rules.

    A new proxy takes over the old one's rules, so that no connection is lost. Nodes that were
    killed are skipped, and named at the end by MachineNotFoundError. Raises ProxyNotServingError,
    and OSError.
    """
    before = lab.spec()
    old = {machine.name: _proxy(machine) for machine in look(lab).machines}
    lab.write_spec(changed)
    dead, alive = [], []
    for machine in node_machines(changed):
        save_components(lab, machine)
        if machine.name in stopped(changed):
            continue
        try:
            os.kill(locate(lab, machine.name).pid, signal.SIGHUP)
            alive.append(machine.name)
        except MachineNotFoundError as err:
            dead.append(str(err))
    _wait(lab, alive, {} if before == changed else old)
    if dead:
        raise MachineNotFoundError(f"the running nodes are changed, but {'; '.join(dead)}")


def _proxy(machine: MachineStatus) -> int | None:
    """Return the pid of a node's proxy, as the host sees it."""
    return next((part.pid for part in machine.components if part.name == "proxy"), None)


def _wait(lab: LabDir, names: Collection[str], old: Mapping[str, int | None]) -> None:
    """Wait until the proxies of nodes are others than the ``old`` ones, and serve."""
    waiting, deadline = set(names), time.monotonic() + _SERVE_SECONDS
    while True:
        for machine in look(lab).machines:
            pid = _proxy(machine)
            if (
                machine.name in waiting
                and pid not in (None, old.get(machine.name))
                and _serves(pid)
            ):
                waiting.remove(machine.name)
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise ProxyNotServingError(
                f"the proxies of {', '.join(sorted(waiting))} do not serve after "
                f"{_SERVE_SECONDS:.0f} s; see: podwire lab logs{named(lab)} proxy"
            )
        time.sleep(0.02)


def _serves(pid: int) -> bool:
    """True if the proxy in the network namespace of ``pid`` has written its rules."""
    with ThreadPoolExecutor(1) as thread:  # setns is for the thread alone, which ends here
        return thread.submit(_ask, pid).result()


def _ask(pid: int) -> bool:
    connection = http.client.HTTPConnection(*_HEALTH, timeout=_SERVE_SECONDS)
    try:
        with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
            syscalls.setns(namespace.fileno(), syscalls.CLONE_NEWNET)
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):  # it starts, or it has just ended
        return False
    finally:
        connection.close()
