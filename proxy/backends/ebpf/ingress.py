"""Attaches a program to a link's ingress: by TCX (Linux 6.6), or else by tc."""

import ctypes
import errno
import os
from pathlib import Path

from proxy.backends.ebpf.libbpf import Libbpf, pin, pinned, replace

_TCX_INGRESS, _BEFORE = 46, 8  # enum bpf_attach_type; BPF_F_BEFORE, here before all others
_TC_INGRESS, _TC_REPLACE = 1, 1  # BPF_TC_INGRESS, BPF_TC_F_REPLACE
# Our filter among a link's filters. The kernel runs them in the order of their priority.
_HANDLE, _PRIORITY = 1, 0x7077
_MOST = 64  # programs that TCX allows on one link
_GONE = (-errno.ENODEV, -errno.ENXIO)


class _Hook(ctypes.Structure):
    """``struct bpf_tc_hook``."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("link", ctypes.c_int),
        ("point", ctypes.c_int),
        ("parent", ctypes.c_uint32),
    ]


class _Filter(ctypes.Structure):
    """``struct bpf_tc_opts``."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("program", ctypes.c_int),
        ("flags", ctypes.c_uint32),
        ("program_id", ctypes.c_uint32),
        ("handle", ctypes.c_uint32),
        ("priority", ctypes.c_uint32),
    ]


class _LinkOptions(ctypes.Structure):
    """The first parts of ``struct bpf_link_create_opts``."""

    _fields_ = [("size", ctypes.c_size_t), ("flags", ctypes.c_uint64)]


_FIRST = _LinkOptions(ctypes.sizeof(_LinkOptions), _BEFORE)


def attach(library: Libbpf, program: int, link: int, path: Path) -> bool:
    """Run ``program`` on each packet that comes in by ``link``, in one step in an older one's
    place.

    ``link`` is an interface index. TCX's link is pinned at ``path``. If the interface is gone,
    nothing is done. Returns False if the program is a tc filter, before which others may take
    packets. Raises KernelRefusedError.
    """
    old = pinned(library, path)
    if old is not None:
        replaced = replace(library, old, program)
        os.close(old)
        if replaced:
            return True
    made = library.bpf.bpf_link_create(program, link, _TCX_INGRESS, ctypes.byref(_FIRST))
    if made == -errno.EINVAL:
        _filter(library, program, link)
        return False
    if made not in _GONE:
        library.check(made, f"attaching to link {link}")
        pin(library, made, path)
        os.close(made)
    return True


def _filter(library: Libbpf, program: int, link: int) -> None:
    """Attach by tc: a filter of the qdisc clsact."""
    hook = _hook(link)
    made = library.bpf.bpf_tc_hook_create(ctypes.byref(hook))
    if made in _GONE:
        return
    if made != -errno.EEXIST:
        library.check(made, f"adding clsact to link {link}")
    ours = _ours(program=program, flags=_TC_REPLACE)
    library.check(
        library.bpf.bpf_tc_attach(ctypes.byref(hook), ctypes.byref(ours)), f"filtering link {link}"
    )


def detach_filter(library: Libbpf, link: int) -> None:
    """Remove the tc filter that ``attach`` made, if there is one. Raises KernelRefusedError.

    ``unpin_link`` ends TCX's attachments.
    """
    if _filter_of(library, link):
        hook, ours = _hook(link), _ours()
        done = library.bpf.bpf_tc_detach(ctypes.byref(hook), ctypes.byref(ours))
        library.check(done, f"removing the filter of link {link}")


def is_attached(library: Libbpf, program_id: int, link: int) -> bool:
    """Return True if the link runs the program with this ID, or if the link is gone.

    A link that is gone needs no repair. Raises KernelRefusedError.
    """
    ids, count = (ctypes.c_uint32 * _MOST)(), ctypes.c_uint32(_MOST)
    asked = library.bpf.bpf_prog_query(link, _TCX_INGRESS, 0, None, ids, ctypes.byref(count))
    if asked == -errno.EINVAL:
        return _filter_of(library, link) == program_id
    return asked in _GONE or program_id in ids[: count.value]


def _filter_of(library: Libbpf, link: int) -> int:
    """Return the ID of the program in our tc filter of a link, 0 if there is none."""
    hook, ours = _hook(link), _ours()
    found = library.bpf.bpf_tc_query(ctypes.byref(hook), ctypes.byref(ours))
    library.forget_messages()
    return 0 if found else int(ours.program_id)


def _hook(link: int) -> _Hook:
    return _Hook(ctypes.sizeof(_Hook), link, _TC_INGRESS)


def _ours(program: int = 0, flags: int = 0) -> _Filter:
    return _Filter(ctypes.sizeof(_Filter), program, flags, 0, _HANDLE, _PRIORITY)
