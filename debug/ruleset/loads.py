"""What meta, ct and payload load of a packet. None means that the rule does not go on.

Source: net/netfilter/nft_meta.c, nft_ct.c, nft_payload.c.
"""

import socket
import struct
from collections.abc import Callable

import msgspec

from debug.ruleset.packet import Device, Flow, State
from debug.ruleset.registers import UnknownError, from_host, host

_NAME = 16  # IFNAMSIZ
_ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_IPPROTO = {4: socket.AF_INET, 6: socket.AF_INET6}
# enum ip_conntrack_info as NF_CT_STATE_BIT has it
STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
META_MARK = 3
CT_MARK = 3
_TRANSPORT = 2
_ETHERNET = 1  # ARPHRD_ETHER

Loaded = bytes | None


def _name(device: Device | None) -> bytes:
    return (device.name if device else "").encode().ljust(_NAME, b"\0")


def _index(device: Device | None) -> bytes:
    return host(device.index if device else 0)


def _hardware(device: Device | None) -> Loaded:
    return host(device.hardware, 2) if device else None


def _group(device: Device | None) -> Loaded:
    return host(device.group) if device else None


def _kind(device: Device | None) -> Loaded:
    return device.kind.encode().ljust(_NAME, b"\0") if device else None


def _of_socket(what: str) -> Callable[[State], Loaded]:
    """Return what loads a property of the sending socket: a forwarded packet has none."""

    def load(state: State) -> Loaded:
        if state.local:
            raise UnknownError(f"meta {what}: the process that sends is not known")
        return None

    return load


# enum nft_meta_keys
_META: dict[int, Callable[[State], Loaded]] = {
    0: lambda state: host(len(state.packet.network) + len(state.packet.transport)),
    1: lambda state: _ETHERTYPES[state.packet.version],
    META_MARK: lambda state: host(state.mark),
    4: lambda state: _index(state.iif),
    5: lambda state: _index(state.oif),
    6: lambda state: _name(state.iif),
    7: lambda state: _name(state.oif),
    8: lambda state: _hardware(state.iif),
    9: lambda state: _hardware(state.oif),
    10: _of_socket("skuid"),
    11: _of_socket("skgid"),
    12: lambda _: b"\0",
    15: lambda state: bytes([_IPPROTO[state.packet.version]]),
    16: lambda state: bytes([state.packet.protocol]),
    19: lambda state: bytes([state.pkttype]),
    21: lambda state: _group(state.iif),
    22: lambda state: _group(state.oif),
    23: _of_socket("cgroup"),
    25: lambda _: b"\0",
    26: lambda state: _kind(state.iif),
    27: lambda state: _kind(state.oif),
}


def meta(state: State, key: int) -> Loaded:
    """Return what ``meta`` loads; raises UnknownError."""
    load = _META.get(key)
    if load is None:
        raise UnknownError(f"meta key {key}")
    return load(state)


def ct(state: State, key: int, direction: int | None) -> Loaded:
    """Return what ``ct`` loads; raises UnknownError."""
    flow = state.flow
    if key == 0:
        return host(STATES[flow.state if flow else "invalid"])
    if flow is None or flow.state in ("invalid", "untracked"):
        return None
    if key in _CT:
        return _CT[key](flow)
    return _of_tuple(state, flow, key, direction)


_CT: dict[int, Callable[[Flow], Loaded]] = {
    1: lambda flow: bytes([flow.is_reply]),
    2: lambda flow: host(flow.status),
    CT_MARK: lambda flow: host(flow.mark),
    6: lambda _: bytes(_NAME),  # no helper: none is set by what is evaluated here
}


def _of_tuple(state: State, flow: Flow, key: int, direction: int | None) -> Loaded:
    """Return an address or a port of the connection (keys 7 to 12, 17 and 19 to 22)."""
    of = flow.reply if direction == 1 else flow.original
    if of is None:
        raise UnknownError("ct: the connection's addresses")
    if key in (8, 19, 21):
        return of.source
    if key in (9, 20, 22):
        return of.destination
    if key == 7:
        return bytes([_IPPROTO[state.packet.version]])
    if key == 10:
        return bytes([state.packet.protocol])
    if key in (11, 12):
        return struct.pack("!H", of.source_port if key == 11 else of.destination_port)
    if key == 17:
        return host(0, 2)  # the zone that all are in
    raise UnknownError(f"ct key {key}")


def payload(state: State, base: int, offset: int, length: int) -> Loaded:
    """Return bytes of a header; raises UnknownError."""
    packet = state.packet
    data = {1: packet.network, 2: packet.transport}.get(base)
    if data is None:
        return _link_header(state, base, offset, length)
    if base == 1:
        data += packet.transport
    if base == _TRANSPORT and _is_open(state, offset, length):
        raise UnknownError(f"the {state.open_port} port, which the kernel chose")
    found = data[offset : offset + length]
    return found if len(found) == length else None


def _link_header(state: State, base: int, offset: int, length: int) -> Loaded:
    """Return bytes of the Ethernet header: only a received packet has one."""
    if base != 0:
        raise UnknownError(f"payload base {base}")
    if state.iif is None or state.iif.hardware != _ETHERNET:
        return None
    if (offset, length) == (12, 2):
        return _ETHERTYPES[state.packet.version]
    raise UnknownError("the Ethernet header")


def _is_open(state: State, offset: int, length: int) -> bool:
    at = {"source": 0, "destination": 2}.get(state.open_port)
    return at is not None and offset < at + 2 and at < offset + length


def with_payload(state: State, base: int, offset: int, value: bytes) -> State:
    """Return the state after a rule wrote into a header; raises UnknownError."""
    field = {1: "network", 2: "transport"}.get(base)
    if field is None:
        raise UnknownError(f"payload base {base} written")
    old: bytes = getattr(state.packet, field)
    new = old[:offset] + value + old[offset + len(value) :]
    return msgspec.structs.replace(
        state, packet=msgspec.structs.replace(state.packet, **{field: new})
    )


def with_meta(state: State, key: int, value: bytes) -> State:
    """Return the state after a rule wrote beside the packet; raises UnknownError."""
    if key == META_MARK:
        return msgspec.structs.replace(state, mark=from_host(value[:4]))
    if key == 19:
        return msgspec.structs.replace(state, pkttype=value[0])
    if key in (2, 12, 14):  # priority, nftrace, secmark: they decide nothing here
        return state
    raise UnknownError(f"meta key {key} written")


def with_ct(state: State, key: int, value: bytes) -> State:
    """Return the state after a rule wrote to the connection; raises UnknownError."""
    if state.flow is None or state.flow.state in ("invalid", "untracked"):
        return state
    if key == CT_MARK:
        flow = msgspec.structs.replace(state.flow, mark=from_host(value[:4]))
        return msgspec.structs.replace(state, flow=flow)
    if key in (13, 18):  # labels, events
        return state
    raise UnknownError(f"ct key {key} written")
