"""Compiles seccomp profiles (OCI runtime-spec, config-linux.md, "Seccomp") to programs.

libseccomp knows the numbers of system calls on each architecture, and orders the comparisons. The
shim loads the program: it needs no library.
"""

import base64
import ctypes
import errno
import functools
import json
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from control.runtime.base import ContainerRuntimeError
from control.runtime.builtin import seccomp_default

RUNTIME_DEFAULT = "runtime/default"
LOCALHOST = "localhost/"
_LIBRARY = "libseccomp.so.2"
_MOST_BYTES = 1 << 20  # of a profile's file
_MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_NUMBER = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_OPERATORS = {
    f"SCMP_CMP_{name}": number
    for number, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), 1)
}
_OPTIMIZE, _BINARY_TREE = 8, 2  # SCMP_FLTATR_CTL_OPTIMIZE
_X32 = 0x40000000  # the bit of x86_64's calls with 32-bit pointers
# Classic BPF (linux/bpf_common.h): load a word, jump if equal, greater or equal, greater; return.
_LOAD, _EQUAL, _AT_LEAST, _ABOVE, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data


class ProfileError(Exception):
    """A profile cannot be used; the text says why."""


class _Comparison(ctypes.Structure):
    """``struct scmp_arg_cmp``."""

    _fields_ = (
        ("index", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def program(wanted: str, capabilities: Iterable[str], folder: Path) -> str:
    """Return a container's program in base64; "" for an unconfined one.

    ``wanted`` is "", RUNTIME_DEFAULT, or LOCALHOST and a path below ``folder``. Raises
    ContainerRuntimeError.
    """
    try:
        if wanted == RUNTIME_DEFAULT:
            return _default(tuple(capabilities))
        if wanted.startswith(LOCALHOST):
            return compiled(_read(folder, wanted.removeprefix(LOCALHOST)))
    except ProfileError as err:
        raise ContainerRuntimeError(
            f"seccomp profile {wanted}: {err}", "CreateContainerError"
        ) from err
    return ""


@functools.lru_cache(maxsize=64)
def _default(capabilities: tuple[str, ...]) -> str:
    return compiled(seccomp_default.profile(capabilities, os.uname().machine))


def _read(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if name.startswith("/") or ".." in name.split("/"):
        raise ProfileError(f"the path must lead below {folder}")
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        found = json.loads(text) if len(text) <= _MOST_BYTES else None
    except (OSError, ValueError, RecursionError) as err:
        raise ProfileError(f"{path} cannot be read: {err}") from err
    if not isinstance(found, dict):
        raise ProfileError(f"{path} must hold one JSON object of 1 MiB at most")
    return found


def compiled(profile: Mapping[str, Any]) -> str:
    """Return a profile's program, classic BPF, in base64; raises ProfileError."""
    try:
        text = _compile(profile)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as err:
        raise ProfileError(f"it is not as OCI's linux.seccomp must be: {err!r}") from err
    if len(text) // 8 > _MOST_INSTRUCTIONS:
        raise ProfileError(f"it takes more than the kernel's {_MOST_INSTRUCTIONS} instructions")
    return base64.b64encode(text).decode()


def _compile(profile: Mapping[str, Any]) -> bytes:
    library = _load()
    default = _action(profile, "defaultAction", "defaultErrnoRet")
    state = library.seccomp_init(default)
    if not state:
        raise ProfileError(f"libseccomp refuses the default action {profile['defaultAction']}")
    try:
        library.seccomp_attr_set(ctypes.c_void_p(state), _OPTIMIZE, _BINARY_TREE)
        for name in profile.get("architectures") or ():
            _add_architecture(library, state, name)
        highest = 0
        for rule in profile.get("syscalls") or ():
            highest = max(highest, _add_rule(library, state, rule, default))
        text = _export(library, state)
    finally:
        library.seccomp_release(ctypes.c_void_p(state))
    generous = profile["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
    return text if generous else _unknown(library.seccomp_arch_native(), highest) + text


@functools.cache
def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as err:
        raise ProfileError(f"{_LIBRARY} cannot be loaded: install libseccomp2 ({err})") from err
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_arch_native.restype = ctypes.c_uint32
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    )
    return library


def _action(rule: Mapping[str, Any], key: str, number_key: str) -> int:
    name = rule[key]
    if name not in _ACTIONS:
        raise ProfileError(f"the action {name} is none of {', '.join(_ACTIONS)}")
    number = rule.get(number_key)
    if name not in _WITH_NUMBER:
        return _ACTIONS[name]
    return _ACTIONS[name] | (errno.EPERM if number is None else int(number) & 0xFFFF)


def _add_architecture(library: ctypes.CDLL, state: int, name: str) -> None:
    token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
    if not token:
        raise ProfileError(f"libseccomp knows no architecture {name}")
    _check(library.seccomp_arch_add(state, token), f"architecture {name}", allowed=errno.EEXIST)


def _add_rule(library: ctypes.CDLL, state: int, rule: Mapping[str, Any], default: int) -> int:
    """Add a rule for each of its names; return the highest number of a call that it names."""
    action = _action(rule, "action", "errnoRet")
    highest = 0
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        highest = max(highest, number)
        if number == -1 or action == default:  # unknown here; or nothing new
            continue
        for group in _alternatives(rule.get("args") or ()):
            array = (_Comparison * len(group))(*group)
            found = library.seccomp_rule_add_array(state, action, number, len(group), array)
            _check(found, f"the rule for {name}")
    return highest


def _alternatives(arguments: Iterable[Mapping[str, Any]]) -> list[list[_Comparison]]:
    """All comparisons must hold; two of one argument are two rules instead, as runc has it."""
    found = [
        _Comparison(
            int(item["index"]),
            _OPERATORS[item["op"]],
            int(item["value"]),
            int(item.get("valueTwo") or 0),
        )
        for item in arguments
    ]
    if len({item.index for item in found}) < len(found):
        return [[item] for item in found]
    return [found]


def _check(result: int, about: str, allowed: int = 0) -> None:
    if result < 0 and -result != allowed:
        raise ProfileError(f"libseccomp refuses {about}: {os.strerror(-result)}")


def _export(library: ctypes.CDLL, state: int) -> bytes:
    descriptor = os.memfd_create("seccomp")
    with os.fdopen(descriptor, "rb") as file:
        found = library.seccomp_export_bpf(ctypes.c_void_p(state), descriptor)
        _check(found, "the export of the program")
        file.seek(0)
        return file.read()


def _unknown(architecture: int, highest: int) -> bytes:
    """Answer ENOSYS to calls newer than every one that the profile names, as runc does.

    A C library takes ENOSYS as "use the older call"; with EPERM it would give up.
    """
    refuse = _ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS
    steps = (
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, 4, architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 2, 0, _X32),
        (_ABOVE, 0, 1, highest),
        (_RETURN, 0, 0, refuse),
    )
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
