"""Undo what install and join have made, as far as it is there: also after a run that was cut short.

Units end first, then Pods, then rules and links, then files. What fails is told at the end; the
rest is removed all the same, but for the files, by which a second run finds what is left.
"""

import asyncio
import errno
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from control.client import KubeconfigError
from control.install import control_plane, plane, systemd
from control.install.alone import alone
from control.install.layout import InstallError, Layout, Program
from control.install.progress import Progress
from control.install.settings import NodeSettings, check, read
from control.linux import mounts, syscalls

_SECONDS = 120.0


def reset(layout: Layout, program: Program, progress: Progress) -> tuple[str, ...]:
    """Remove everything; return what was removed. Raises OSError, InstallError.

    The latter lists what was not removed.
    """
    with alone(layout, progress):
        return _reset(layout, program, progress)


def _reset(layout: Layout, program: Program, progress: Progress) -> tuple[str, ...]:
    removed: list[str] = []
    faults: list[str] = []
    for text, act in _steps(layout, program, progress):
        with progress.step(text):
            try:
                removed += act()
            except (InstallError, OSError) as err:
                faults.append(f"{text}: {err}")
    if not faults:
        with progress.step("files removed"):
            return (*removed, *_files(layout))
    lines = "".join(f"\n  {fault}" for fault in faults)
    raise InstallError(
        f"reset left something:{lines}\n  mend this and run podwire reset again, which needs the "
        f"files in {layout.config} until then; or remove them and {layout.state} by hand"
    )


Act = Callable[[], list[str]]


def _steps(layout: Layout, program: Program, progress: Progress) -> Iterator[tuple[str, Act]]:
    if _shares_etcd(layout):
        yield "this control plane taken out of the cluster", lambda: _leave(layout, progress)
    yield "units stopped and removed", lambda: _units(layout)
    yield "Pods and the node network removed", lambda: _agent(layout, program)
    yield "rules of the proxy removed", lambda: _proxy(layout, program)
    yield "CNI plugin removed", lambda: _cni(layout, program)


def _units(layout: Layout) -> list[str]:
    found = systemd.installed(layout)
    systemd.remove(layout, found)
    return found


def _shares_etcd(layout: Layout) -> bool:
    return layout.cluster_file.exists() and control_plane.load(layout).has_etcd


def _leave(layout: Layout, progress: Progress) -> list[str]:
    """Take this machine out of etcd and of the cluster DNS; what fails does not hold a reset up.

    The cluster may be gone for good.
    """
    try:
        return asyncio.run(plane.leave(layout, control_plane.load(layout), progress.note))
    except (InstallError, KubeconfigError, OSError) as err:
        progress.note(
            f"[WARNING Etcd] this machine's member was not taken out of etcd: {err}; if the other "
            "control planes run, there: podwire store members, and podwire store remove-member"
        )
        return []


def _was_node(layout: Layout) -> bool:
    return layout.node_file.exists() or layout.agent.exists()


def _agent(layout: Layout, program: Program) -> list[str]:
    if not _was_node(layout):
        return []
    flags = ["--cleanup", f"--root-dir={layout.state / 'agent'}", "--cgroup-root=podwire"]
    if runtime := _runtime(layout):
        flags.append(f"--container-runtime-endpoint={runtime}")
    _podwire(program, "agent", *flags)
    return ["Pods", "routes and links of the node network"]


def _runtime(layout: Layout) -> str:
    if not layout.node_file.exists():
        return ""
    return check(NodeSettings, read(layout.node_file), str(layout.node_file)).runtime


def _proxy(layout: Layout, program: Program) -> list[str]:
    if not _was_node(layout):
        return []
    _podwire(program, "proxy", "--cleanup")
    return ["rules of the proxy"]


def _cni(layout: Layout, program: Program) -> list[str]:
    if not _was_node(layout):
        return []
    _podwire(program, "cni", "uninstall", "--force")
    conflist = layout.root / "etc/cni/net.d/10-podwire.conflist"
    conflist.unlink(missing_ok=True)
    return ["the CNI plugin"]


def _files(layout: Layout) -> list[str]:
    """Remove all folders; those of dynamic users are links into ``private``.

    The lock's is the last: who waits for it begins when all is gone.
    """
    private = layout.root / "var/lib/private/podwire"
    run = layout.root / "run/podwire"
    found = [path for path in (layout.config, private, run) if path.exists()]
    for path in found:
        _unmount(path)
        shutil.rmtree(path)
    if kept := [path for path in layout.state.iterdir() if path != layout.lock]:
        _unmount(layout.state)
        for path in kept:
            _remove(path)
        found.append(layout.state)
    _remove_lock(layout)
    return list(map(str, found))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _remove_lock(layout: Layout) -> None:
    layout.lock.unlink()
    try:
        layout.state.rmdir()
    except OSError as err:
        if err.errno != errno.ENOTEMPTY:  # another run has begun
            raise


def _unmount(path: Path) -> None:
    """Unmount all in a folder; raises InstallError if something is mounted then all the same.

    What is mounted there may be a folder of the host, which a Pod has had: its files stay.
    """
    for point in reversed(_mounted(path)):
        syscalls.unmount(point)
    if left := _mounted(path):
        raise InstallError(f"{left[0]} is mounted: unmount it; all of {path} is kept until then")


def _mounted(path: Path) -> list[Path]:
    """Return the mount points in a folder, in the order in which they were made."""
    every = mounts.parse(Path("/proc/self/mountinfo").read_text())
    return [each.path for each in every if each.path.is_relative_to(path)]


def _podwire(program: Program, *words: str) -> None:
    try:
        done = subprocess.run(
            program.argv(*words), capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise InstallError(f"podwire {words[0]} did not end in {_SECONDS:.0f} s") from err
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise InstallError(f"podwire {' '.join(words)}: {said[-1]}")
