"""Adds nodes to a running lab, and starts machines that do not run."""

import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Sequence

from lab.cloud import write_machines
from lab.components import save_components
from lab.credentials import write_hollow_credentials, write_node_credentials
from lab.folders import make_folders
from lab.parts import control_machines, machines
from lab.report import Steps
from lab.requests import MachineStartError, start_machine, wait_ready
from lab.spec import LabSpec, Machine, NodeSpec
from lab.state import LabDir
from lab.status import locate, stopped


def add_nodes(lab: LabDir, spec: LabSpec, added: Sequence[NodeSpec], steps: Steps) -> None:
    """Add nodes to a running lab, and wait until they are ready.

    A node that cannot be started is not added. Raises MachineStartError, NotReadyError, OSError.
    """
    began = time.time()
    for node in added:
        spec = dataclasses.replace(spec, nodes=(*spec.nodes, node))
        _add(lab, spec, node.name)
    names = {node.name for node in added}
    with steps.step("nodes ready") as say:
        wait_ready(lab, names, say, since=began)


def add_hollow(lab: LabDir, before: LabSpec, spec: LabSpec, steps: Steps) -> None:
    """Add the hollow nodes that ``spec`` has more than ``before``, and wait until they are ready.

    The process of those that there are finds the others' credentials, and keeps what it has.
    Raises NotReadyError, MachineNotFoundError, OSError.
    """
    began = time.time()
    added = spec.hollow_names[before.hollow :]
    try:
        lab.write_spec(spec)
        write_machines(lab, spec)
        write_hollow_credentials(lab, spec)
    except OSError:
        lab.write_spec(before)
        write_machines(lab, before)
        raise
    if not before.hollow:
        control = control_machines(spec)[0]
        save_components(lab, control)
        os.kill(locate(lab, control.name).pid, signal.SIGHUP)
    with steps.step("nodes ready") as say:
        wait_ready(lab, added, say, since=began)


def start_again(lab: LabDir, spec: LabSpec, name: str) -> LabSpec:
    """Start a machine that does not run; raises MachineStartError, OSError."""
    spec = _mark_started(lab, spec, name)
    start_machine(lab, name)
    return spec


def _mark_started(lab: LabDir, spec: LabSpec, name: str) -> LabSpec:
    """Expect a stopped machine to run again."""
    if name not in stopped(spec):
        return spec
    nodes = tuple(
        dataclasses.replace(node, stopped=node.stopped and node.name != name) for node in spec.nodes
    )
    away = tuple(control for control in spec.stopped_controls if control != name)
    changed = dataclasses.replace(spec, nodes=nodes, stopped_controls=away)
    lab.write_spec(changed)
    return changed


def _add(lab: LabDir, spec: LabSpec, name: str) -> None:
    machine = _machine(spec, name)
    before = dataclasses.replace(spec, nodes=spec.nodes[:-1])
    try:
        make_folders(lab, machine)
        write_node_credentials(lab, spec, machine)
        lab.write_spec(spec)
        write_machines(lab, spec)
        start_machine(lab, name)
    except (MachineStartError, OSError):
        lab.write_spec(before)
        write_machines(lab, before)
        shutil.rmtree(lab.machine(name), ignore_errors=True)
        raise


def _machine(spec: LabSpec, name: str) -> Machine:
    return next(machine for machine in machines(spec) if machine.name == name)
