"""The status of a lab, read from /proc: the processes of its machines and components."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from control.linux.processes import start_ticks
from lab.goals import Published
from lab.machine import enter_argv
from lab.parts import machines
from lab.spec import Component, LabSpec
from lab.state import LabDir


class MachineNotFoundError(OSError):
    """The lab has no such machine, or the machine does not run."""


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """A component: pid (as seen from the host) and age in seconds, or None if it is down."""

    name: str
    pid: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """A machine, its addresses, and its components."""

    name: str
    pid: int | None
    addresses: tuple[str, ...]
    components: tuple[ComponentStatus, ...]
    stopped: bool = False  # by lab node stop


@dataclass(frozen=True, slots=True)
class LabStatus:
    """``state`` is up, degraded (a machine was killed), dead (all were), stopped, half-made, or
    absent.
    """

    state: str
    nodes: int
    machines: tuple[MachineStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineNamespaces:
    """The namespaces of a machine or of the switch, in which a command can run."""

    pid: int
    network_only: bool  # the switch has a network of its own, and the host's files

    def enter(self, *argv: str) -> list[str]:
        """Return the command line that runs ``argv`` there."""
        if self.network_only:
            return ["nsenter", f"--target={self.pid}", "--net", "--", *argv]
        return enter_argv(self.pid, *argv)


def locate(lab: LabDir, machine: str) -> MachineNamespaces:
    """Find a running machine; raises MachineNotFoundError, which lists the existing ones."""
    keeper = lab.keeper()
    if keeper is None or not keeper.alive:
        raise MachineNotFoundError(f"lab {lab.name} is not up")
    if machine == "switch":
        return MachineNamespaces(keeper.pid, network_only=True)
    pids, spec = _machine_pids(lab, keeper.pid), lab.spec()
    if machine not in pids:
        if spec is not None and machine in {known.name for known in machines(spec)}:
            why = "does not run any more: its first process was killed; start it again"
            if machine in stopped(spec):
                why = "is stopped; start it"
            raise MachineNotFoundError(
                f"machine {machine} of lab {lab.name} {why} with: "
                f"podwire lab start{named(lab)} {machine}"
            )
        known = ", ".join([*sorted(pids), "switch"])
        raise MachineNotFoundError(f"lab {lab.name} has no machine {machine}: it has {known}")
    return MachineNamespaces(pids[machine], network_only=False)


def named(lab: LabDir) -> str:
    """Return the option that a command line needs to mean this lab; "" for the default one."""
    return "" if lab.name == "lab" else f" --name {lab.name}"


def killed_machines(lab: LabDir) -> list[str]:
    """Return the machines of a running lab whose first process was killed."""
    return [m.name for m in look(lab).machines if m.pid is None and not m.stopped]


def stopped(spec: LabSpec) -> set[str]:
    """Return the names of the machines that ``lab node stop`` stopped."""
    return {node.name for node in spec.nodes if node.stopped} | {*spec.stopped_controls}


def look(lab: LabDir) -> LabStatus:
    """Return the status of a lab, or of what is left of it."""
    if not lab.path.exists():
        return LabStatus("absent", 0)
    spec, keeper = lab.spec(), lab.keeper()
    if spec is None or keeper is None:
        return LabStatus("half-made", 0)
    pids = _machine_pids(lab, keeper.pid) if keeper.alive else {}
    rows = []
    for machine in machines(spec):
        pid = pids.get(machine.name)
        processes = _children(pid) if pid is not None else {}
        commands = [component.argv[0] for component in machine.components]
        components = tuple(
            _component(each, processes, 2 if commands.count(each.argv[0]) > 1 else 1)
            for each in machine.components
        )
        down = machine.name in stopped(spec)
        rows.append(MachineStatus(machine.name, pid, machine.ips, components, stopped=down))
    return LabStatus(_state(keeper.alive, spec, rows), len(spec.nodes), tuple(rows))


def published(lab: LabDir) -> dict[int, Published]:
    """Return what publishes ports of the host, by process ID; empty if the lab is not up."""
    keeper = lab.keeper()
    if keeper is None or not keeper.alive:
        return {}
    rows = {pid: Published.from_title(title) for pid, title in _children(keeper.pid).items()}
    return {pid: row for pid, row in rows.items() if row is not None}


def _state(alive: bool, spec: LabSpec, rows: list[MachineStatus]) -> str:
    if not alive:
        return "stopped" if spec.stopped else "dead"
    return "degraded" if any(m.pid is None and not m.stopped for m in rows) else "up"


def _machine_pids(lab: LabDir, keeper: int) -> dict[str, int]:
    """Find the machines by the titles of their first processes."""
    prefix = f"podwire machine {lab.name}/"
    return {
        title.removeprefix(prefix): pid
        for pid, title in _children(keeper).items()
        if title.startswith(prefix)
    }


def _component(component: Component, processes: dict[int, str], words: int) -> ComponentStatus:
    """Find a component's process by the first words of its command line."""
    wanted = [component.argv[0]] if component.is_program else ["podwire", *component.argv[:words]]
    for pid, title in processes.items():
        if title.split()[: len(wanted)] == wanted:
            return ComponentStatus(component.name, pid, _age(pid))
    return ComponentStatus(component.name, None, None)


def _children(pid: int) -> dict[int, str]:
    """Return the titles of a process's children, by pid; those that have ended are left out."""
    titles = {}
    for child in _read(f"/proc/{pid}/task/{pid}/children").split():
        titles[int(child)] = _read(f"/proc/{child}/cmdline").replace("\0", " ").strip()
    return titles


def _age(pid: int) -> float | None:
    ticks = start_ticks(pid)
    if ticks is None:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _read(path: str) -> str:
    """Read a file of /proc; empty if its process is gone."""
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
