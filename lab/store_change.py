"""Moves a running lab from SQLite to etcd, or back: its Pods go on, and who asks the API waits.

The API server ends, its store is copied into an empty one of the other kind, and a server starts on
that. Its listening sockets are the machine's, so that connections wait meanwhile.
"""

import asyncio
import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from control.client import Client, ClientError
from control.reported import ReportedError
from control.store.base import StoreError
from lab import needs
from lab.components import save_components
from lab.parts import control_machines, store_url
from lab.report import Steps
from lab.saved import members
from lab.saved.head import STORE
from lab.spec import ETCD, SQLITE, LabSpec
from lab.state import LabDir
from lab.status import locate, look, named

_SECONDS = 60.0  # in which a server ends, or begins
_SERVER = "apiserver"


class StoreChangeError(ReportedError):
    """The lab keeps its store; the text says why."""


def set_store(lab: LabDir, spec: LabSpec, kind: str, steps: Steps) -> None:
    """Let a running lab keep its objects in a store of another kind, and ask for readiness.

    After a failure the old one serves again. Raises StoreChangeError, MissingPackagesError,
    MachineNotFoundError, OSError.
    """
    if spec.store == kind:
        raise StoreChangeError(f"lab {lab.name} keeps its objects in {kind} already")
    if spec.is_balanced:
        raise StoreChangeError(f"lab {lab.name} has several control planes, which share an etcd")
    if kind == ETCD:
        needs.require_of(needs.ETCD)
    changed = dataclasses.replace(spec, store=kind)
    try:
        _move(lab, spec, changed, steps)
    except BaseException:
        lab.write_spec(spec)
        _run(lab, spec)
        raise
    with steps.step("the API server is ready", animated=False):
        asyncio.run(_ready(lab))


def _move(lab: LabDir, old: LabSpec, new: LabSpec, steps: Steps) -> None:
    """Copy the objects while no server runs, and let one start on the copy."""
    with steps.step("the API server has ended", animated=False):
        _clear(lab, new.store)
        _run(lab, dataclasses.replace(old, store=ETCD), without=_SERVER)
        _wait(lambda: not _runs(lab, _SERVER), f"the API server of lab {lab.name} does not end")
    with steps.step(f"objects are in {new.store}", animated=False):
        urls = [_outside(lab, spec) for spec in (old, new)]
        try:
            members.inside(lab, old, lambda _: asyncio.run(members.copied(*urls)))
        except StoreError as err:
            raise StoreChangeError(f"the store of lab {lab.name} cannot be copied: {err}") from err
    lab.write_spec(new)
    _run(lab, new)


def _clear(lab: LabDir, kind: str) -> None:
    """Remove what an earlier change has left: the copy goes into an empty store."""
    file = lab.path / STORE
    if kind == SQLITE:
        for left in file.parent.glob(f"{file.name}*"):
            left.unlink()
    else:
        shutil.rmtree(file.parent / "etcd", ignore_errors=True)


def _run(lab: LabDir, spec: LabSpec, without: str = "") -> None:
    """Let the control plane's machine run the components of a specification, but for one."""
    (machine,) = control_machines(spec)
    kept = tuple(each for each in machine.components if each.name != without)
    save_components(lab, dataclasses.replace(machine, components=kept))
    os.kill(locate(lab, machine.name).pid, signal.SIGHUP)


def _runs(lab: LabDir, component: str) -> bool:
    parts = (part for machine in look(lab).machines for part in machine.components)
    return any(part.name == component and part.pid is not None for part in parts)


def _outside(lab: LabDir, spec: LabSpec) -> str:
    """Return the URL of the store for a process of this host in the machine's network."""
    if spec.store == SQLITE:
        return f"sqlite:{lab.path / STORE}"
    return store_url(spec, spec.controls[0])


def _wait(enough: Callable[[], bool], fault: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not enough():
        if time.monotonic() > deadline:
            raise StoreChangeError(f"{fault} in {_SECONDS:.0f} s; see: podwire lab logs {_SERVER}")
        time.sleep(0.02)


async def _ready(lab: LabDir) -> None:
    """Wait until the API server serves; raises StoreChangeError."""
    async with Client.from_kubeconfig(Path(lab.kubeconfig)) as client:
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                await client.raw("/readyz")
                return
            except ClientError as err:
                if time.monotonic() > deadline:
                    raise StoreChangeError(
                        f"the API server does not serve: {err}; see: podwire lab logs"
                        f"{named(lab)} {_SERVER}"
                    ) from err
            await asyncio.sleep(0.1)
