"""The cgroups of a process, in the hierarchies of both versions. Source: cgroups(7)."""

import os
from pathlib import Path


def join_first_process() -> None:
    """Move this process into the cgroups of process 1, which last. Raises OSError."""
    own = _cgroups("self")
    for controllers, path in _cgroups("1").items():
        if own.get(controllers) != path:
            members = _folder(controllers, path) / "cgroup.procs"
            members.write_text(str(os.getpid()))


def _cgroups(process: str) -> dict[str, str]:
    """Return the paths of a process's cgroups by their controllers; version 2 names none."""
    lines = Path("/proc", process, "cgroup").read_text().splitlines()
    return {controllers: path for _, controllers, path in (line.split(":", 2) for line in lines)}


def _folder(controllers: str, path: str) -> Path:
    """Return the folder of a cgroup. Raises FileNotFoundError if its hierarchy is not mounted."""
    wanted = set(controllers.split(",")) if controllers else set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        root, folder = mount.split()[3:5]
        is_it = kind == ("cgroup" if wanted else "cgroup2") and wanted <= {*options.split(",")}
        if is_it and Path(path).is_relative_to(root):  # a mount may show a part of the hierarchy
            return Path(folder) / Path(path).relative_to(root)
    raise FileNotFoundError(f"no mounted cgroup hierarchy has {controllers or 'version 2'}")
