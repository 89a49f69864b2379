"""Makes a container's file system, in the container's own mount namespace.

The mounts exist only in that namespace, so that no mount has to be undone: the kernel removes them
with the container's last process. The layout is the OCI runtime specification's (config-linux.md,
"Default Filesystems" and "Default Devices").
"""

import os
import stat
from typing import Any

from control.linux import beneath, syscalls, usage, whole

_DEVICES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_QUIET = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC


def build(spec: dict[str, Any]) -> None:
    """Make the container's tree, then make it the root; the mount namespace must be its own.

    ``spec`` has ``directory`` (overlay's upper, work and root), ``image`` (the image's root; null
    for an empty tree), ``mounts``, ``privileged`` and ``read_only``.
    """
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
    root = f"{spec['directory']}/rootfs"
    os.makedirs(root, exist_ok=True)
    if not spec["image"]:
        syscalls.mount("tmpfs", root, "tmpfs", _QUIET, "size=4k,mode=755")
        return _pivot(root)
    _mount_image(spec["image"], spec["directory"], root)
    _mount_kernel(root, spec["privileged"])
    _mount_devices(root, spec["privileged"])
    for item in spec["mounts"]:
        _mount_volume(root, item)
    _pivot(root)
    if not spec["privileged"]:
        _hide()
    if spec["read_only"]:
        _make_read_only("/")
    return None


def _mount_image(image: str, directory: str, root: str) -> None:
    upper, work = f"{directory}/upper", f"{directory}/work"
    for path in (upper, work):
        os.makedirs(path, exist_ok=True)
    os.chmod(upper, stat.S_IMODE(os.stat(image).st_mode))  # the root's own mode is upper's
    layers = f"lowerdir={_escape(image)},upperdir={_escape(upper)},workdir={_escape(work)}"
    try:
        syscalls.mount("overlay", root, "overlay", 0, layers)
    except OSError:
        # No overlay on this file system (itself an overlay, or NFS): make a copy, which is slow.
        syscalls.mount(_copy(image, f"{directory}/copy"), root, None, syscalls.MS_BIND)


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _copy(image: str, target: str) -> str:
    """Copy the image once; TARGET.size says how much of its disk space is not the container's."""
    if not os.path.isdir(target):
        fresh = f"{target}.new"
        # -T: also over what a killed copy has left
        command = ["cp", "-aT", "--reflink=auto", image, fresh]
        pid = os.posix_spawnp("cp", command, dict(os.environ))
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
            raise OSError(f"{' '.join(command)} failed")
        whole.write(f"{target}.size", str(usage.disk_usage(fresh)))
        os.rename(fresh, target)
    return target


def _mount_kernel(root: str, privileged: bool) -> None:
    """Mount /proc and /sys; /sys shows the container's own cgroup, read-only."""
    proc = _target(root, "/proc", is_directory=True)
    syscalls.mount("proc", _path(proc), "proc", _QUIET)
    access = 0 if privileged else syscalls.MS_RDONLY
    system = _target(root, "/sys", is_directory=True)
    syscalls.mount("sysfs", _path(system), "sysfs", _QUIET | access)
    if os.path.isdir(f"{root}/sys/fs/cgroup"):
        syscalls.mount("cgroup", f"{root}/sys/fs/cgroup", "cgroup2", _QUIET | access)
    os.close(proc)
    os.close(system)


def _mount_devices(root: str, privileged: bool) -> None:
    target = _target(root, "/dev", is_directory=True)
    if privileged:
        syscalls.mount("/dev", _path(target), None, syscalls.MS_BIND | syscalls.MS_REC)
        os.close(target)
        return
    flags = syscalls.MS_NOSUID | syscalls.MS_STRICTATIME
    syscalls.mount("tmpfs", _path(target), "tmpfs", flags, "mode=755,size=65536k")
    os.close(target)
    os.umask(0)
    for name, major, minor in _DEVICES:
        os.mknod(f"{root}/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    os.umask(0o022)
    for name, goal in _LINKS:
        os.symlink(goal, f"{root}/dev/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{root}/dev/{name}")
    syscalls.mount(
        "devpts",
        f"{root}/dev/pts",
        "devpts",
        syscalls.MS_NOSUID | syscalls.MS_NOEXEC,
        "newinstance,ptmxmode=0666,mode=0620,gid=5",
    )
    syscalls.mount("mqueue", f"{root}/dev/mqueue", "mqueue", _QUIET)


def _mount_volume(root: str, item: dict[str, Any]) -> None:
    """Bind ``source``, or ``sub_path`` below it, to ``target``; links cannot leave either tree."""
    source = os.open(item["source"], os.O_PATH | os.O_CLOEXEC)
    if item.get("sub_path"):
        source = beneath.open_sub_path(source, item["sub_path"])
    is_directory = stat.S_ISDIR(os.fstat(source).st_mode)
    target = _target(root, item["target"], is_directory)
    syscalls.mount(_path(source), _path(target), None, syscalls.MS_BIND | syscalls.MS_REC)
    os.close(target)
    os.close(source)
    # Opened again: the earlier descriptor leads to what the mount covers, not to the mount.
    target = _target(root, item["target"], is_directory)
    if item.get("propagation") != "HostToContainer":  # what it is already, as build() has begun
        syscalls.mount(None, _path(target), None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    if item["read_only"]:
        _make_read_only(_path(target))
    os.close(target)


def _target(root: str, path: str, is_directory: bool) -> int:
    """Open a mount's target; make it if it is absent. Links end at the container's root.

    An image may hold a link such as ``/data -> /etc``. RESOLVE_IN_ROOT follows it inside the
    container's root; a plain open would follow it on the node.
    """
    base = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return syscalls.openat2(base, path, os.O_PATH, syscalls.RESOLVE_IN_ROOT)
    except FileNotFoundError:
        return beneath.make(base, path, is_directory, syscalls.RESOLVE_IN_ROOT)
    finally:
        os.close(base)


def _path(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _pivot(root: str) -> None:
    """Make the folder ``root`` the root, and detach the old one."""
    syscalls.mount(root, root, None, syscalls.MS_BIND | syscalls.MS_REC)
    syscalls.change_root(root)


def _hide() -> None:
    for path in _MASKED:
        if os.path.isdir(path):
            syscalls.mount("tmpfs", path, "tmpfs", syscalls.MS_RDONLY | _QUIET, "size=0")
        elif os.path.exists(path):
            syscalls.mount("/dev/null", path, None, syscalls.MS_BIND)
    for path in _READ_ONLY:
        if os.path.exists(path):
            syscalls.mount(path, path, None, syscalls.MS_BIND | syscalls.MS_REC)
            _make_read_only(path)


def _make_read_only(path: str) -> None:
    """Remount a bind mount read-only; the kernel requires its present flags again."""
    kept = os.statvfs(path).f_flag & (syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    syscalls.mount(
        None, path, None, syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY | kept
    )
