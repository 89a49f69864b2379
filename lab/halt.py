"""Stops machines, one or all of a lab. Their processes end; their files stay."""

import asyncio
import dataclasses
import os
import select
import signal
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from control.api import kinds
from control.client import ApiError, Client
from control.controllers.nodes.silence import silent
from control.linux import processes
from lab.cgroups import remove_cgroups
from lab.down import end
from lab.spec import LabSpec, LabSpecError
from lab.state import LabDir
from lab.status import look

_STOP_SECONDS = 15.0  # a machine gives its components 5 s, and its containers 2 s


def stop_lab(lab: LabDir, spec: LabSpec) -> None:
    """End all processes of a running lab; raises RemovalError, OSError."""
    lab.write_spec(dataclasses.replace(spec, stopped=True))
    pids = {machine.name: machine.pid for machine in look(lab).machines}
    controls = [pids.pop(name) for name in spec.controls]
    _stop(pid for pid in pids.values() if pid is not None)
    _stop(pid for pid in controls if pid is not None)
    keeper = lab.keeper()
    assert keeper is not None  # noqa: S101  # it runs
    end(keeper.pid, lambda: keeper.alive)
    remove_cgroups(lab)


def stop_machines(lab: LabDir, spec: LabSpec, names: Collection[str]) -> None:
    """Stop machines of a running lab, and tell its API server of nodes.

    Raises LabSpecError, ClientError, OSError.
    """
    changed = with_stopped(spec, names)
    lab.write_spec(changed)
    end_nodes(lab, names)
    asyncio.run(_tell(lab.kubeconfig, [name for name in names if name not in spec.controls]))


def with_stopped(spec: LabSpec, names: Collection[str]) -> LabSpec:
    """Return a lab some of whose machines are stopped, if etcd keeps its majority.

    Raises LabSpecError.
    """
    nodes = (
        dataclasses.replace(node, stopped=node.stopped or node.name in names) for node in spec.nodes
    )
    away = {*spec.stopped_controls, *(name for name in names if name in spec.controls)}
    if 2 * len(away) >= spec.control_planes:
        raise LabSpecError(
            f"lab {spec.name} has {spec.control_planes} control planes: without "
            f"{', '.join(sorted(away))} etcd would have no majority, and the API would not serve; "
            "stop the lab instead"
        )
    return dataclasses.replace(spec, nodes=tuple(nodes), stopped_controls=tuple(sorted(away)))


def end_nodes(lab: LabDir, names: Collection[str]) -> None:
    """End the processes of nodes."""
    machines = (machine for machine in look(lab).machines if machine.name in names)
    _stop(machine.pid for machine in machines if machine.pid is not None)


def _stop(pids: Iterable[int]) -> None:
    """End machines by their first processes, all at the same time."""
    fds = []
    for pid in pids:
        try:
            fds.append(processes.open_process(pid))
        except ProcessLookupError:
            continue
    try:
        _end(fds)
    finally:
        for fd in fds:
            os.close(fd)


def _end(fds: Collection[int]) -> None:
    _signal(fds, signal.SIGTERM)
    left, deadline = set(fds), time.monotonic() + _STOP_SECONDS
    while left and (patience := deadline - time.monotonic()) > 0:
        left -= set(select.select(left, [], [], patience)[0])
    _signal(left, signal.SIGKILL)
    for fd in left:
        select.select([fd], [], [])


def _signal(fds: Iterable[int], number: signal.Signals) -> None:
    for fd in fds:
        try:
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            continue


async def _tell(kubeconfig: Path, names: Iterable[str]) -> None:
    """Write into Nodes what the node controller would find out after a minute of silence."""
    async with Client.from_kubeconfig(kubeconfig) as client:
        for name in names:
            try:
                await report_silent(client, name)
            except ApiError as err:
                if not err.not_found:  # deleted by hand: it registers again at its start
                    raise


async def report_silent(client: Client, name: str) -> None:
    """Write into a Node that its agent is silent; raises ApiError, also if it is absent."""
    while (node := silent(await client.get(kinds.NODE, None, name), time.time())) is not None:
        try:
            await client.update_status(kinds.NODE, node)
            return
        except ApiError as err:
            if not err.conflict:  # another part wrote the Node meanwhile: the cloud, of a new one
                raise
