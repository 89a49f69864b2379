"""What the lab's cloud is told of the machines: files that ``podwire cloud`` reads."""

import json
from collections.abc import Collection

from control.cloud.lab.rows import MACHINES, RUNNING, describe
from control.linux import whole
from lab.parts import hollow_machines, node_machines
from lab.spec import ZONE, LabSpec
from lab.state import LabDir


def write_machines(lab: LabDir, spec: LabSpec) -> None:
    """Write which nodes' machines exist; raises OSError."""
    zones = {node.name: dict(node.labels).get(ZONE, "") for node in spec.nodes}
    rows = [
        describe(lab.name, machine.name, machine.ips, zones.get(machine.name, ""))
        for machine in (*node_machines(spec), *hollow_machines(spec))
    ]
    _write(lab, spec, MACHINES, rows)


def write_running(lab: LabDir, spec: LabSpec, names: Collection[str]) -> None:
    """Write which machines run; raises OSError."""
    _write(lab, spec, RUNNING, sorted(names))


def _write(lab: LabDir, spec: LabSpec, name: str, content: object) -> None:
    for control in spec.controls:
        whole.write(lab.machine(control) / "etc" / name, json.dumps(content))
