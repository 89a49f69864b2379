"""The Linux system calls that Python 3.11 lacks, through libc.

Each raises OSError with the call's name. The shim starts with this module: it imports little.
"""

import ctypes
import errno
import os

StrPath = str | os.PathLike[str]

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_RELATIME = 0x200000
MS_STRICTATIME = 0x1000000
MNT_DETACH = 0x2

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_SYS_OPENAT2 = 437  # the same number on every architecture, as all calls since Linux 5.1
# bpf(2), by architecture.
_SYS_BPF = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "armv7l": 386,
    "ppc64le": 361,
    "s390x": 351,
}
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
# A name's index is its bit (linux/capability.h): CAP_SYS_ADMIN is bit 21.
CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
)

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object, about: str = "") -> int:
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", about or None)
    return result


def _text(value: StrPath | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def mount(
    source: StrPath | None, target: StrPath, kind: str | None, flags: int = 0, data: str = ""
) -> None:
    """mount(2)."""
    _call(
        "mount",
        _text(source),
        _text(target),
        _text(kind),
        ctypes.c_ulong(flags),
        _text(data),
        about=os.fspath(target),
    )


def unmount(target: StrPath, flags: int = MNT_DETACH) -> None:
    """umount2(2); lazy unless ``flags`` say otherwise."""
    _call("umount2", _text(target), flags, about=os.fspath(target))


def change_root(new: StrPath) -> None:
    """Make a mount point the root of this mount namespace, and detach the old one.

    Source: pivot_root(2), "pivot_root(".", ".")".
    """
    os.chdir(new)
    # With "." twice the old root is stacked on the new one, from where it can be detached.
    _call("pivot_root", b".", b".", about=os.fspath(new))
    unmount(".")
    os.chdir("/")


def unshare(flags: int) -> None:
    """unshare(2)."""
    _call("unshare", flags)


def setns(fd: int, kind: int = 0) -> None:
    """setns(2)."""
    _call("setns", fd, kind)


def enter(path: StrPath, kind: int = 0) -> None:
    """Move this thread into the namespace that a file holds; ``kind`` 0 takes any kind."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(descriptor, kind)
    finally:
        os.close(descriptor)


def prctl(option: int, argument: int = 0) -> None:
    """prctl(2) with up to one argument."""
    _call("prctl", option, *(ctypes.c_ulong(value) for value in (argument, 0, 0, 0)))


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    """openat2(2): open ``path`` below ``directory``, with links restricted by ``resolve``."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    return _call(
        "syscall",
        ctypes.c_long(_SYS_OPENAT2),
        directory,
        _text(path),
        ctypes.byref(how),
        size,
        about=path,
    )


def bpf(command: int, attributes: bytes, about: str = "") -> int:
    """bpf(2) with a packed ``union bpf_attr``; a descriptor that it returns closes on exec."""
    machine = os.uname().machine
    if machine not in _SYS_BPF:
        raise OSError(errno.ENOSYS, f"bpf: no number of this call is known for {machine}", about)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    size = ctypes.c_uint(len(attributes))
    number = ctypes.c_long(_SYS_BPF[machine])
    return _call("syscall", number, command, ctypes.byref(buffer), size, about=about)


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def filter_calls(program: bytes) -> None:
    """Let a seccomp program, 8 bytes a step, judge this process's calls from now on.

    It takes CAP_SYS_ADMIN or PR_SET_NO_NEW_PRIVS (seccomp(2)).
    """
    wire = _Program(len(program) // 8, program)
    mode = ctypes.c_ulong(_SECCOMP_MODE_FILTER)
    _call("prctl", PR_SET_SECCOMP, mode, ctypes.byref(wire), about="seccomp")


def set_capabilities(names: list[str]) -> None:
    """Set the permitted and effective capabilities; none is inheritable (as runc since 2022)."""
    wanted = sum(1 << CAPABILITIES.index(name) for name in names)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    # Two structs of effective, permitted, inheritable: for the lower and the upper 32 bits.
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _call("capset", ctypes.byref(header), ctypes.byref(data))


def drop_bounding(keep: list[str]) -> None:
    """Remove every capability but these from the bounding set, for good."""
    last = int(read_text("/proc/sys/kernel/cap_last_cap"))
    kept = {CAPABILITIES.index(name) for name in keep}
    for number in range(last + 1):
        if number not in kept:
            prctl(PR_CAPBSET_DROP, number)


def read_text(path: str) -> str:
    """Return the text of a small file."""
    with open(path) as file:
        return file.read()
