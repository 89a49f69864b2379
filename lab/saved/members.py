"""A lab's etcd and a file of SQLite: each copied into the other.

The members of a lab that does not run are started for it, in a network of their own that has the
addresses of their machines, so that what they know of each other stays true.
"""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from control.linux import syscalls
from control.store import open_when_ready
from control.store.base import StoreUnavailableError
from control.store.copy import copy
from lab.network import run_script
from lab.parts import control_machines, etcd, store_url
from lab.saved import head
from lab.spec import CONFIG, DATA, LabSpec, Machine
from lab.state import LabDir
from lab.status import look

_FOLDER = "etcd"  # of a member's data, in its machine's folder
T = TypeVar("T")


def to_file(lab: LabDir, spec: LabSpec, file: Path, *, running: bool) -> None:
    """Copy a lab's etcd into a file of SQLite; raises StoreError, OSError."""

    def act(url: str) -> None:
        asyncio.run(copied(url, f"sqlite:{file}?sync=normal"))

    if running:
        return inside(lab, spec, act)
    with tempfile.TemporaryDirectory(prefix="podwire-etcd-") as folder:
        data = {machine.name: Path(folder) / machine.name for machine in control_machines(spec)}
        for name, place in data.items():
            shutil.copytree(lab.machine(name) / "var" / _FOLDER, place)
        _apart(lab, spec, data, act)
    return None


def from_file(lab: LabDir, spec: LabSpec) -> None:
    """Fill the etcd of a lab that has never run with its file of SQLite, which is removed.

    Raises StoreError, OSError.
    """
    file = file_of(lab)
    data = {m.name: lab.machine(m.name) / "var" / _FOLDER for m in control_machines(spec)}
    _apart(lab, spec, data, lambda url: asyncio.run(copied(f"sqlite:{file}", url)))
    for left in file.parent.glob(f"{file.name}*"):
        left.unlink()


def file_of(lab: LabDir) -> Path:
    """Return where a saved lab has its store."""
    return lab.path / head.STORE


async def copied(source: str, target: str) -> None:
    """Copy a store into an empty one, by their URLs; raises StoreError."""
    old = await open_when_ready(source)
    try:
        new = await open_when_ready(target)
        try:
            await copy(old, new)
        finally:
            await new.close()
    finally:
        await old.close()


def inside(lab: LabDir, spec: LabSpec, act: Callable[[str], T]) -> T:
    """Carry out ``act`` in the network of a control plane that runs, with the URL of its etcd."""
    pids = {machine.name: machine.pid for machine in look(lab).machines}
    name = next((name for name in spec.controls if pids.get(name)), None)
    if name is None:
        raise StoreUnavailableError("no control plane runs; start it with: podwire lab start")

    def entered() -> T:
        syscalls.enter(f"/proc/{pids[name]}/ns/net", syscalls.CLONE_NEWNET)
        return act(_url(lab, spec, name))

    return _in_thread(entered)


def _apart(lab: LabDir, spec: LabSpec, data: Mapping[str, Path], act: Callable[[str], T]) -> T:
    """Carry out ``act`` with the URL of members that run on ``data``, in a network of their own."""

    def alone() -> T:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        machines = control_machines(spec)
        addresses = [address for machine in machines for address in machine.addresses]
        run_script(["link set lo up", *(f"addr add {each} dev lo" for each in addresses)])
        with _members(lab, spec, data):
            return act(_url(lab, spec, machines[0].name))

    return _in_thread(alone)


@contextmanager
def _members(lab: LabDir, spec: LabSpec, data: Mapping[str, Path]) -> Iterator[None]:
    """Run all members in this thread's network; they end as if their machines were switched off."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for machine in control_machines(spec):
            argv = _argv(lab, spec, machine, data[machine.name])
            started.append(
                subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
        yield
    finally:
        for process in started:  # it asks in vain for another leader, and waits for an answer
            process.kill()
        for process in started:
            process.wait()


def _argv(lab: LabDir, spec: LabSpec, machine: Machine, data: Path) -> list[str]:
    component = etcd(spec, machine)
    assert component is not None  # noqa: S101  # a lab with etcd has it on each control plane
    places = {str(DATA / _FOLDER): str(data), str(CONFIG): str(lab.machine(machine.name) / "etc")}
    return [_replaced(word, places) for word in component.argv]


def _url(lab: LabDir, spec: LabSpec, machine: str) -> str:
    return _replaced(store_url(spec, machine), {str(CONFIG): str(lab.machine(machine) / "etc")})


def _replaced(text: str, places: Mapping[str, str]) -> str:
    """Return a text with paths of this host for those of a machine."""
    for inside, outside in places.items():
        text = text.replace(inside, outside)
    return text


def _in_thread(act: Callable[[], T]) -> T:
    """A thread can change its network, and ends with it; what it forks has that network, too."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(act).result()
