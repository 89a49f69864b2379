"""The file with a machine's components, which the machine reads again when they change."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from control.linux import whole
from lab.spec import CONFIG, Component, Machine
from lab.state import LabDir
from lab.supervise import ComponentsError

_FILE = "components.json"


def save_components(lab: LabDir, machine: Machine) -> None:
    """Write a machine's components to its file, whole or not at all; raises OSError."""
    path = lab.machine(machine.name) / "etc" / _FILE
    rows = [dataclasses.asdict(component) for component in machine.components]
    whole.write(path, json.dumps(rows, indent=2))


def load_components() -> Sequence[Component]:
    """Read the components of the machine on which this process runs; raises ComponentsError."""
    path = Path(CONFIG) / _FILE
    try:
        return [
            Component(row["name"], tuple(row["argv"]), row.get("is_program") is True)
            for row in json.loads(path.read_text())
        ]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ComponentsError(f"{path}: {type(err).__name__}: {err}") from err
