"""A machine of the lab: namespaces of its own, and a private view of the host's programs.

Its root holds the host's programs and settings (/usr, /etc and what belongs to them), each an
overlay with a tmpfs on top: what a component or a user writes there belongs to the machine, and
is removed with it. No other folder of the host is in it, and no file of /etc that only some users
may read: a Pod can ask for its node's files, and must find no secret of the host. The checkout and
the images are there, read-only. Folders that the host must see are in the lab's folder and are
bound into the machine.
"""

import os
import shutil
import socket
import stat
import sys
from pathlib import Path

from cni_plugin.admin.install import put_loopback
from cni_plugin.admin.standalone import put_client
from control.linux import mounts, syscalls
from lab import linux
from lab.spec import DATA, LOADED_IMAGES, Machine
from lab.state import IMAGES, LabDir

CHECKOUT = Path(__file__).resolve().parent.parent

# Folder below the machine's folder on the host -> its path in the machine.
BOUND = {
    "etc": "/etc/podwire",
    "var": str(DATA),
    "pods": "/var/log/pods",
    "cni": "/var/lib/cni",
}
# Empty in each machine, even if a folder is a mount of the host: nodes must not share or change the
# host's CNI configuration and plugins.
_OWN_FOLDERS = ("run", "tmp", "etc/cni", "opt/cni")
# Each machine writes these: a container that is a host has mounts there.
_OWN_FILES = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
# Those of an empty Debian, for what a machine and its users write.
_SKELETON = {
    **dict.fromkeys(("proc", "sys", "dev", "home", "mnt", "opt", "srv"), 0o755),
    **dict.fromkeys(("var/lib", "var/log", "var/cache", "var/spool"), 0o755),
    **dict.fromkeys(("tmp", "var/tmp"), 0o1777),
    "root": 0o700,
}
_PASSWORDS = ("shadow", "shadow-", "gshadow", "gshadow-")
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
    merged = layers / "merged"
    _mount_host(layers, merged)
    _bind_host(layers, merged)
    _forget_secrets(merged / "etc")
    _mount_kernel(merged)
    for inside, target in BOUND.items():
        linux.bind(home / inside, merged / target.lstrip("/"))
    linux.bind_read_only(IMAGES, merged / str(DATA / "images").lstrip("/"))
    linux.bind_read_only(lab.loaded_images(machine.name), merged / str(LOADED_IMAGES).lstrip("/"))
    if machine.has_containerd:
        from lab import containerd  # what it imports would be a fifth of a debugging command's time

        linux.bind(home / containerd.FOLDER, merged / str(containerd.ROOT).lstrip("/"))
    for folder in _programs():
        linux.bind_read_only(folder, merged / str(folder).lstrip("/"))
    if (CHECKOUT / ".git").is_dir():  # its settings may hold a password of the host's user
        git = merged / str(CHECKOUT / ".git").lstrip("/")
        syscalls.mount("tmpfs", git, "tmpfs", syscalls.MS_RDONLY, "size=4k")
    _identify(merged, machine)
    syscalls.change_root(merged)
    put_client(Path("/opt/cni/bin/podwire-cni"))  # here, because it holds the path of its folder
    if machine.has_containerd:
        containerd.configure(Path("/"))
        put_loopback(Path("/opt/cni/bin"))


def _mount_host(layers: Path, root: Path) -> None:
    """Make the root: the host's folders of programs and settings, and empty ones beside them."""
    root.mkdir()
    syscalls.mount(root, root, None, syscalls.MS_BIND)  # pivot_root(2) wants a mount
    for name, mode in _SKELETON.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)
    (root / "var/run").symlink_to("/run")
    for entry in sorted(Path("/").iterdir()):
        if not _is_shared(entry):
            continue
        if entry.is_symlink():
            (root / entry.name).symlink_to(entry.readlink())
        else:
            _overlay(entry, layers, root)


def _is_shared(path: Path) -> bool:
    """True for the host's folders of programs and settings, and for what is below them."""
    top = path.parts[1]
    return top in ("usr", "etc", "bin", "sbin") or top.startswith("lib")


def _overlay(point: Path, layers: Path, root: Path) -> None:
    """Show a folder of the host in the machine, whose changes stay in the machine."""
    name = str(point).strip("/").replace("/", "-")
    upper, work, target = layers / f"upper-{name}", layers / f"work-{name}", root / str(point)[1:]
    for folder in (upper, work, target):
        folder.mkdir(parents=True, exist_ok=True)
    upper.chmod(stat.S_IMODE(point.stat().st_mode))
    options = f"lowerdir={point},upperdir={upper},workdir={work}"
    syscalls.mount("overlay", target, "overlay", data=options)


def _bind_host(layers: Path, root: Path) -> None:
    """Show the host's mounts below: an overlay does not contain those of its lower folder."""
    for mount in mounts.parse(Path("/proc/self/mountinfo").read_text()):
        point = mount.path
        target = root / str(point)[1:]
        if len(point.parts) < 3 or not _is_shared(point) or not target.exists():
            continue
        if str(point) in _OWN_FILES or point.is_relative_to("/etc/cni"):
            continue
        if point.is_dir():
            try:
                _overlay(point, layers, root)
                continue
            except OSError:  # overlayfs stacks upon most file systems, not upon all
                linux.bind_read_only(point, target)
        else:
            linux.bind_read_only(point, target)


def _forget_secrets(etc: Path) -> None:
    """Empty what only some users may read; passwords go, the names beside them stay."""
    for path, folders, files in os.walk(etc):
        for name in [*folders]:
            folder = Path(path, name)
            if not folder.is_symlink() and folder.stat().st_mode & 0o5 != 0o5:
                folders.remove(name)
                _empty_folder(folder)
        for name in files:
            file = Path(path, name)
            mode = file.lstat().st_mode
            if stat.S_ISREG(mode) and not mode & 0o4:
                file.write_text(_without_passwords(file) if name in _PASSWORDS else "")


def _empty_folder(folder: Path) -> None:
    mode = stat.S_IMODE(folder.stat().st_mode)
    shutil.rmtree(folder)
    folder.mkdir()
    folder.chmod(mode)


def _without_passwords(file: Path) -> str:
    rows = [line.split(":") for line in file.read_text().splitlines()]
    return "".join(f"{':'.join([row[0], '*', *row[2:]])}\n" for row in rows)


def _programs() -> list[Path]:
    """Return the folders of podwire and its interpreter that no shared folder holds."""
    found = {CHECKOUT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    outside = [path for path in found if not _is_shared(path)]
    return sorted(
        path for path in outside if not any(path.is_relative_to(o) for o in outside if o != path)
    )


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
    (root / "tmp").chmod(0o1777)  # the mount hides the folder's own mode


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
