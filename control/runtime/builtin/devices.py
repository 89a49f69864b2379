"""The devices that a container may use: runc's default allowlist (libcontainer/specconv).

A container may make any device node, and open only those below. On cgroup2 a BPF program that is
attached to the container's group decides (BPF_PROG_TYPE_CGROUP_DEVICE); on cgroup v1 it is the
controller ``devices`` (Documentation/admin-guide/cgroup-v1/devices.rst).
"""

import ctypes
import functools
import os
import struct
from pathlib import Path

from control.linux import syscalls

# (major, minor) of character devices; None is every minor.
_ALLOWED: tuple[tuple[int, int | None], ...] = (
    (1, 3),  # /dev/null
    (1, 5),  # /dev/zero
    (1, 7),  # /dev/full
    (1, 8),  # /dev/random
    (1, 9),  # /dev/urandom
    (5, 0),  # /dev/tty
    (5, 2),  # /dev/ptmx
    (136, None),  # /dev/pts/N
    (10, 200),  # /dev/net/tun
)

_PROG_LOAD, _PROG_ATTACH = 5, 8  # enum bpf_cmd
_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE = 15, 6  # enum bpf_prog_type, bpf_attach_type
_ALLOW_MULTI = 2  # a group's program is asked besides its parents', which it cannot replace
_ACCESS_MKNOD, _DEVICE_CHAR = 1, 2  # bpf_cgroup_dev_ctx.access_type, upper and lower half

# Operation codes of eBPF (Documentation/bpf/standardization/instruction-set.rst).
_LOAD_WORD, _COPY, _SET, _AND, _SHIFT_RIGHT = 0x61, 0xBF, 0xB7, 0x57, 0x77
_JUMP, _JUMP_EQUAL, _JUMP_UNEQUAL, _EXIT = 0x05, 0x15, 0x55, 0x95
_KIND, _ACCESS, _MAJOR, _MINOR = 2, 3, 4, 5  # registers
_ALLOW, _DENY = "allow", "deny"


def restrict(group: Path) -> None:
    """Let the processes of a cgroup2 group use the allowed devices only; raises OSError."""
    program = _program()
    folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        attributes = struct.pack("=IIII", folder, program, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI)
        syscalls.bpf(_PROG_ATTACH, attributes, about=str(group))
    finally:
        os.close(folder)


def restrict_legacy(group: Path) -> None:
    """Do the same by cgroup v1's controller; the group must have no children. Raises OSError."""
    (group / "devices.deny").write_text("a")
    for rule in legacy_rules():
        (group / "devices.allow").write_text(rule)


def legacy_rules() -> tuple[str, ...]:
    """Return the allowlist as lines for ``devices.allow``."""
    opened = (f"c {major}:{'*' if minor is None else minor} rwm" for major, minor in _ALLOWED)
    return ("c *:* m", "b *:* m", *opened)


@functools.cache
def _program() -> int:
    """Load the program, once a process; return its descriptor."""
    text = instructions()
    code, license_name = ctypes.create_string_buffer(text), ctypes.create_string_buffer(b"MIT")
    attributes = struct.pack(
        "=IIQQIIQII16s",
        _TYPE_CGROUP_DEVICE,
        len(text) // 8,
        ctypes.addressof(code),
        ctypes.addressof(license_name),
        0,  # no log of the verifier
        0,
        0,
        0,
        0,
        b"podwire_devices",
    )
    return syscalls.bpf(_PROG_LOAD, attributes, about="the program that guards devices")


def instructions() -> bytes:
    """Return the program: eBPF, 8 bytes an instruction."""
    steps: list[tuple[int, int, int, int | str, int]] = [  # code, target, source, offset, value
        (_LOAD_WORD, _KIND, 1, 0, 0),
        (_COPY, _ACCESS, _KIND, 0, 0),
        (_SHIFT_RIGHT, _ACCESS, 0, 0, 16),
        (_AND, _KIND, 0, 0, 0xFFFF),
        (_JUMP_EQUAL, _ACCESS, 0, _ALLOW, _ACCESS_MKNOD),
        (_JUMP_UNEQUAL, _KIND, 0, _DENY, _DEVICE_CHAR),
        (_LOAD_WORD, _MAJOR, 1, 4, 0),
        (_LOAD_WORD, _MINOR, 1, 8, 0),
    ]
    for major, minor in _ALLOWED:
        if minor is None:
            steps += [(_JUMP_EQUAL, _MAJOR, 0, _ALLOW, major)]
        else:
            steps += [(_JUMP_UNEQUAL, _MAJOR, 0, 1, major), (_JUMP_EQUAL, _MINOR, 0, _ALLOW, minor)]
    targets = {_DENY: len(steps), _ALLOW: len(steps) + 2}
    for answer in (0, 1):
        steps += [(_SET, 0, 0, 0, answer), (_EXIT, 0, 0, 0, 0)]
    return b"".join(_encode(step, place, targets) for place, step in enumerate(steps))


def _encode(
    step: tuple[int, int, int, int | str, int], place: int, targets: dict[str, int]
) -> bytes:
    code, target, source, offset, value = step
    jump = offset if isinstance(offset, int) else targets[offset] - place - 1
    return struct.pack("=BBhi", code, source << 4 | target, jump, value)
