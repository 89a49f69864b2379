"""Write systemd's units, and start, restart and remove them.

A unit that has not changed is not restarted; one that has, is, in the order in which it was given.
Which units are due for a restart is kept in a file, so that a run that was cut short between the
change and the restart leaves it to the next one.
"""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from control.install.layout import InstallError, Layout
from control.install.unitfile import Unit
from control.install.units import CONTROL_PLANE, NODE, PODS
from control.linux import whole

_SECONDS = 240.0  # a restart waits for a stop, for which systemd gives a unit 90


def write_units(layout: Layout, units: Sequence[Unit]) -> None:
    """Write units that differ, which are then due. Raises OSError, InstallError."""
    layout.units.mkdir(parents=True, exist_ok=True)
    changed = [unit for unit in units if _differs(layout.units / unit.name, unit.text)]
    add_due(layout, [unit.name for unit in changed])
    for unit in changed:
        whole.write(layout.units / unit.name, unit.text)
    if due(layout):
        systemctl("daemon-reload")


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text() != text


def due(layout: Layout) -> frozenset[str]:
    """Return the names of the units that are to begin again; raises OSError."""
    try:
        return frozenset(layout.due.read_text().split())
    except FileNotFoundError:
        return frozenset()


def add_due(layout: Layout, names: Iterable[str]) -> None:
    """Note that units are to begin again; raises OSError."""
    _write_due(layout, due(layout) | set(names))


def _write_due(layout: Layout, names: frozenset[str]) -> None:
    if names != due(layout):
        layout.due.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        whole.write(layout.due, "".join(f"{name}\n" for name in sorted(names)))


def start(layout: Layout, units: Sequence[Unit]) -> None:
    """Enable and start units; those that are due begin again. Raises OSError, InstallError."""
    if names := [unit.name for unit in units if not unit.triggered]:
        systemctl("enable", "--quiet", *names)
    for unit in units:
        begin(layout, unit, again=unit.name in due(layout))


def restart(layout: Layout, unit: Unit) -> None:
    """Enable a unit, and begin it again, but for that of Pods; raises OSError, InstallError."""
    if not unit.triggered:
        systemctl("enable", "--quiet", unit.name)
    begin(layout, unit, again=True)


def begin(layout: Layout, unit: Unit, *, again: bool) -> None:
    """Start a unit, or end and start it; raises OSError, InstallError.

    That of Pods is not ended, a timer's not started.
    """
    name = unit.name
    again = again and name != PODS
    # A socket cannot be bound anew while its service holds it.
    if again and name.endswith(".socket"):
        systemctl("stop", name, name.replace(".socket", ".service"))
    if not unit.triggered:
        systemctl("restart" if again else "start", name)
    _write_due(layout, due(layout) - {name})


def is_active(name: str) -> bool:
    """Return True if a unit runs."""
    return _run("is-active", "--quiet", name).returncode == 0


def installed(layout: Layout) -> list[str]:
    """Return the names of podwire's units that are there, nodes' first."""
    order = [*reversed(NODE), *reversed(CONTROL_PLANE)]
    every = [f"{name}.{kind}" for name in order for kind in ("socket", "timer", "service")]
    return [name for name in every if (layout.units / name).exists()]


def remove(layout: Layout, names: Sequence[str]) -> None:
    """Stop units and delete them; raises OSError, InstallError."""
    if not names:
        return
    systemctl("disable", "--now", "--quiet", *names)  # also those that only a timer starts
    for name in names:
        (layout.units / name).unlink(missing_ok=True)
    systemctl("daemon-reload")
    _run("reset-failed", *names)


def systemctl(*words: str) -> None:
    """Run a command of systemctl; raises InstallError."""
    done = _run(*words)
    if done.returncode:
        unit = words[-1]
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise InstallError(
            f"systemctl {' '.join(words)}: {said[0]}; see: journalctl -u {unit} -n 50"
        )


def _run(*words: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["systemctl", *words], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError as err:
        raise InstallError("there is no systemctl: podwire's units need systemd") from err
    except subprocess.TimeoutExpired as err:
        raise InstallError(
            f"systemctl {' '.join(words)} did not end in {_SECONDS:.0f} s; see: journalctl -n 50"
        ) from err


def is_running(root: Path = Path("/")) -> bool:
    """Return True if systemd is this machine's first process (sd_booted(3))."""
    return (root / "run/systemd/system").is_dir()
