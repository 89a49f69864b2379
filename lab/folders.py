"""The folders of a machine in its lab's folder."""

from lab import containerd
from lab.components import save_components
from lab.machine import BOUND
from lab.spec import Machine
from lab.state import LabDir


def make_folders(lab: LabDir, machine: Machine) -> None:
    """Make the folders of a machine, and its list of components; raises OSError."""
    for folder in BOUND:
        (lab.machine(machine.name) / folder).mkdir(parents=True, exist_ok=True)
    lab.loaded_images(machine.name).mkdir(exist_ok=True)
    save_components(lab, machine)
    if machine.has_containerd:
        containerd.make_folder(lab, machine.name)
