"""Which components a machine runs, in a file that is read anew when they are to change."""

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
    """Write a machine's components to where it reads them, whole or not at all; raises OSError."""
    path = lab.machine(machine.name) / "etc" / _FILE
    rows = [dataclasses.asdict(component) for component in machine.components]
    whole.write(path, json.dumps(rows, indent=2))


def load_components() -> Sequence[Component]:
    """The components of the machine that this process is on; raises ComponentsError."""
    path = Path(CONFIG) / _FILE
    try:
        return [Component(row["name"], tuple(row["argv"])) for row in json.loads(path.read_text())]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ComponentsError(f"{path}: {type(err).__name__}: {err}") from err
