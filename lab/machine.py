"""A machine of the lab: namespaces of its own, and a private, writable view of the host's files.

Its root is an overlay of the host's root with a tmpfs on top: files that a component, a package
manager or a user writes there belong to the machine, and are removed with it. Large folders, and
those that the host must see, are in the lab's folder and are bound into the machine.
"""

import socket
from pathlib import Path

from cni_plugin.admin.standalone import put_client
from control.linux import syscalls
from lab import linux
from lab.spec import DATA, Machine
from lab.state import IMAGES, LabDir

CHECKOUT = Path(__file__).resolve().parent.parent

# Folder below the machine's folder on the host -> its path in the machine.
BOUND = {
    "etc": "/etc/podwire",
    "var": str(DATA),
    "pods": "/var/log/pods",
    "cni": "/var/lib/cni",
}
# Kernel file systems get mounts of their own; the rest of the host's mounts is bound as it is.
_OWN = ("/proc", "/sys", "/run", "/dev", "/tmp")  # noqa: S108  # a mount point, not a file
# Empty in each machine, even if a folder is a mount of the host: nodes must not share or change the
# host's CNI configuration and plugins.
_OWN_FOLDERS = ("run", "tmp", "etc/cni", "opt/cni")
_CGROUPS = Path("/sys/fs/cgroup")


def make_root(lab: LabDir, machine: Machine) -> None:
    """Enter the machine's own root, with mounts that no other namespace sees; raises OSError.

    The caller must have its own mount, process and network namespaces.
    """
    linux.isolate_mounts()
    home = lab.machine(machine.name)
    layers = home / "root"
    layers.mkdir(exist_ok=True)
    syscalls.mount("tmpfs", layers, "tmpfs", data="mode=755")
    upper, work, merged = layers / "upper", layers / "work", layers / "merged"
    for folder in (upper, work, merged):
        folder.mkdir()
    options = f"lowerdir=/,upperdir={upper},workdir={work}"
    syscalls.mount("overlay", merged, "overlay", data=options)
    _bind_host(merged)
    _mount_kernel(merged)
    for inside, target in BOUND.items():
        linux.bind(home / inside, merged / target.lstrip("/"))
    linux.bind(IMAGES, merged / str(DATA / "images").lstrip("/"))
    linux.bind(CHECKOUT, merged / str(CHECKOUT).lstrip("/"))
    _identify(merged, machine)
    syscalls.change_root(merged)
    put_client(Path("/opt/cni/bin/podwire-cni"))  # here, because it holds the path of its folder


def _bind_host(root: Path) -> None:
    """Bind the host's other mounts: an overlay does not contain mounts below its lower folder."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == "/" or Path(point).is_relative_to(root.parent):
            continue
        if any(point == own or point.startswith(f"{own}/") for own in _OWN):
            continue
        target = root / point.lstrip("/")
        if target.exists():
            syscalls.mount(point, target, None, syscalls.MS_BIND)


def _mount_kernel(root: Path) -> None:
    safe = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", root / "proc", "proc", safe)
    syscalls.mount("sysfs", root / "sys", "sysfs", safe)
    if _CGROUPS.exists():
        linux.bind(_CGROUPS, root / "sys/fs/cgroup")
    _mount_cgroup2(root / "sys/fs/cgroup")
    syscalls.mount("/dev", root / "dev", None, syscalls.MS_BIND | syscalls.MS_REC)
    for folder in _OWN_FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
        syscalls.mount("tmpfs", root / folder, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV)
    for folder in ("run/netns", "run/podwire", "run/lock", "opt/cni/bin", "etc/cni/net.d"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _mount_cgroup2(cgroups: Path) -> None:
    """Mount the unified hierarchy, which Pods need, if a host with cgroup v1 has not."""
    if (cgroups / "cgroup.controllers").exists():
        return
    unified = cgroups / "unified"
    if not (unified / "cgroup.controllers").exists():
        unified.mkdir(exist_ok=True)
        syscalls.mount("cgroup2", unified, "cgroup2")


def _identify(root: Path, machine: Machine) -> None:
    socket.sethostname(machine.name)
    (root / "etc/hostname").write_text(f"{machine.name}\n")
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{address} {machine.name}" for address in machine.ips]
    (root / "etc/hosts").write_text("".join(f"{line}\n" for line in lines))
    # The machine cannot reach the host's resolvers; with an empty list, look-ups fail at once.
    resolv = root / "etc/resolv.conf"
    resolv.unlink(missing_ok=True)
    resolv.write_text("")


def enter_argv(pid: int, *argv: str) -> list[str]:
    """Return the command line that runs ``argv`` in a machine with this first process."""
    namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid")
    return ["nsenter", f"--target={pid}", *namespaces, "--", *argv]


def enter_network(pid: int) -> None:
    """Move this process into another process's network namespace; raises OSError."""
    syscalls.enter(f"/proc/{pid}/ns/net", syscalls.CLONE_NEWNET)
