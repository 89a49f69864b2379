"""Feeds packets to the ebpf backend's program by BPF_PROG_TEST_RUN, in a worker of a node."""

import ctypes
import re
import struct
import subprocess
from typing import NamedTuple

from proxy.backends.ebpf.contents import MapContents
from proxy.backends.ebpf.options import EbpfOptions
from proxy.backends.ebpf.packets import PacketPrograms
from proxy.backends.ebpf.room import room_for
from proxy.backends.ebpf.sockets import SocketPrograms
from proxy.desired.claims import ClaimResolver
from proxy.desired.desired import Desired
from proxy.model.settings import ProxySettings
from proxy.model.values import Address

_ROOM = 1 << 16
_kept: list[PacketPrograms] = []


class _Run(ctypes.Structure):
    """``struct bpf_test_run_opts``."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("given", ctypes.c_char_p),
        ("made", ctypes.c_void_p),
        ("given_size", ctypes.c_uint32),
        ("made_size", ctypes.c_uint32),
        ("context", ctypes.c_char_p),
        ("context_made", ctypes.c_void_p),
        ("context_size", ctypes.c_uint32),
        ("context_made_size", ctypes.c_uint32),
        ("result", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch", ctypes.c_uint32),
    ]


class Flow(NamedTuple):
    """A tracked flow: the addresses of its first packet, and of its replies."""

    source: str
    source_port: int
    called: str
    port: int
    answering: str
    answering_port: int
    answers_to: str


def load(
    options: EbpfOptions, settings: ProxySettings, want: Desired, places: tuple[Address, ...]
) -> None:
    """Serve ``want`` by the programs alone. The only rule makes the kernel load NAT."""
    rules = "add table ip none; add chain ip none out { type nat hook postrouting priority 0; }"
    subprocess.run(["nft", rules], check=True)
    claims, table = ClaimResolver(settings), MapContents(options)
    hooks = SocketPrograms(settings, options)
    hooks.load(room_for((portal for ports in want.values() for portal in ports), options))
    hooks.set_node(places)
    hooks.maps.write(table.advance(claims.update(want)))
    hooks.attach()
    _kept[:] = [PacketPrograms(settings, hooks.library, hooks.maps)]
    _kept[0].begin()


def adopt(programs: PacketPrograms) -> None:
    """Feed the programs of a backend."""
    _kept[:] = [programs]


def feed(frames: list[bytes], link: int) -> list[tuple[int, bytes]]:
    """Return, for each frame that comes in by a link, the program's result and the new frame."""
    return [_feed(frame, link) for frame in frames]


def _feed(frame: bytes, link: int) -> tuple[int, bytes]:
    (packets,) = _kept
    made = ctypes.create_string_buffer(_ROOM)
    context = bytearray(192)  # struct __sk_buff
    struct.pack_into("=I", context, 40, link)  # ifindex
    run = _Run(
        ctypes.sizeof(_Run),
        frame,
        ctypes.addressof(made),
        len(frame),
        _ROOM,
        bytes(context),
        None,
        len(context),
        repeat=1,
    )
    done = packets.library.bpf.bpf_prog_test_run_opts(packets.program, ctypes.byref(run))
    packets.library.check(done, "feeding a packet")
    return ctypes.c_int(run.result).value, made.raw[: run.made_size]


def tracked() -> list[Flow]:
    """Return all flows of this network namespace, and remove them."""
    said = _conntrack("-L", "-f", "ipv4") + _conntrack("-L", "-f", "ipv6")
    _conntrack("-F")
    return [_flow(line) for line in said.splitlines()]


def _flow(line: str) -> Flow:
    ways = re.findall(r"src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)", line)
    (source, called, source_port, port), (answering, to, answering_port, _) = ways
    begun = (source, int(source_port), called, int(port))
    return Flow(*begun, answering, int(answering_port), to)


def _conntrack(*args: str) -> str:
    command = ["conntrack", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
